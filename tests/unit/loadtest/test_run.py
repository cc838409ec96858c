"""The reasons for which a result is bounded by the generator."""

import pytest
from unrolled_loadtest.run import generator_limit

SOUND = {"busy": 0.5, "late_share": 0.0, "achieved_per_s": 500, "ceiling_per_s": 5_000, "is_behind": False}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, None),
        ({"busy": 0.95}, "its busiest process used 0.95 of a core"),
        ({"late_share": 0.02}, "2.0% of the requests were sent over a millisecond late"),
        ({"achieved_per_s": 4_900, "is_behind": True}, "near the 5,000/s"),
        ({"achieved_per_s": 4_900, "is_behind": False}, None),
        ({"achieved_per_s": 4_900, "is_behind": True, "ceiling_per_s": None}, None),
    ],
)
def test_each_bound_has_its_reason(more, reason):
    found = generator_limit(**{**SOUND, **more})
    assert found is None if reason is None else reason in found

"""Where things stand on a page."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from unrolled_client.cli.page import LINE, lay_out

options = st.fixed_dictionaries(
    {
        "words": st.lists(st.text("ab", min_size=1, max_size=60), min_size=1, max_size=12),
        "units": st.integers(1, 1000),
        "directions": st.sampled_from([("",), ("forward", "backward")]),
        "is_pooled": st.booleans(),
    }
)


@given(options=options, label_room=st.floats(0.1, 2))
def test_boxes_keep_apart_and_on_the_page(picture_of, options, label_room):
    """Each panel, with its title and its names, stands by itself, at a size that can be looked at."""
    picture = picture_of(**options)
    page = lay_out(picture, label_room=label_room)
    below = 0 if picture.is_pooled else label_room
    places = [
        (box.left, box.top - LINE, box.left + box.width, box.top + box.height + below) for box in page.panels
    ]
    assert len(places) == len(picture.panels)
    for one, other in itertools.combinations(places, 2):
        assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
    assert min(place[1] for place in places) > len(page.title) * LINE
    assert max(place[2] for place in places) < page.bar.left < page.width
    assert max(place[3] for place in places) < page.height
    assert page.width < 14


def test_boxes_begin_at_whole_pixels(picture_of):
    """At 150 dots an inch no edge falls between two pixels, whatever room the names take."""
    page = lay_out(picture_of(["hello", "ab"] * 9, units=7), label_room=0.31415)
    for box in page.panels:
        for edge in (box.left, page.height - box.top, box.width, box.height):
            assert abs(edge * 150 - round(edge * 150)) < 1e-6

"""Every domain error maps to a gRPC status code."""

from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2
from unrolled_server import errors


def subclasses(kind):
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def test_every_domain_error_has_a_code():
    assert subclasses(errors.RequestError) - {errors.RequestError} == set(errors.STATUS_CODES)


def test_the_status_names_each_invalid_field():
    error = errors.InvalidRequestError(
        [errors.Violation(field="a", description="a is 1"), errors.Violation(field="b", description="b is 2")]
    )
    status = errors.status(error)
    details = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(details)
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message == "a is 1; b is 2"
    assert [(v.field, v.description) for v in details.field_violations] == [("a", "a is 1"), ("b", "b is 2")]


@pytest.mark.parametrize("kind", [errors.UnsupportedError, errors.TooLargeError, errors.ComputeError])
def test_other_errors_have_only_a_message(kind):
    status = errors.status(kind("why"))
    assert (status.message, len(status.details)) == ("why", 0)


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\U0001f642"])
def test_a_status_fits_into_the_metadata_limit_of_clients(letter):
    """A long message keeps the beginning of the value and the end of the remedy."""
    violations = [
        errors.Violation(field=f"f{at}", description=f"f{at} is {letter * 10_000!r}; leave it out")
        for at in range(5)
    ]
    error = errors.InvalidRequestError(violations)
    packed = dict(errors.trailing_metadata(error))[errors.DETAILS_KEY]
    assert len(quote(str(error))) + len(packed) * 4 / 3 < 8 << 10
    for violation in error.violations:
        assert violation.description.startswith(f"{violation.field} is '{letter}")
        assert violation.description.endswith(f"{letter}'; leave it out")
    assert len(str(errors.UnsupportedError(letter * 10_000)).encode()) <= errors.MAX_MESSAGE_BYTES

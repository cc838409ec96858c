"""Replies of a stream that refuse a request, as a server encodes them."""

from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import RetryInfo
from unrolled.v1 import forward_pb2 as pb


def refusal(data, *, code, retry_after_s=None):
    """Returns a reply that refuses the request in `data`."""
    error = pb.RequestError(code=code.value[0], message="words[0] is not for me")
    if retry_after_s is not None:
        info = RetryInfo()
        info.retry_delay.FromNanoseconds(int(retry_after_s * 1e9))
        detail = Any()
        detail.Pack(info)
        error.details.append(detail)
    return pb.ForwardReply(id=pb.ForwardRequest.FromString(data).id, error=error).SerializeToString()

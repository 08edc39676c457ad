"""The error types of chatkit_client: one for each reason of the contract."""

import grpc
import pytest

import chatkit_client
from chatkit_client.errors import BY_REASON, ChatKitError, from_rpc
from protos.chatkit.v1.errors import REASONS, ErrorDetails, to_status


def failed(code: grpc.StatusCode, details: ErrorDetails | None) -> grpc.aio.AioRpcError:
    trailing = to_status(code, "said", details).trailing_metadata if details else ()
    metadata = grpc.aio.Metadata(*(trailing or ()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details="said")


def test_every_reason_has_a_type_of_its_own_that_is_exported() -> None:
    assert BY_REASON.keys() == REASONS
    assert len(set(BY_REASON.values())) == len(REASONS)
    for kind in (*BY_REASON.values(), ChatKitError):
        assert getattr(chatkit_client, kind.__name__) is kind


def test_the_documented_tree_is_the_tree() -> None:
    def lines(kind: type[ChatKitError], depth: int) -> list[tuple[int, str]]:
        found = [(depth, kind.__name__)]
        for below in kind.__subclasses__():
            found += lines(below, depth + 1)
        return found

    documented = []
    for line in (chatkit_client.errors.__doc__ or "").splitlines():
        indented, _, name = line.rpartition("── ")
        if line.startswith("    ") and (words := name.split()):
            documented.append((len(indented) // 4, words[0]))
    assert documented == lines(ChatKitError, 0)


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_an_error_says_what_its_details_say(reason: str) -> None:
    details = ErrorDetails(reason, {"cause": "store"}, {"days": "is wrong"}, 2.5)
    error = from_rpc(failed(grpc.StatusCode.INTERNAL, details), "req-1")
    assert type(error) is BY_REASON[reason]
    assert (error.reason, error.cause, error.retry_after) == (reason, "store", 2.5)
    assert (dict(error.fields), error.request_id) == ({"days": "is wrong"}, "req-1")
    assert str(error) == "said"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, chatkit_client.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, chatkit_client.DeadlineExceeded),
        (grpc.StatusCode.UNIMPLEMENTED, chatkit_client.TransportError),
    ],
)
def test_what_grpc_itself_says_has_a_type_by_its_status(
    code: grpc.StatusCode, kind: type[ChatKitError]
) -> None:
    error = from_rpc(failed(code, None), "req-1")
    assert type(error) is kind
    assert (error.status, error.cause, error.retry_after) == (code, None, None)

from __future__ import annotations

import pytest
from pinecone.errors import exceptions as sdk

from ragwright.errors import BadReply, RagwrightError, StoreError, Throttled, TimedOut, Unavailable
from ragwright.stores.pinecone_errors import translated


@pytest.mark.parametrize(
    ("error", "kind", "retry_after"),
    [
        (sdk.RateLimitError("slow down", retry_after=3.0), Throttled, 3.0),
        (sdk.ServiceError("later", 503, headers={"retry-after": "2"}), Unavailable, 2.0),
        (sdk.ServiceError("later", 500, headers={"retry-after": "Sunday"}), Unavailable, None),
        (sdk.PineconeConnectionError("refused"), Unavailable, None),
        (sdk.PineconeTimeoutError("too long"), TimedOut, None),
        (sdk.ApiError("too long", 408), TimedOut, None),
        (sdk.ResponseParsingError("not JSON"), BadReply, None),
    ],
)
def test_what_may_pass_is_transient(error: Exception, kind: type[RagwrightError], retry_after: float | None) -> None:
    with pytest.raises(kind) as raised, translated("pinecone:faq/s"):
        raise error
    assert raised.value.retry_after == retry_after
    assert raised.value.__cause__ is error
    assert "pinecone:faq/s" in str(raised.value)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (sdk.ApiError("bad vector 'x'", 400), "status 400: bad vector 'x'"),
        (sdk.UnauthorizedError("who are you?", 401), "Check PINECONE_API_KEY"),
        (sdk.ForbiddenError("quota", 403), "quotas"),
        (sdk.PayloadTooLargeError("2 MB", 413), "smaller chunks"),
        (sdk.PineconeValueError("top_k"), "top_k"),
    ],
)
def test_what_will_fail_again_is_permanent_and_carries_the_message(error: Exception, says: str) -> None:
    with pytest.raises(StoreError) as raised, translated("pinecone:faq/s"):
        raise error
    assert says in str(raised.value)


def test_a_key_that_the_other_side_quotes_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINECONE_API_KEY", "pcsk_secret")
    with pytest.raises(StoreError, match=r"key \*\*\* is not known") as raised, translated("pinecone:faq"):
        raise sdk.UnauthorizedError("key pcsk_secret is not known", 401, body={"key": "pcsk_secret"})
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__

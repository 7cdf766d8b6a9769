"""Documents of a server, or a damaged file, that are no JSON: each has the agent's own error."""

import pytest

from opentsm.agent.errors import JournalError, LinkError
from opentsm.agent.http_exchange import Reply, decode, problem_of
from opentsm.agent.journal import Journal, MemoryStore
from opentsm.agent.messages import Token

NOT_UTF_8 = b'{"token": "\x83", "expires_in": 3, "title": "\x83"}'
STATUS = b'{"localAgentStatusEnum": "POLLING", "executedSeRamCommands": 0, "errorMsg": "\x83"}'
JOURNAL_NOT_UTF_8 = b'{"reports": {"1": {"localAgentStatus": ' + STATUS + b"}}}"
TOO_DEEP = b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
NAMES = ["utf-8", "deep", "empty", "cut"]
BROKEN = pytest.mark.parametrize("body", [NOT_UTF_8, TOO_DEEP, b"", b"{"], ids=NAMES)


@BROKEN
def test_reply_when_it_is_no_json_is_a_fault_of_the_link(body: bytes) -> None:
    with pytest.raises(LinkError, match="not a Token"):
        decode(Reply(200, body, None), Token)


@BROKEN
def test_problem_when_it_is_no_json_is_told_by_its_status(body: bytes) -> None:
    assert problem_of(Reply(503, body, None)) == "HTTP 503"


@pytest.mark.parametrize("body", [JOURNAL_NOT_UTF_8, TOO_DEEP, b"{"], ids=["utf-8", "deep", "cut"])
async def test_journal_when_it_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(JournalError, match="cannot be read"):
        await Journal.open(MemoryStore(body))

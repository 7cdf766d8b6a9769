"""What a custodian keeps of a segment between its phases; stored sealed, erased once checked."""

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.exchange import Command, Expected
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.ports.peer import SegmentReport, SegmentRequest


class Handover(Record, frozen=True, kw_only=True):
    """A temporary key set on its way from the issuer to a provider: `blob` is AES key wrap (RFC 3394).

    `point` is the sender's key that the transport key was agreed on with; empty: one from a ceremony.
    """

    sd_aid: Aid
    kvn: int
    scp: int
    key_length: int
    blob: bytes
    kcvs: tuple[bytes, ...]
    point: bytes = b""


class SentCommand(Record, frozen=True, kw_only=True):
    """One protected command of a segment: its answer belongs to `step`; `link` opens it (hex).

    `command` is the command before protection (hex), where its answer is kept under `tag`. `receipt` numbers
    the token whose receipt the answer brings. With `carried` the answer is another party's.
    """

    step: int
    link: str
    expected: Expected
    meaning: str
    scope: int = 0
    tag: str = ""
    command: str = ""
    receipt: int | None = None
    carried: bool = False


class SegmentWork(Record, frozen=True, kw_only=True):
    """A segment in work.

    `commands` are what was handed out for the body (the first one EXTERNAL AUTHENTICATE in a secure
    channel), `sent` what is needed to check their answers. `session` is the card's answer that the session
    keys depend on. `notes` hold what a value session or an agreement must remember (hex). `last` is the link
    of the last command that was made in the channel before this segment goes on with it.
    """

    request: SegmentRequest
    host_challenge: bytes = b""
    opening: tuple[Command, ...] = ()
    session: bytes = b""
    commands: tuple[Command, ...] = ()
    sent: tuple[SentCommand, ...] = ()
    new_kcvs: tuple[bytes, ...] = ()
    notes: dict[str, str] = {}
    last: str = ""
    report: SegmentReport | None = None

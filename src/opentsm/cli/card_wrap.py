"""What `opentsm card wrap` computes: a secure-channel session without a card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.errors import CardCryptogramError, SecureChannelError
from opentsm.card.gp.commands import initialize_update
from opentsm.card.scp.channel import parse_initialize_update
from opentsm.card.scp.session import derive_session_keys, open_channel, predict_initialize_update

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentsm.card.codec.aid import Aid
    from opentsm.card.scp.channel import InitializeUpdateResponse, SecureChannel, SecurityLevel, StaticKeys

_DEFAULT_I = {2: 0x15, 3: 0x70}
_DEFAULT_KVN = {2: 0x20, 3: 0x30}
_KDD_BYTES = 10
_SUCCESS = b"\x90\x00"


@dataclass(frozen=True, slots=True)
class WrapSession:
    """One session: keys, challenge, protocol, and the card's answer to INITIALIZE UPDATE.

    Attributes:
        kvn: what INITIALIZE UPDATE asks for.
        predicted: whether `init` was computed instead of received.
    """

    keys: StaticKeys
    host_challenge: bytes
    kvn: int
    init: InitializeUpdateResponse
    predicted: bool

    @classmethod
    def received(
        cls,
        keys: StaticKeys,
        host_challenge: bytes,
        response: bytes,
        *,
        scp: int,
        i: int | None,
        kvn: int | None,
    ) -> WrapSession:
        """Take the card's answer, with or without its status word.

        Raises:
            ResponseFormatError: it is no answer to INITIALIZE UPDATE.
            SecureChannelError: it is for another protocol, or other options, than asked for.
        """
        data = (
            response[:-2] if response.endswith(_SUCCESS) and len(response) in _LENGTHS_WITH_SW else response
        )
        init = parse_initialize_update(data, scp02_i=_DEFAULT_I[2] if i is None else i)
        if init.scp != scp:
            raise SecureChannelError(f"the card answers for SCP{init.scp:02X}, not SCP{scp:02X}")
        if i is not None and init.i != i:
            raise SecureChannelError(f"the card answers with i={init.i or 0:02X}, not {i:02X}")
        return cls(keys, host_challenge, init.kvn if kvn is None else kvn, init, False)

    @classmethod
    def expected(
        cls,
        keys: StaticKeys,
        host_challenge: bytes,
        *,
        scp: int,
        i: int | None,
        kvn: int | None,
        kdd: bytes,
        counter: int,
        aid: Aid,
    ) -> WrapSession:
        """Predict the answer of a card with pseudo-random challenges."""
        if len(kdd) != _KDD_BYTES:
            raise SecureChannelError(f"key diversification data has {_KDD_BYTES} bytes, not {len(kdd)}")
        if scp not in _DEFAULT_I:
            raise SecureChannelError(f"SCP{scp:02X} is not supported (02 and 03 are)")
        number = _DEFAULT_KVN[scp] if kvn is None else kvn
        init = predict_initialize_update(
            keys,
            scp=scp,
            i=_DEFAULT_I[scp] if i is None else i,
            kdd=kdd,
            kvn=number,
            counter=counter,
            aid=aid,
            host_challenge=host_challenge,
        )
        return cls(keys, host_challenge, number, init, True)

    def document(
        self, level: SecurityLevel, apdus: Sequence[bytes], answers: Sequence[bytes]
    ) -> dict[str, object]:
        """Wrap the commands and open the answers; the result is what the tool prints.

        A wrong card cryptogram is told by `card_cryptogram_ok`, and nothing is wrapped then.

        Raises:
            ResponseMacError: an answer is not authentic.
            SecureChannelError: the level is impossible.
        """
        init_update = initialize_update(self.kvn, self.host_challenge)
        document: dict[str, object] = {"init_update": _text(init_update.to_bytes())}
        if self.predicted:
            document["expected_init_update_response"] = _text(self.init.to_bytes())
        try:
            session_keys = derive_session_keys(self.keys, self.init, self.host_challenge)
            channel = open_channel(session_keys, self.init, self.host_challenge)
        except CardCryptogramError:
            return {**document, "card_cryptogram_ok": False, "external_authenticate": None, "wrapped": []}
        # A predicted cryptogram proves nothing about a card.
        document["card_cryptogram_ok"] = None if self.predicted else True
        document["external_authenticate"] = _text(channel.external_authenticate(level).to_bytes())
        return {**document, **_exchange(channel, apdus, answers)}


# INITIALIZE UPDATE answers: SCP02 28; SCP03 29 or 32; S16 45 or 48 bytes; with status word two more.
_LENGTHS_WITH_SW = (30, 31, 34, 47, 50)


def _exchange(channel: SecureChannel, apdus: Sequence[bytes], answers: Sequence[bytes]) -> dict[str, object]:
    wrapped = [channel.wrap(CommandApdu.parse(apdu)) for apdu in apdus]
    document: dict[str, object] = {"wrapped": [_text(one.raw) for one in wrapped]}
    if answers:
        pairs = zip(answers, wrapped, strict=True)
        opened = (channel.unwrap(ResponseApdu.parse(raw), one.link) for raw, one in pairs)
        document["unwrapped"] = [_text(response.to_bytes()) for response in opened]
    return document


def _text(data: bytes) -> str:
    return data.hex().upper()

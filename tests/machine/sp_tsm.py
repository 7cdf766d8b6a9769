"""A service provider's own TSM for tests: it makes commands with its own keys, and sends them to nobody.

It is `opentsm.card` used as a client library, as a provider without OpenTSM would use it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StoreDataEncryption, StoreDataStructure
from opentsm.card.gp.keys import Dek, KeyType, StaticKeys, encrypt_key, put_key_fields
from opentsm.card.scp.channel import ResponseLink, SecureChannel, SecurityLevel, parse_initialize_update
from opentsm.card.scp.session import derive_session_keys, open_channel, session_dek
from opentsm.vse.card import VirtualCard

Dgis = Sequence[tuple[int, bytes]]
_COMPLETION = 0x7FFF
HOST_CHALLENGE = bytes(range(8))


@dataclass
class SpTsm:
    """One session after another with a security domain; bytes in, bytes out."""

    keys: StaticKeys
    kvn: int
    channel: SecureChannel | None = None
    dek: Dek | None = None
    links: list[ResponseLink] = field(default_factory=list)

    def opening(self, aid: Aid) -> list[bytes]:
        """Select, and ask for a session."""
        self.channel, self.links = None, []
        return [
            commands.select(aid).to_bytes(),
            commands.initialize_update(self.kvn, HOST_CHALLENGE).to_bytes(),
        ]

    def wrapped(self, opened: str, *plain: CommandApdu) -> list[bytes]:
        """Check the card's answer, authenticate, and wrap."""
        init = parse_initialize_update(ResponseApdu.parse(bytes.fromhex(opened)).data)
        session = derive_session_keys(self.keys, init, HOST_CHALLENGE)
        self.channel = open_channel(session, init, HOST_CHALLENGE)
        self.dek = session_dek(session, init)
        authenticate = self.channel.external_authenticate(SecurityLevel.FULL).to_bytes()
        return [authenticate, *self.more(*plain)]

    def more(self, *plain: CommandApdu) -> list[bytes]:
        """Wrap further commands of the session."""
        assert self.channel is not None
        wrapped = [self.channel.wrap(one) for one in plain]
        self.links += [one.link for one in wrapped]
        return [one.raw for one in wrapped]

    def checked(self, responses: Sequence[str]) -> list[ResponseApdu]:
        """Check the answers to the wrapped commands."""
        assert self.channel is not None
        links, self.links = self.links, []
        answers = [ResponseApdu.parse(bytes.fromhex(one)) for one in responses]
        return [self.channel.unwrap(a, link) for a, link in zip(answers, links, strict=True)]

    def rotation(self, opened: str, new: StaticKeys, kvn: int) -> list[bytes]:
        """Authenticate, and put a key set in place of the one that opened the session."""
        first = self.wrapped(opened)
        assert self.dek is not None
        fields = put_key_fields(new, KeyType.AES, self.dek)
        return [*first, *self.more(commands.put_key(kvn, fields, replace_kvn=self.kvn))]

    def personalization(self, application: Aid, clear: Dgis, secret: Dgis) -> list[bytes]:
        """Store groupings in an application through its domain; the values of `secret` are keys."""
        assert self.dek is not None
        hidden = [(tag, encrypt_key(self.dek, Secret(value))) for tag, value in secret]
        blocks = [
            commands.store_data(encode_dgi(*one), n, last=False, structure=StoreDataStructure.DGI)
            for n, one in enumerate(clear)
        ]
        blocks += [
            commands.store_data(
                encode_dgi(*one),
                len(blocks) + n,
                last=False,
                encryption=StoreDataEncryption.ENCRYPTED,
                structure=StoreDataStructure.DGI,
            )
            for n, one in enumerate(hidden)
        ]
        end = commands.store_data(
            encode_dgi(_COMPLETION, b""), len(blocks), last=True, structure=StoreDataStructure.DGI
        )
        return self.more(commands.install_for_personalization(application), *blocks, end)


def keys_on(card: VirtualCard, domain: Aid, kvn: int) -> StaticKeys:
    """Return a key set as the card holds it."""
    (found,) = [one.domain for one in card.image().instances if one.aid == bytes(domain)]
    assert found is not None
    values = [found.find_key(kid, kvn) for kid in (1, 2, 3)]
    enc, mac, dek = (one.value for one in values if one is not None)
    return StaticKeys(Secret(enc), Secret(mac), Secret(dek))

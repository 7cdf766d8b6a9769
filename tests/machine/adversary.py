"""The hub as an adversary: what it can read with its database, its keystores and all traffic it ever relayed.

It follows every key that it finds: static keys open sessions, sessions show key blocks, key blocks are static
keys of others. Private keys agree with every public key that it ever saw. It knows the protocols as well as
the TSM does, and uses the host library for that.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import asyncpg

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.cipher import aes_cbc_decrypt, aes_ecb_encrypt
from opentsm.card.crypto.key_agreement import KeyAgreementKey, x963_sha256
from opentsm.card.crypto.padding import unpad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import CardError
from opentsm.card.gp.keys import StaticKeys
from opentsm.card.scp.channel import SessionKeys, parse_initialize_update
from opentsm.card.scp.scp03 import card_cryptogram, derive_session_keys
from opentsm.tsm.adapters.keystores import agreement, signatures
from opentsm.tsm.adapters.keystores.software import SoftwareKeystore
from opentsm.tsm.domain.secure_element import BoundKeys, KeySource, key_set_context
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import KeyMaterialError, KeystoreError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.vse.card import VirtualCard

INITIALIZE_UPDATE, EXTERNAL_AUTHENTICATE, PUT_KEY = 0x50, 0x82, 0xD8
_BLOCK = 16
_POINT = 65
# What scenario 3 derives from: key usage, key type, key length (`card.gp.confidential_setup`).
_AGREED_INFO = bytes((0x10, 0x88, _BLOCK))

Exchange = tuple[CommandApdu, ResponseApdu]


@dataclass
class Tapped:
    """A card behind a relay that keeps every byte."""

    card: VirtualCard
    traffic: list[Exchange] = field(default_factory=list)

    def transmit(self, raw: bytes) -> bytes:
        answer = self.card.transmit(raw)
        self.traffic.append((CommandApdu.parse(raw), ResponseApdu.parse(answer)))
        return answer

    def power_on(self) -> bytes:
        return self.card.power_on()

    def power_off(self) -> None:
        self.card.power_off()


@dataclass
class Adversary:
    """Has all that a hub and the managers behind it have.

    `rows` are the database's, as text; `keystores` open by party; `traffic` is what the card got and gave.
    """

    keystores: dict[TenantId, SoftwareKeystore]
    traffic: list[Exchange]
    rows: list[bytes]
    static: list[StaticKeys] = field(default_factory=list)
    private: list[KeyAgreementKey] = field(default_factory=list)
    read: list[bytes] = field(default_factory=list)
    sessions_opened: int = 0

    # --- what it has to begin with -----------------------------------------------------------------------

    @classmethod
    async def of(
        cls, dsn: str, keystores: dict[TenantId, SoftwareKeystore], traffic: list[Exchange]
    ) -> "Adversary":
        """Read the whole database, open all that the keystores open, and take every handle's secret."""
        made = cls(keystores, traffic, [])
        connection = await asyncpg.connect(dsn)
        try:
            await made._dump(connection)
        finally:
            await connection.close()
        for keystore in keystores.values():
            for secret in keystore._keys.values():
                made.private += _private_keys(secret)
                made.read.append(secret.reveal())
        return made

    async def _dump(self, connection: asyncpg.Connection) -> None:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        )
        for (name,) in tables:
            for row in await connection.fetch(f'SELECT * FROM "{name}"'):
                found = [_as_bytes(value) for value in row.values() if value is not None]
                self.rows += found
                self.read += [clear for text in found for clear in _base64(text)]
        for row in await connection.fetch("SELECT * FROM key_sets"):
            await self._take(row)
        for row in await connection.fetch("SELECT id, sealed FROM segments"):
            await self._unseal(row["sealed"], f"segment:{row['id']}")
        for row in await connection.fetch(
            "SELECT se_id, sequence, sealed_commands, sealed_answer FROM device_orders"
        ):
            order = f"order:{row['se_id']}/{row['sequence']}"
            await self._unseal(row["sealed_commands"], f"{order}/commands")
            await self._unseal(row["sealed_answer"], f"{order}/answer")

    async def _take(self, row: asyncpg.Record) -> None:
        """Open a key set with every keystore it has; those of others do not open."""
        source: KeySource = from_json(KeySource, row["source"])  # type: ignore[arg-type]  # a union is no class
        context = key_set_context(row["se_id"], Aid.from_hex(row["sd_aid"]), row["kvn"])
        keys = BoundKeys(source=source, context=context)
        for keystore in self.keystores.values():
            try:
                self.learn(await keystore._static(keys))
            except (KeyMaterialError, KeystoreError):
                continue

    async def _unseal(self, sealed: bytes, context: str) -> None:
        for keystore in self.keystores.values():
            try:
                self.read.append(await keystore.open(sealed, context=context))
            except KeystoreError:
                continue

    def learn(self, keys: StaticKeys) -> bool:
        """Keep a key set; False: it is known."""
        known = any(values(one) == values(keys) for one in self.static)
        if not known:
            self.static.append(keys)
        return not known

    # --- what it makes of that ---------------------------------------------------------------------------

    def attack(self) -> None:
        """Follow all keys until nothing new comes of it."""
        self.read += [data for exchange in self.traffic for data in (exchange[0].data, exchange[1].data)]
        self._agree()
        before = -1
        while before != len(self.static):
            before = len(self.static)
            self.sessions_opened = 0
            for session in _sessions(self.traffic):
                self._open(session)
            self._agree()

    def _open(self, session: list[Exchange]) -> None:
        """Try every key set on a session; the one that makes its card cryptogram reads it."""
        host, answer = session[0]
        try:
            init = parse_initialize_update(answer.data)
            tried = [(one, derive_session_keys(one, host.data, init.card_challenge)) for one in self.static]
        except CardError:
            return
        for static, keys in tried:
            if card_cryptogram(keys, host.data, init.card_challenge) == init.card_cryptogram:
                self.sessions_opened += 1
                for ins, clear in _deciphered(session[1:], keys):
                    self._keep(ins, clear, static)
                return

    def _keep(self, ins: int, clear: bytes, static: StaticKeys) -> None:
        dek = static.dek.reveal()
        self.read.append(clear)
        # whatever was encrypted under the data encryption key, wherever it begins
        self.read += [aes_cbc_decrypt(dek, bytes(_BLOCK), block) for block in _windows(clear, _BLOCK)]
        if ins == PUT_KEY:
            found = [aes_cbc_decrypt(dek, bytes(_BLOCK), block) for block in _key_blocks(clear)]
            self.learn(StaticKeys(*(Secret(one) for one in found)))

    def _agree(self) -> None:
        """Agree with every public key that was ever seen, as the owner of every private key it has."""
        for point in {one for text in self.read for one in _points(text)}:
            for key in self.private:
                derived = x963_sha256(key.agree(point), _AGREED_INFO, 4 * _BLOCK)
                enc, mac, dek = (Secret(derived[at : at + _BLOCK]) for at in (16, 32, 48))
                self._test(StaticKeys(enc, mac, dek))

    def _test(self, candidate: StaticKeys) -> None:
        """Keep agreed keys only if they open a session: anything can be agreed with anybody."""
        for session in _sessions(self.traffic):
            host, answer = session[0]
            try:
                init = parse_initialize_update(answer.data)
                keys = derive_session_keys(candidate, host.data, init.card_challenge)
            except CardError:
                continue
            if card_cryptogram(keys, host.data, init.card_challenge) == init.card_cryptogram:
                self.learn(candidate)
                return

    # --- what it found -----------------------------------------------------------------------------------

    def has_keys(self, keys: StaticKeys) -> bool:
        """Say whether it knows a key set as a whole."""
        return any(values(one) == values(keys) for one in self.static)

    def has_read(self, value: bytes) -> bool:
        """Say whether a value occurs in anything that it holds, relayed or deciphered."""
        written = value.hex().encode()
        return any(value in text or written in text.lower() for text in (*self.read, *self.rows))


def values(keys: StaticKeys) -> tuple[bytes, bytes, bytes]:
    return keys.enc.reveal(), keys.mac.reveal(), keys.dek.reveal()


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _base64(text: bytes) -> Iterator[bytes]:
    """Decode the byte strings of a document."""
    for coded in re.findall(rb'"([A-Za-z0-9+/]{16,}={0,2})"', text):
        if len(coded) % 4 == 0:
            yield base64.b64decode(coded)


def _private_keys(secret: Secret) -> list[KeyAgreementKey]:
    """Every private key that a keystore makes of a secret, and the secret as one by itself."""
    made = [agreement._private(secret)]
    number = signatures._private(secret).private_numbers().private_value
    made.append(KeyAgreementKey(Curve.P_256, Secret(number.to_bytes(32, "big"))))
    if len(secret) == 32:
        made.append(KeyAgreementKey(Curve.P_256, secret))
    return made


def _sessions(traffic: Iterable[Exchange]) -> Iterator[list[Exchange]]:
    """Cut the traffic at each INITIALIZE UPDATE that was answered well."""
    session: list[Exchange] = []
    for command, answer in traffic:
        if command.ins == INITIALIZE_UPDATE and not command.cla & 0x04:
            if session:
                yield session
            session = [(command, answer)] if answer.sw == 0x9000 else []
        elif session and command.cla & 0x04:
            session.append((command, answer))
    if session:
        yield session


def _deciphered(session: Iterable[Exchange], keys: SessionKeys) -> Iterator[tuple[int, bytes]]:
    """Decipher commands, with their instruction, and answers, with 0; the first command authenticates.

    Source: Amendment D §6.2.6, §6.2.7.
    """
    enc = keys.enc.reveal()
    for counter, (command, answer) in enumerate(session):
        if command.ins == EXTERNAL_AUTHENTICATE:
            continue
        for ins, first, data in ((command.ins, 0x00, command.data[:-8]), (0, 0x80, answer.data[:-8])):
            icv = aes_ecb_encrypt(enc, bytes((first,)) + counter.to_bytes(15, "big"))
            try:
                if data:
                    yield ins, unpad80(aes_cbc_decrypt(enc, icv, data))
            except (CardError, ValueError):
                continue


def _key_blocks(clear: bytes) -> list[bytes]:
    """Read the three key blocks of a PUT KEY: type, length, inner length, block, check value (§11.8.2.3)."""
    blocks, at = [], 1
    for _ in range(3):
        length = clear[at + 1]
        blocks.append(clear[at + 3 : at + 2 + length])
        at += 2 + length
        at += 1 + clear[at]
    return blocks


def _windows(text: bytes, length: int) -> Iterator[bytes]:
    return (text[at : at + length] for at in range(len(text) - length + 1))


def _points(text: bytes) -> Iterator[bytes]:
    """Find uncompressed points of P-256."""
    for window in _windows(text, _POINT):
        if window[0] != 0x04:
            continue
        try:
            KeyAgreementKey(Curve.P_256, Secret(b"\x01")).agree(window)
        except CardError:
            continue
        yield window

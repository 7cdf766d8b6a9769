"""A card around applets under test: it saves their stores at the end of each APDU, as the virtual card does.

It has no security domains and no secure channel; a test can cut the power at any save. What an applet wrote
before it refused a command is saved too: a refusal that must change nothing has to see to that itself.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.crypto.cipher import aes_cbc_decrypt, aes_cbc_encrypt
from opentsm.vse.applets.base import Applet, CvmService, SecureChannelService
from opentsm.vse.contactless import ContactlessRegistry
from opentsm.vse.status import SW_CONDITIONS, SW_FILE_NOT_FOUND, SW_NOT_FOUND, StatusError

DEK = bytes.fromhex("404142434445464748494A4B4C4D4E4F")
COMPLETE = (0x7FFF, b"")
Dgi = tuple[int, bytes]


class PowerCutError(Exception):
    """The power went off in a save."""


class AppletCard:
    """Holds applets, selects one, commits or loses what they write."""

    def __init__(self) -> None:
        self.saved: dict[Aid, dict[str, bytes]] = {}
        self.stores: dict[Aid, dict[str, bytes]] = {}
        self.classes: dict[Aid, type[Applet]] = {}
        self.applets: dict[Aid, Applet] = {}
        self.selected: Applet | None = None
        self.saves = 0
        self.cut_before_save: int | None = None
        self.cut_after_save: int | None = None

    def install(self, applet: type[Applet], aid: Aid, parameters: bytes = b"") -> None:
        self.classes[aid], self.stores[aid] = applet, {}
        self._create(aid)
        self.applets[aid].install(aid, parameters)
        self.commit()

    def _create(self, aid: Aid) -> None:
        self.applets[aid] = self.classes[aid](self.stores[aid], Services(self, aid))

    def restart_applet(self, aid: Aid) -> None:
        """Create one applet anew around its store."""
        self._create(aid)

    def commit(self) -> None:
        if self.stores == self.saved:
            return
        self.saves += 1
        if self.saves == self.cut_before_save:
            raise PowerCutError
        self.saved = deepcopy(self.stores)
        if self.saves == self.cut_after_save:
            raise PowerCutError

    def restart(self) -> None:
        """Power off and on: only what was saved is left."""
        self.cut_before_save = self.cut_after_save = None
        self.stores, self.selected = deepcopy(self.saved), None
        for aid in self.classes:
            self._create(aid)

    def transmit(self, raw: bytes) -> bytes:
        try:
            answer = self._answer(CommandApdu.parse(raw))
        except StatusError as error:
            answer = ResponseApdu(error.data, error.sw)
        self.commit()
        return answer.to_bytes()

    def _answer(self, command: CommandApdu) -> ResponseApdu:
        if command.header == bytes.fromhex("00A40400"):
            return ResponseApdu(self._select(command.data), 0x9000)
        if self.selected is None:
            raise StatusError(SW_FILE_NOT_FOUND)
        return self.selected.process(command)

    def _select(self, name: bytes) -> bytes:
        aid = next((aid for aid in self.applets if aid.startswith(name)), None)
        if aid is None:
            raise StatusError(SW_FILE_NOT_FOUND)
        if self.selected is not None:
            self.selected.deselect()
        self.selected = self.applets[aid]
        return self.selected.select()

    async def exchange(self, raw: bytes) -> bytes:
        """Transmit for terminals, which wait for their reader."""
        return self.transmit(raw)

    def select(self, aid: Aid) -> ResponseApdu:
        return self.send(CommandApdu(0x00, 0xA4, 0x04, 0x00, bytes(aid), ne=256))

    def send(self, command: CommandApdu) -> ResponseApdu:
        return ResponseApdu.parse(self.transmit(command.to_bytes()))

    def apdu(self, text: str) -> ResponseApdu:
        return ResponseApdu.parse(self.transmit(bytes.fromhex(text)))

    def store_data(
        self,
        aid: Aid,
        data: bytes,
        number: int = 0,
        *,
        p1: int = 0x88,
        decrypt: Callable[[bytes], bytes] | None = None,
    ) -> int:
        """Forward one STORE DATA and return the status word."""
        command = CommandApdu(0x80, 0xE2, p1, number, data)
        try:
            self.applets[aid].personalize(command, decrypt or decrypt_dek)
        except StatusError as error:
            return error.sw
        self.commit()
        return 0x9000

    def personalize(
        self, aid: Aid, plain: Iterable[Dgi], keys: Iterable[Dgi] = (), *, complete: bool = True
    ) -> int:
        """Personalise with clear data groupings, then keys, then 7FFF; return the last status word."""
        first = self.store_data(aid, b"".join(encode_dgi(*dgi) for dgi in plain), 0, p1=0x08)
        if first != 0x9000:
            return first
        wrapped = b"".join(encode_dgi(dgi, encrypt_dek(value)) for dgi, value in keys)
        second = self.store_data(aid, wrapped, 1, p1=0x68)
        if second != 0x9000:
            return second
        return self.store_data(aid, encode_dgi(*COMPLETE) if complete else b"", 2)


class Services:
    """What the card offers to one instance."""

    def __init__(self, card: AppletCard, aid: Aid) -> None:
        self.card, self.aid, self.drawn = card, aid, 0

    @property
    def instance_aid(self) -> Aid:
        return self.aid

    def random(self, length: int) -> bytes:
        self.drawn += 1
        return bytes((self.drawn + place) % 256 for place in range(length))

    def commit(self) -> None:
        self.card.commit()

    def proximity_applets(self) -> tuple[Applet, ...]:
        return tuple(self.card.applets.values())

    @property
    def priority_is_set(self) -> bool:
        return False

    def contactless_registry(self) -> ContactlessRegistry:
        raise StatusError(SW_FILE_NOT_FOUND)  # this card has none

    def set_contactless_state(self, state: int) -> None:
        raise StatusError(SW_FILE_NOT_FOUND)

    def register_service(self, name: bytes) -> None:
        raise StatusError(SW_CONDITIONS)  # nor does this one give privileges

    def deregister_service(self, name: bytes) -> None:
        raise StatusError(SW_CONDITIONS)

    def cvm(self, identifier: int) -> CvmService:
        raise StatusError(SW_NOT_FOUND)

    @property
    def installation(self) -> bytes:
        return b""

    @property
    def secure_channel(self) -> SecureChannelService:
        raise StatusError(SW_CONDITIONS)  # this card has no security domain


def encrypt_dek(value: bytes) -> bytes:
    return aes_cbc_encrypt(DEK, bytes(16), value)


def decrypt_dek(value: bytes) -> bytes:
    return aes_cbc_decrypt(DEK, bytes(16), value)

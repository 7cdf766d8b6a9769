"""yubikit, a client written elsewhere, drives the security domain over the TCP reader (vpcd framing).

Extended-length APDUs, level 33, empty command data enciphered too: so it treats every command.
"""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator

import pytest
from tests.unit.vse.card_host import FACTORY_KEYS, make_card, make_keys
from yubikit.core import TRANSPORT
from yubikit.core.smartcard import ApduError, SmartCardConnection
from yubikit.core.smartcard.scp import KeyRef, Scp03KeyParams, StaticKeys
from yubikit.securitydomain import SecurityDomainSession

from opentsm.card.gp.keys import StaticKeys as CardKeys
from opentsm.vse.card import VirtualCard
from opentsm.vse.vpcd import VpcdEndpoint

KID_SCP03 = 1


class TcpConnection(SmartCardConnection):
    """A reader slot for yubikit: the far end of the card's listening socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._send(b"\x01")

    @property
    def transport(self) -> TRANSPORT:
        return TRANSPORT.USB

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        self._send(bytes(apdu))
        answer = self._read(int.from_bytes(self._read(2), "big"))
        return answer[:-2], int.from_bytes(answer[-2:], "big")

    def close(self) -> None:
        self._socket.close()

    def _send(self, payload: bytes) -> None:
        self._socket.sendall(len(payload).to_bytes(2, "big") + payload)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self._socket.recv(length - len(data))
            assert part, "the card closed the connection"
            data += part
        return data


class CardThread:
    """A card that listens on a loopback port, in a thread of its own."""

    def __init__(self, card: VirtualCard) -> None:
        self._loop = asyncio.new_event_loop()
        self._endpoint = VpcdEndpoint(card)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self._run(self._endpoint.listen("127.0.0.1", 0))

    def _run(self, work: Coroutine[object, object, int]) -> int:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._endpoint.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def port() -> Iterator[int]:
    served = CardThread(make_card())
    yield served.port
    served.stop()


def parameters(keys: CardKeys, kvn: int) -> Scp03KeyParams:
    return Scp03KeyParams(KeyRef(KID_SCP03, kvn), yubikit_keys(keys))


def yubikit_keys(keys: CardKeys) -> StaticKeys:
    return StaticKeys(keys.enc.reveal(), keys.mac.reveal(), keys.dek.reveal())


def open_session(port: int, keys: CardKeys, kvn: int) -> SecurityDomainSession:
    session = SecurityDomainSession(TcpConnection(port))
    session.authenticate(parameters(keys, kvn))
    return session


def test_level_33_session_lists_keys_and_recognition_data(port: int) -> None:
    """Cases 102, 103, 108, 141, 150, 160."""
    session = open_session(port, FACTORY_KEYS, 0x30)
    information = session.get_key_information()
    assert information == {KeyRef(kid, 0x30): {0x88: 16} for kid in (1, 2, 3)}
    assert bytes.fromhex("2A864886FC6B01") in session.get_card_recognition_data()


def test_new_key_set_opens_a_session_and_can_be_deleted(port: int) -> None:
    """Cases 109, 110, 118."""
    new = make_keys(0x61)
    session = open_session(port, FACTORY_KEYS, 0x30)
    session.put_key(KeyRef(KID_SCP03, 0x31), yubikit_keys(new))

    under_new = open_session(port, new, 0x31)
    assert KeyRef(3, 0x31) in under_new.get_key_information()

    again = open_session(port, FACTORY_KEYS, 0x30)
    again.delete_key(kvn=0x31)
    assert KeyRef(1, 0x31) not in again.get_key_information()
    # yubikit's translation of 6A88.
    with pytest.raises(ValueError, match="Incorrect SCP parameters"):
        open_session(port, new, 0x31)


def test_replaced_key_set_takes_the_place_of_the_old_one(port: int) -> None:
    """Case 109."""
    new = make_keys(0x71)
    session = open_session(port, FACTORY_KEYS, 0x30)
    session.put_key(KeyRef(KID_SCP03, 0x32), yubikit_keys(new), replace_kvn=0x30)
    assert set(open_session(port, new, 0x32).get_key_information()) == {KeyRef(k, 0x32) for k in (1, 2, 3)}


def test_unauthenticated_put_key_is_refused(port: int) -> None:
    session = SecurityDomainSession(TcpConnection(port))
    with pytest.raises(ApduError) as refused:
        session.delete_key(kvn=0x30)
    assert refused.value.sw == 0x6982

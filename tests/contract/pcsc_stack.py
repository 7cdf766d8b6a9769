"""A PC/SC service of the tests' own, with virtual cards in its slots: pcscd, vpcd, libpcsclite, pyscard.

The cards listen on loopback and vpcd connects to them, so nothing else is bound. pcscd gets its client socket
as a service manager would pass it, and its /run from a mount namespace, so another pcscd goes on undisturbed.
Source: pcscd(8); sd_listen_fds(3); reader.conf(5); vsmartcard's vpcd (the card listens).
"""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final

from smartcard.CardRequest import CardRequest
from smartcard.Exceptions import CardRequestTimeoutException, SmartcardException
from smartcard.pcsc.PCSCExceptions import BaseSCardException
from smartcard.scard import SCARD_LEAVE_CARD
from smartcard.System import readers
from tests.contract.card_connections import CardThread
from tests.unit.vse.card_host import make_card
from ykman.pcsc import ScardSmartCardConnection
from yubikit.core.smartcard import SmartCardConnection

from opentsm.vse.profiles import VseProfile
from opentsm.vse.vpcd import ServedCard

READER: Final = "OpenTSM test"

_DAEMON: Final = Path("/usr/sbin/pcscd")
_DRIVER: Final = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
_FIXED_SOCKET: Final = Path("/run/pcscd/pcscd.comm")
_SOCKET_VARIABLE: Final = "PCSCLITE_CSOCK_NAME"
_START: Final = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" --foreground --error --config "$1" 3<&"$2"'
_OWN_RUN: Final = "mount -t tmpfs tmpfs /run && "
_PORT_TRIES: Final = 50
_PATIENCE_S: Final = 120


class Slot:
    """A card that can be taken out and replaced while vpcd stays connected."""

    def __init__(self) -> None:
        self.card: ServedCard = make_card()

    @property
    def profile(self) -> VseProfile:
        """The kind of card."""
        return self.card.profile

    def power_on(self) -> bytes:
        """Reset the card."""
        return self.card.power_on()

    def power_off(self) -> None:
        """Take the power away."""
        self.card.power_off()

    def transmit(self, raw: bytes) -> bytes:
        """Answer one command."""
        return self.card.transmit(raw)


class PcscStack:
    """pcscd with two slots, as a context manager; libpcsclite in this process then speaks to it.

    Debian's vpcd opens two slots on neighbouring ports, and aborts when it cannot reach one of them.

    Raises:
        RuntimeError: a part is missing on this machine; it says what to do.
    """

    def __init__(self) -> None:
        self.slots = (Slot(), Slot())
        self._connection: SmartCardConnection | None = None

    def __enter__(self) -> "PcscStack":
        _require_parts()
        isolation = _isolation()
        # In /tmp, since the /run that TMPDIR may point into is hidden from pcscd.
        self._directory = Path(tempfile.mkdtemp(prefix="opentsm-pcsc-", dir="/tmp"))
        self._served = _serve(*self.slots)
        self._daemon = self._start(isolation)
        self._before = os.environ.get(_SOCKET_VARIABLE)
        os.environ[_SOCKET_VARIABLE] = str(self._directory / "comm")
        try:
            self._await_cards()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()
        self._daemon.terminate()
        self._daemon.wait(_PATIENCE_S)
        for thread in self._served:
            thread.stop()
        shutil.rmtree(self._directory)
        os.environ.pop(_SOCKET_VARIABLE)
        if self._before is not None:
            os.environ[_SOCKET_VARIABLE] = self._before

    def connect(self) -> SmartCardConnection:
        """Connect yubikit to the card in the first slot; the connection before ends."""
        self.disconnect()
        slot = next(reader for reader in readers() if str(reader) == f"{READER} 00 00")
        connection = slot.createConnection()
        self._connection = ScardSmartCardConnection(connection)  # type: ignore[no-untyped-call]
        # Else the card is powered down, and pcscd takes 0.4 s to see it again.
        connection.disposition = SCARD_LEAVE_CARD
        return self._connection

    def disconnect(self) -> None:
        """End the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _start(self, isolation: list[str]) -> "subprocess.Popen[bytes]":
        configuration = self._directory / "reader.conf"
        configuration.write_text(_configuration(self._served[0].port))
        with socket.socket(socket.AF_UNIX) as listening, (self._directory / "log").open("wb") as log:
            listening.bind(str(self._directory / "comm"))
            listening.listen()
            passed = listening.fileno()
            command = [*isolation, str(_DAEMON), str(configuration), str(passed)]
            return subprocess.Popen(command, pass_fds=(passed,), stdout=log, stderr=log)

    def _await_cards(self) -> None:
        """Wait until pcscd has seen a card in each slot."""
        try:
            for slot in readers():
                CardRequest(readers=[slot], timeout=_PATIENCE_S).waitforcard()
        except (SmartcardException, BaseSCardException, CardRequestTimeoutException) as error:
            log = (self._directory / "log").read_text(errors="replace")
            raise RuntimeError(f"pcscd shows no card ({error}); it wrote: {log or 'nothing'}") from error


def _require_parts() -> None:
    missing = [str(path) for path in (_DAEMON, _DRIVER) if not path.exists()]
    if missing:
        raise RuntimeError(f"{' and '.join(missing)} missing: sudo apt-get install pcscd vsmartcard-vpcd")


def _isolation() -> list[str]:
    """Return the start of a command that runs pcscd where its fixed directory, /run/pcscd, is its own.

    Raises:
        RuntimeError: no namespace can be had, and pcscd cannot run without one.
    """
    is_root = os.geteuid() == 0
    wrap = ["unshare", "--mount"] if is_root else ["unshare", "--map-root-user", "--mount"]
    probe = [*wrap, "bash", "-c", _OWN_RUN + "true"]
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return [*wrap, "bash", "-c", _OWN_RUN + _START]
    why = tried.stderr.strip()
    if not is_root:
        raise RuntimeError(
            f"pcscd needs /run/pcscd, and this user can have no namespace of its own ({why}): allow them "
            "(sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0) "
            "or run the tests as root"
        )
    if _FIXED_SOCKET.exists():
        raise RuntimeError(
            f"another pcscd runs here and would be disturbed, and no namespace can be had ({why}): "
            "stop it, or allow mount namespaces (CAP_SYS_ADMIN)"
        )
    return ["bash", "-c", _START]


def _configuration(port: int) -> str:
    lines = {"FRIENDLYNAME": f'"{READER}"', "DEVICENAME": f"127.0.0.1:{port:#06x}"}
    lines |= {"LIBPATH": str(_DRIVER), "CHANNELID": f"{port:#06x}"}
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _serve(first: Slot, second: Slot) -> tuple[CardThread, CardThread]:
    """Put the cards on neighbouring ports."""
    for _ in range(_PORT_TRIES):
        lower = CardThread(first)
        try:
            return lower, CardThread(second, lower.port + 1)
        except (OSError, OverflowError):
            lower.stop()
    raise RuntimeError("no two neighbouring ports are free on 127.0.0.1")

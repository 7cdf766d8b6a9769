"""A PC/SC service of the tests' own, with virtual cards in its slots: pcscd, vpcd, libpcsclite, pyscard.

The cards listen on loopback and vpcd connects to them, so nothing else is bound. pcscd gets its client socket
as a service manager would pass it, and its /run from a mount namespace, so another pcscd goes on undisturbed.
Source: pcscd(8); sd_listen_fds(3); reader.conf(5); vsmartcard's vpcd ("reversed" connection).
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.contract.test_yubikit_security_domain import CardThread

from opentsm.vse.card import VirtualCard

READER: Final = "OpenTSM test"
SLOTS: Final = 2
"""The Debian build of vpcd opens two, on neighbouring ports, and aborts when it cannot reach one of them."""

_DAEMON: Final = Path("/usr/sbin/pcscd")
_DRIVER: Final = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
_ITS_RUN: Final = Path("/run/pcscd")
_FIRST_PASSED_DESCRIPTOR: Final = 3
_START: Final = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" --foreground --error --config "$1"'
_OWN_RUN: Final = "mount -t tmpfs tmpfs /run && "
_PORT_TRIES: Final = 50


class PcscStack:
    """pcscd with one card in each slot, as a context manager.

    Args:
        cards: one card for each slot.

    Raises:
        RuntimeError: a part is missing on this machine; it says what to do.
    """

    def __init__(self, cards: Sequence[VirtualCard]) -> None:
        assert len(cards) == SLOTS
        self._directory = Path(tempfile.mkdtemp(prefix="opentsm-pcsc-"))
        self.socket = self._directory / "comm"
        self._log = self._directory / "log"
        self._served = _serve(cards)
        try:
            self._daemon = self._start()
        except BaseException:
            self._clean()
            raise

    def __enter__(self) -> "PcscStack":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._daemon.terminate()
        self._daemon.wait(10)
        self._clean()

    def _clean(self) -> None:
        for thread in self._served:
            thread.stop()
        shutil.rmtree(self._directory)

    @property
    def log(self) -> str:
        """What pcscd wrote."""
        return self._log.read_text(errors="replace")

    def _start(self) -> "subprocess.Popen[bytes]":
        _require_parts()
        configuration = self._directory / "reader.conf"
        configuration.write_text(_configuration(self._served[0].port))
        with socket.socket(socket.AF_UNIX) as listening, self._log.open("wb") as log:
            listening.bind(str(self.socket))
            listening.listen()
            command = [*_isolated(), str(_DAEMON), str(configuration)]
            return _with_descriptor(listening.fileno(), command, log.fileno())


def _require_parts() -> None:
    missing = [str(path) for path in (_DAEMON, _DRIVER) if not path.exists()]
    if missing:
        raise RuntimeError(f"{' and '.join(missing)} missing: sudo apt-get install pcscd vsmartcard-vpcd")


def _isolated() -> list[str]:
    """Return the start of a command that runs pcscd where its fixed directory, /run/pcscd, is its own.

    Raises:
        RuntimeError: no namespace can be had, and pcscd cannot run without one.
    """
    wrap = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    tried = subprocess.run([*wrap, "sh", "-c", _OWN_RUN + "true"], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return [*wrap, "sh", "-c", _OWN_RUN + _START]
    if os.geteuid() != 0:
        raise RuntimeError(
            f"pcscd needs /run/pcscd, and this user can have no namespace of its own ({tried.stderr.strip()}): "
            "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
            "kernel.apparmor_restrict_unprivileged_userns=0), or run the tests as root"
        )
    if (_ITS_RUN / "pcscd.comm").exists():
        raise RuntimeError(
            f"a pcscd runs here and would be disturbed, and no namespace can be had ({tried.stderr.strip()}): "
            "stop it, or allow mount namespaces (CAP_SYS_ADMIN)"
        )
    return ["sh", "-c", _START]


def _with_descriptor(descriptor: int, command: Sequence[str], log: int) -> "subprocess.Popen[bytes]":
    """Start a command that finds this descriptor as its number 3."""
    shell = f'exec "$@" {_FIRST_PASSED_DESCRIPTOR}<&{descriptor}'
    if descriptor != _FIRST_PASSED_DESCRIPTOR:
        shell += f" {descriptor}<&-"
    return subprocess.Popen(
        ["bash", "-c", shell, "pcscd", *command], pass_fds=(descriptor,), stdout=log, stderr=log
    )


def _configuration(port: int) -> str:
    lines = {"FRIENDLYNAME": f'"{READER}"', "DEVICENAME": f"127.0.0.1:{port:#06x}"}
    lines |= {"LIBPATH": str(_DRIVER), "CHANNELID": f"{port:#06x}"}
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _serve(cards: Sequence[VirtualCard]) -> list[CardThread]:
    """Put the cards on neighbouring ports."""
    for _ in range(_PORT_TRIES):
        served = [CardThread(cards[0])]
        try:
            return [*served, *(CardThread(card, served[0].port + n) for n, card in enumerate(cards[1:], 1))]
        except OSError:
            served[0].stop()
    raise RuntimeError("no two neighbouring ports are free on 127.0.0.1")

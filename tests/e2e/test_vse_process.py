"""`opentsm vse serve` as a real process: it answers, its content survives kill -9, SIGTERM ends it."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

END_S = 120
RUN = "from opentsm.cli.main import main; main()"
SELECT = bytes.fromhex("00A4040000")
INITIALIZE_UPDATE = bytes.fromhex("8050000008000102030405060700")


def command(store: Path, *words: str) -> list[str]:
    return [sys.executable, "-c", RUN, "vse", *words, "--store", str(store)]


@contextmanager
def serving(store: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    arguments = command(store, "serve", *words, "--listen", "127.0.0.1:0", "--json")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())["port"]
    finally:
        process.kill()
        process.wait(END_S)
        process.stdout.close()


class Wire:
    """A reader's end of the connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=END_S)
        self._socket.sendall(b"\x00\x01\x01")

    def exchange(self, apdu: bytes) -> bytes:
        self._socket.sendall(len(apdu).to_bytes(2, "big") + apdu)
        with self._socket.makefile("rb") as stream:
            return stream.read(int.from_bytes(stream.read(2), "big"))

    def close(self) -> None:
        self._socket.close()


def test_content_survives_kill_9_and_sigterm_ends_the_process(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, port):
        wire = Wire(port)
        assert wire.exchange(SELECT)[-2:] == b"\x90\x00"
        assert wire.exchange(INITIALIZE_UPDATE)[-5:] == b"\x00\x00\x01\x90\x00"
        process.kill()
        wire.close()
    with serving(tmp_path) as (process, port):
        wire = Wire(port)
        assert wire.exchange(INITIALIZE_UPDATE)[-5:] == b"\x00\x00\x02\x90\x00"
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_S) == 0
        wire.close()


@pytest.mark.parametrize("fault", ["cut_after_write=1", "cut_before_apdu=1", "lose_answer=1"])
def test_armed_fault_breaks_the_connection_and_the_card_lives_on(tmp_path: Path, fault: str) -> None:
    with serving(tmp_path, "--fault", fault) as (_, port):
        wire = Wire(port)
        assert wire.exchange(INITIALIZE_UPDATE) == b""
        wire.close()
        again = Wire(port)
        counter = again.exchange(INITIALIZE_UPDATE)[-3]
        assert counter == (1 if fault.startswith("cut_before") else 2)
        again.close()


def test_taken_port_is_unavailable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        arguments = command(tmp_path, "serve", "--listen", f"127.0.0.1:{port}")
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=END_S, check=False)
    assert done.returncode == 4
    assert "no connection" in done.stderr

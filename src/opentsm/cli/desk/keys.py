"""Where the keys for a card on the desk come from: a file, the environment, or the well-known test key.

A message about keys never repeats them. Clear key values exist here as `Secret` only.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path

from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import DiversificationError
from opentsm.card.gp.diversification import DiversificationMethod, diversify
from opentsm.card.gp.keys import StaticKeys
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, say

KEY_FORMS = "a file, env:NAME, or with --test-keys nothing"
NAMES = ("enc", "mac", "dek")

# The key that GlobalPlatform's examples and most development cards use.
_TEST_KEY = bytes.fromhex("404142434445464748494A4B4C4D4E4F")
_KEY_LENGTHS = (16, 24, 32)
_MAX_FILE_BYTES = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_HEX_WORDS = re.compile(r"[0-9A-Fa-f]{32,64}([:,][0-9A-Fa-f]{32,64}){0,2}")


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """Keys as they were given: those of one card, or a master key to be diversified.

    Attributes:
        given: three keys; a master key stands in all three places.
        kvn: their key version number, when the source tells it.
        method: how a card's keys follow from the master key `given.enc`; None: `given` are the card's.
    """

    given: StaticKeys
    kvn: int | None = None
    method: DiversificationMethod | None = None

    def for_card(self, kdd: bytes) -> StaticKeys:
        """Return the keys of the card with this key diversification data.

        Raises:
            CliError: the master key does not fit the method.
        """
        return self.given if self.method is None else self._derived(kdd, self.method)

    def other_methods(self, kdd: bytes) -> list[tuple[str, StaticKeys]]:
        """Return what the keys would be if they had been meant otherwise, to say so; asks no card."""
        others = [method for method in DiversificationMethod if method is not self.method]
        found = [] if self.method is None else [("none", self.given)]
        for method in others:
            try:
                found.append((method.value, diversify(self.given.enc, kdd, method)))
            except DiversificationError:
                continue
        return found

    def _derived(self, kdd: bytes, method: DiversificationMethod) -> StaticKeys:
        if len({key.reveal() for key in (self.given.enc, self.given.mac, self.given.dek)}) != 1:
            raise CliError(
                "diversification takes one master key, and three different keys were given",
                advice="leave out --diversification, or give the master key",
                code=ExitCode.USAGE,
            )
        try:
            return diversify(self.given.enc, kdd, method)
        except DiversificationError as error:
            raise CliError(
                f"the keys cannot be diversified: {error}",
                advice="emv and visa2 take a triple DES master key, kdf3 an AES one",
                code=ExitCode.BAD_INPUT,
            ) from error


def choose_keys(
    source: str | None,
    *,
    test_keys: bool,
    method: DiversificationMethod | None = None,
    sd: str | None = None,
) -> KeyChoice | None:
    """Read the keys that the command line names.

    Args:
        source: FILE, `env:NAME`, hexadecimal digits (which draws a warning), or None.
        test_keys: the well-known test key may be used; without a source it is.
        sd: AID of the security domain; a file may hold keys of several under `domains`.
        method: take the key for a master key and diversify it in this way.

    Returns:
        The keys, None when nothing was named.

    Raises:
        CliError: unreadable, readable by others, damaged, or the test key without `test_keys`.
    """
    if source is None:
        return KeyChoice(_three(_TEST_KEY), method=method) if test_keys else None
    choice = _parse(_content(source), method, sd)
    if not test_keys and any(
        compare_digest(key.reveal(), _TEST_KEY)
        for key in (choice.given.enc, choice.given.mac, choice.given.dek)
    ):
        raise CliError(
            "these are the well-known test keys 4041…4F",
            why="whoever knows them owns the card; they are used only when asked for",
            advice="give --test-keys, and only for a card that is worth nothing",
            code=ExitCode.USAGE,
        )
    return choice


def require_keys(choice: KeyChoice | None) -> KeyChoice:
    """Return the keys.

    Raises:
        CliError: there are none.
    """
    if choice is None:
        raise CliError("this needs the card's keys", advice=f"give --keys: {KEY_FORMS}", code=ExitCode.USAGE)
    return choice


def _content(source: str) -> str:
    if source.startswith("env:"):
        return _from_environment(source.removeprefix("env:"))
    if _HEX_WORDS.fullmatch(source):
        say("warning: keys on the command line are seen by other users and kept in history; use a file")
        return source
    return _from_file(Path(source))


def _from_environment(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise CliError(
            f"the environment variable {name} is not set", advice="export it first", code=ExitCode.USAGE
        ) from None


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if mode & _OTHERS:
                raise CliError(
                    f"the key file {path} can be read by others (mode {stat.S_IMODE(mode):04o})",
                    why="keys that others can read are not used",
                    advice=f"chmod 600 {path}",
                    code=ExitCode.CONFIGURATION,
                )
            return stream.read(_MAX_FILE_BYTES + 1).decode("ascii")
    except OSError as error:
        raise CliError(
            f"the key file {path} cannot be read", why=error.strerror or "", code=ExitCode.BAD_INPUT
        ) from error
    except UnicodeDecodeError:
        raise CliError(f"the key file {path} is no text", code=ExitCode.BAD_INPUT) from None


def _parse(text: str, method: DiversificationMethod | None, sd: str | None) -> KeyChoice:
    text = text.strip()
    if len(text) <= _MAX_FILE_BYTES:
        choice = _parse_json(text, method, sd) if text.startswith("{") else _parse_words(text, method)
        if choice is not None:
            return choice
    raise CliError(
        "the keys are not understood",
        advice="one key in hex, three (ENC MAC DEK), or JSON: "
        '{"kvn": "30", "enc": "…", "mac": "…", "dek": "…"}; '
        'a master key: {"master": "…", "diversification": "emv|visa2|kdf3"}',
        code=ExitCode.BAD_INPUT,
    )


def _parse_words(text: str, method: DiversificationMethod | None) -> KeyChoice | None:
    keys = _keys(re.split(r"[\s:,]+", text))
    return None if keys is None else KeyChoice(keys, method=method)


def _parse_json(text: str, method: DiversificationMethod | None, sd: str | None) -> KeyChoice | None:
    try:
        document = json.loads(text)
        document = document.get("domains", {}).get(sd, document)
        kvn = int(document["kvn"], 16) if "kvn" in document else None
        if "master" in document:
            method = method or DiversificationMethod(document["diversification"])
            words = [document["master"]]
        else:
            words = [document["key"]] if "key" in document else [document[name] for name in NAMES]
        keys = _keys(words)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if keys is None or not (kvn is None or 1 <= kvn <= 0xFF):
        return None
    return KeyChoice(keys, kvn, method)


def _keys(words: list[str]) -> StaticKeys | None:
    """Return the three keys: one word stands for all."""
    try:
        values = [bytes.fromhex(word) for word in words]
    except (ValueError, TypeError):
        return None
    if len(values) == 1:
        values *= 3
    if len(values) != 3 or len({len(value) for value in values}) != 1 or len(values[0]) not in _KEY_LENGTHS:
        return None
    return StaticKeys(*map(Secret, values))


def _three(key: bytes) -> StaticKeys:
    return StaticKeys(Secret(key), Secret(key), Secret(key))

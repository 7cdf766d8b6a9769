"""Cards kept on disk: one directory a card, with its memory and what its maker knows about it.

`card.nvm` is the non-volatile memory, `card.json` the identity, `keys.json` (readable by its owner only) the
first key set of the issuer security domain.
Of a card with certified keys `test-authority.der` is the certificate of the authority that issued theirs.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentsm.card.crypto.secret import Secret
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.certified_keys import certifies
from opentsm.vse.factory import NO_KEYS
from opentsm.vse.nvm import FileNvm
from opentsm.vse.profiles import VseProfile, load_profile
from opentsm.vse.state import CardImage, encode_image
from opentsm.vse.virtual_authority import root_certificate

_IMAGE: Final = "card.nvm"
_IDENTITY: Final = "card.json"
_KEYS: Final = "keys.json"
_AUTHORITY: Final = "test-authority.der"
_KEY_LENGTHS: Final = {2: (16,), 3: (16, 24, 32)}


class CardDirectoryError(ValueError):
    """The card directory is unusable."""


@dataclass(frozen=True, slots=True)
class CardDirectory:
    """The directory of one card."""

    path: Path

    @property
    def name(self) -> str:
        """The card's name."""
        return self.path.name

    @property
    def exists(self) -> bool:
        """Tell whether there is a card."""
        return (self.path / _IMAGE).is_file()

    @property
    def keys_file(self) -> Path:
        """Where the first key set is."""
        return self.path / _KEYS

    def issue(
        self,
        profile: str | dict[str, object],
        serial: int,
        keys: KeyMaterial,
        *,
        identity: CardIdentity | None = None,
        domain_keys: Mapping[bytes, KeyMaterial] = NO_KEYS,
    ) -> dict[str, object]:
        """Make a new card here.

        Returns:
            The identity as `card.json` holds it.

        Raises:
            CardDirectoryError: there is a card already, a key has a wrong length, or nothing can be written.
            ProfileError: no such profile.
        """
        if self.exists:
            raise CardDirectoryError(f"there is a card named {self.name} already")
        kind = load_profile(profile)
        for one in (keys, *domain_keys.values()):
            _check_lengths(kind, one)
        identity = identity or CardIdentity.from_serial(serial)
        kvn = kind.initial_kvn if keys.kvn is None else keys.kvn
        document: dict[str, object] = {
            "name": self.name,
            "profile": kind.name,
            "serial": serial,
            "isd_aid": kind.isd_aid,
            "scp": [list(pair) for pair in kind.scp],
            "kvn": f"{kvn:02X}",
            "iin": identity.iin.hex().upper(),
            "cin": identity.cin.hex().upper(),
            "kdd": identity.kdd.hex().upper(),
            "cplc": identity.cplc.hex().upper(),
        }
        with self._reported("made"):
            self.path.mkdir(parents=True, exist_ok=True)
            _write_private(self.keys_file, _keys_document(kind, kvn, keys, domain_keys))
            (self.path / _IDENTITY).write_text(json.dumps(document, indent=2) + "\n", "utf-8")
            if certifies(kind):
                (self.path / _AUTHORITY).write_bytes(root_certificate())
            VirtualCard.issue(kind, identity, keys, self._nvm(), domain_keys=domain_keys)
        return document

    def open(self) -> VirtualCard:
        """Return the card.

        Raises:
            CardDirectoryError: there is none, or its memory is damaged or unreadable.
        """
        if not self.exists:
            raise CardDirectoryError(f"there is no card named {self.name} in {self.path.parent}")
        with self._reported("read"):
            return VirtualCard.open(self._nvm())

    def put(self, identity: dict[str, object], keys: dict[str, object], image: CardImage) -> None:
        """Write a card that came from elsewhere; its keys are readable by their owner only.

        Raises:
            CardDirectoryError: there is a card already, or nothing can be written.
        """
        if self.exists:
            raise CardDirectoryError(f"there is a card named {self.name} already")
        with self._reported("written"):
            load_profile(image.profile)
            self.path.mkdir(parents=True, exist_ok=True)
            _write_private(self.keys_file, keys)
            text = json.dumps(identity | {"name": self.name}, indent=2) + "\n"
            (self.path / _IDENTITY).write_text(text, "utf-8")
            self._nvm().save(encode_image(image))

    def keys(self) -> dict[str, object]:
        """Return what `keys.json` holds.

        Raises:
            CardDirectoryError: it is damaged or unreadable.
        """
        with self._reported("read"):
            document = json.loads(self.keys_file.read_text("utf-8"))
            if not isinstance(document, dict):
                raise ValueError(f"{_KEYS} holds no object")
        return document

    def identity(self) -> dict[str, object]:
        """Return what `card.json` holds.

        Raises:
            CardDirectoryError: it is damaged or unreadable.
        """
        with self._reported("read"):
            document = json.loads((self.path / _IDENTITY).read_text("utf-8"))
            if not isinstance(document, dict):
                raise ValueError(f"{_IDENTITY} holds no object")
        return document

    def erase(self) -> None:
        """Delete the card and everything about it.

        Raises:
            CardDirectoryError: there is none, or it cannot be deleted.
        """
        if not self.exists:
            raise CardDirectoryError(f"there is no card named {self.name} in {self.path.parent}")
        with self._reported("erased"):
            shutil.rmtree(self.path)

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise CardDirectoryError(f"the card {self.name} cannot be {what}: {error}") from error

    def _nvm(self) -> FileNvm:
        return FileNvm(self.path / _IMAGE, durable=True)


def list_cards(store: Path) -> tuple[CardDirectory, ...]:
    """Return the cards in a directory of cards, by name."""
    if not store.is_dir():
        return ()
    found = (CardDirectory(entry) for entry in sorted(store.iterdir()) if entry.is_dir())
    return tuple(entry for entry in found if entry.exists)


def random_keys(length: int, random: Callable[[int], bytes]) -> KeyMaterial:
    """Return a new key set, `length` bytes a key."""
    return KeyMaterial(enc=Secret(random(length)), mac=Secret(random(length)), dek=Secret(random(length)))


def _check_lengths(profile: VseProfile, keys: KeyMaterial) -> None:
    protocol, _ = profile.channels[0]
    for key in (keys.enc, keys.mac, keys.dek):
        if len(key) not in _KEY_LENGTHS[protocol]:
            raise CardDirectoryError(f"a key of SCP{protocol:02X} cannot have {len(key)} bytes")


def _keys_document(
    profile: VseProfile, kvn: int, keys: KeyMaterial, domain_keys: Mapping[bytes, KeyMaterial]
) -> dict[str, object]:
    document: dict[str, object] = {"kvn": f"{kvn:02X}", **_key_fields(keys)}
    versions = {bytes.fromhex(entry.aid): entry.kvn for entry in profile.factory_domains}
    domains = {
        aid.hex().upper(): {"kvn": f"{versions[aid]:02X}", **_key_fields(one)}
        for aid, one in domain_keys.items()
        if aid in versions
    }
    return document | ({"domains": domains} if domains else {})


def _key_fields(keys: KeyMaterial) -> dict[str, str]:
    values = {"enc": keys.enc, "mac": keys.mac, "dek": keys.dek}
    return {name: value.reveal().hex().upper() for name, value in values.items()}


def _write_private(path: Path, document: object) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(document, indent=2) + "\n")

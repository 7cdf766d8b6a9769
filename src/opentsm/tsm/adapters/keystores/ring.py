"""The keystores of all parties that live in this process: one sealed file each, opened when first needed."""

import contextlib
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.adapters.keystores.sealed_file import KeyFile, SealedFile, sync_directory
from opentsm.tsm.adapters.keystores.software import SoftwareKeystore
from opentsm.tsm.kernel.ids import TenantId

_KEY_BYTES = 32
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**15, 8, 3
_SALT_BYTES = 16


class KeystoreRing:
    """Opens and makes keystores under one directory; every party's file has a key of its own inside."""

    def __init__(self, directory: Path, passphrase: Secret | None = None) -> None:
        """Prepare the directory.

        Args:
            directory: where the sealed files are; made with mode 0700.
            passphrase: what opens them; without one a key file is made beside them, which protects
                against nothing but a copy of single files: for laptops and tests.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._unlock = KeyFile(_stretched(directory, passphrase) if passphrase else _key_file(directory))
        self._open: dict[TenantId, SoftwareKeystore] = {}

    def of(self, party: TenantId) -> SoftwareKeystore:
        """Return a party's keystore; it is made when there is none yet.

        Raises:
            KeystoreError: the file was changed, or does not open with what this ring has.
        """
        if party not in self._open:
            self._open[party] = self._load(party)
        return self._open[party]

    async def refresh(self) -> None:
        """Let every open keystore forget what another process erased, also where nobody uses it any more."""
        for keystore in tuple(self._open.values()):
            await keystore.refresh()

    def _load(self, party: TenantId) -> SoftwareKeystore:
        path = self._directory / f"{party}.sealed"
        if not path.exists():
            return SoftwareKeystore.make(path, party, self._unlock)
        file = SealedFile.open(path, party, self._unlock)
        return SoftwareKeystore(party, file, file.read())


def _key_file(directory: Path) -> Secret:
    return Secret(_made_once(directory / "unlock.key", _KEY_BYTES))


def _stretched(directory: Path, passphrase: Secret) -> Secret:
    salt = _made_once(directory / "salt", _SALT_BYTES)
    stretch = Scrypt(salt=salt, length=_KEY_BYTES, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
    return Secret(stretch.derive(passphrase.reveal()))


def _made_once(path: Path, length_bytes: int) -> bytes:
    """Return the random content of a file; it is made, whole and durable, by whoever comes first."""
    if not path.exists():
        made = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(length_bytes))
            file.flush()
            os.fsync(file.fileno())
        # a link appears whole or not at all, and never replaces one that another process made
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(made)
        made.unlink()
        sync_directory(path.parent)
    return path.read_bytes()

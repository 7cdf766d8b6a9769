"""The keystores of all parties that live in this process: one sealed file each, opened when first needed."""

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.adapters.keystores.sealed_file import KeyFile, SealedFile
from opentsm.tsm.adapters.keystores.software import SoftwareKeystore
from opentsm.tsm.kernel.ids import TenantId

_KEY_BYTES = 32
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**15, 8, 1


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

    def _load(self, party: TenantId) -> SoftwareKeystore:
        path = self._directory / f"{party}.sealed"
        if not path.exists():
            return SoftwareKeystore.make(path, party, self._unlock)
        file = SealedFile.open(path, party, self._unlock)
        return SoftwareKeystore(party, file, file.read())


def _key_file(directory: Path) -> Secret:
    path = directory / "unlock.key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return Secret(path.read_bytes())
    with os.fdopen(descriptor, "wb") as file:
        value = secrets.token_bytes(_KEY_BYTES)
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    return Secret(value)


def _stretched(directory: Path, passphrase: Secret) -> Secret:
    path = directory / "salt"
    if not path.exists():
        path.write_bytes(secrets.token_bytes(16))
    stretch = Scrypt(salt=path.read_bytes(), length=_KEY_BYTES, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
    return Secret(stretch.derive(passphrase.reveal()))

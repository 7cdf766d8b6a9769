"""The sealed file of the software keystore: a readable header, and content under AES-256-GCM.

The key that seals it (KEK) comes from a passphrase by scrypt (RFC 7914) or from a key file by HKDF
(RFC 5869). The header is authenticated with the content: a file whose party, parameters or content were
changed is refused. A file is replaced whole, so that a crash leaves the old one or the new one.
"""

import os
import secrets
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.kernel.documents import Record, from_json, to_json
from opentsm.tsm.kernel.errors import KeystoreError

FORMAT = "opentsm-keystore-1"
MIN_KEY_FILE_BYTES = 32
_KEK_BYTES = 32
_NONCE_BYTES = 12
_SALT_BYTES = 16
# the OWASP Password Storage Cheat Sheet's recommendation with the least memory that fits: 32 MiB, 0.3 s
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**15, 8, 3
_MAX_SCRYPT_WORK = 2**22


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Opens a keystore; people remember it, so it is stretched."""

    value: Secret


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Opens a keystore; at least 32 random bytes, from a file or a secret store of the platform."""

    value: Secret

    def __post_init__(self) -> None:
        if len(self.value) < MIN_KEY_FILE_BYTES:
            raise KeystoreError(
                f"The keystore's key file holds fewer than {MIN_KEY_FILE_BYTES} bytes.",
                advice="Make one with: head -c 32 /dev/urandom > FILE",
            )


Unlock = Passphrase | KeyFile


class _ScryptHeader(Record, tag="scrypt", frozen=True, kw_only=True):
    salt: bytes
    n: int = _SCRYPT_N
    r: int = _SCRYPT_R
    p: int = _SCRYPT_P


class _HkdfHeader(Record, tag="hkdf-sha256", frozen=True, kw_only=True):
    salt: bytes


class _Header(Record, frozen=True, kw_only=True):
    """What is readable. `check` tells a wrong passphrase from a changed file; it does not tell the KEK."""

    format: str
    party: str
    derivation: _ScryptHeader | _HkdfHeader
    check: bytes


class _File(Record, frozen=True, kw_only=True):
    header: _Header
    nonce: bytes
    content: bytes


@dataclass(frozen=True, slots=True, repr=False)
class SealedFile:
    """One file on disk and the key that opens it. Every method blocks: call them in a thread."""

    path: Path
    _header: _Header
    _kek: Secret

    @classmethod
    def create(cls, path: Path, party: str, unlock: Unlock, content: bytes) -> "SealedFile":
        """Make a new file.

        Raises:
            KeystoreError: the file exists already, or cannot be written.
        """
        salt = secrets.token_bytes(_SALT_BYTES)
        derivation = _ScryptHeader(salt=salt) if isinstance(unlock, Passphrase) else _HkdfHeader(salt=salt)
        kek = _derive(derivation, unlock)
        file = cls(path, _Header(format=FORMAT, party=party, derivation=derivation, check=_check(kek)), kek)
        _write(path, file._sealed(content), replace=False)
        return file

    @classmethod
    def open(cls, path: Path, party: str, unlock: Unlock) -> "SealedFile":
        """Open a file with what it was made with.

        Raises:
            KeystoreError: there is none, it is another party's, it was changed, or the passphrase is wrong.
        """
        header = _read(path).header
        if header.format != FORMAT or header.party != party:
            raise KeystoreError(f"{path} is not the keystore of party {party}.")
        kek = _derive(header.derivation, unlock)
        if not compare_digest(_check(kek), header.check):
            raise KeystoreError(
                f"{path} does not open with this {_kind(unlock)}.",
                advice="Set the passphrase (OPENTSM_KEYSTORE_PASSPHRASE) that the file was made with;"
                " without it the keys are lost, and only a backup of both helps.",
            )
        return cls(path, header, kek)

    def read(self) -> bytes:
        """Return the content.

        Raises:
            KeystoreError: the file was changed since it was sealed.
        """
        file = _read(self.path)
        try:
            if file.header != self._header:
                raise InvalidTag
            return AESGCM(self._kek.reveal()).decrypt(file.nonce, file.content, to_json(file.header))
        except (InvalidTag, ValueError):
            raise KeystoreError(
                f"{self.path} was changed by somebody else.", advice="Restore it from a backup."
            ) from None

    def generation(self) -> tuple[int, int, int]:
        """Return what tells one writing of the file from the next: every change replaces it whole.

        One look at the directory, without reading: cheap enough for every use of a key.

        Raises:
            KeystoreError: the file is not there any more.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise KeystoreError(f"The keystore {self.path} cannot be read: {error.strerror}.") from None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def change(self, edit: Callable[[bytes], bytes | None]) -> bytes:
        """Replace the content by what `edit` makes of it (None: leave it), alone among all processes.

        Returns:
            The content as it is now.
        """
        with _Lock(self.path):
            before = self.read()
            after = edit(before)
            if after is None:
                return before
            _write(self.path, self._sealed(after), replace=True)
            return after

    def __repr__(self) -> str:
        return f"SealedFile({str(self.path)!r})"

    def _sealed(self, content: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._kek.reveal()).encrypt(nonce, content, to_json(self._header))
        return to_json(_File(header=self._header, nonce=nonce, content=sealed)) + b"\n"


class _Lock:
    """An exclusive lock beside the file, which itself is replaced and cannot carry one."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _lock_exclusively(self._descriptor)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _lock_exclusively(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # a system without flock: one process alone may use the keystore there
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _derive(derivation: _ScryptHeader | _HkdfHeader, unlock: Unlock) -> Secret:
    value = unlock.value.reveal()
    if isinstance(derivation, _ScryptHeader) and isinstance(unlock, Passphrase):
        n, r, p = derivation.n, derivation.r, derivation.p
        if min(n, r, p) < 1 or n * r * p > _MAX_SCRYPT_WORK:
            raise KeystoreError("The keystore's header was changed: its parameters cannot be.")
        try:
            return Secret(Scrypt(salt=derivation.salt, length=_KEK_BYTES, n=n, r=r, p=p).derive(value))
        except ValueError:
            raise KeystoreError("The keystore's header was changed: its parameters cannot be.") from None
    if isinstance(derivation, _HkdfHeader) and isinstance(unlock, KeyFile):
        hkdf = HKDF(algorithm=SHA256(), length=_KEK_BYTES, salt=derivation.salt, info=FORMAT.encode())
        return Secret(hkdf.derive(value))
    other = "passphrase" if isinstance(derivation, _ScryptHeader) else "key file"
    raise KeystoreError(
        f"The keystore was not made with a {_kind(unlock)}.", advice=f"Open it with its {other}."
    )


def _check(kek: Secret) -> bytes:
    expand = HKDFExpand(algorithm=SHA256(), length=16, info=b"opentsm-keystore-check")
    return expand.derive(kek.reveal())


def _kind(unlock: Unlock) -> str:
    return "passphrase" if isinstance(unlock, Passphrase) else "key file"


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as stream:
            _require_private(path, os.fstat(stream.fileno()).st_mode)
            return from_json(_File, stream.read())
    except OSError as error:
        raise KeystoreError(f"The keystore {path} cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, ValueError):
        raise KeystoreError(
            f"{path} is damaged, or not a keystore.", advice="Restore it from a backup."
        ) from None


def _require_private(path: Path, mode: int) -> None:
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeystoreError(f"Others than its owner may use {path}.", advice=f"Run: chmod 600 {path}")


def _write(path: Path, data: bytes, *, replace: bool) -> None:
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
    except OSError as error:
        raise KeystoreError(f"The keystore {path} cannot be written: {error.strerror}.") from None
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)  # unlike a rename, refuses an existing file
        sync_directory(path.parent)
    except FileExistsError:
        raise KeystoreError(f"The keystore {path} exists already.") from None
    except OSError as error:
        raise KeystoreError(f"The keystore {path} cannot be written: {error.strerror}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

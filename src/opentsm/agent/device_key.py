"""The device's own key and where it is kept.

A P-256 key made on the device signs the assertions that buy short-lived tokens (RFC 7515, RFC 7523
in spirit). It never leaves the state directory, which one agent at a time may use.
"""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from opentsm.agent.errors import KeyFileError, NotEnrolledError, StateError, StateInUseError
from opentsm.agent.journal import FileStore, journal_path, write_durably
from opentsm.agent.messages import decode_json

ASSERTION_LIFETIME_S: Final = 60
AUDIENCE: Final = "opentsm"


class DeviceKey:
    """A P-256 private key; its text form shows nothing.

    Args:
        key: the key as joserfc holds it.
    """

    def __init__(self, key: ECKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> "DeviceKey":
        """Make a new key."""
        return cls(ECKey.generate_key("P-256"))

    @classmethod
    def load(cls, path: Path) -> "DeviceKey":
        """Read a private JWK.

        Raises:
            KeyFileError: others may read the file, or it holds no P-256 private key.
        """
        if sys.platform != "win32" and path.stat().st_mode & 0o077:
            raise KeyFileError(f"{path} must be readable by its owner only (chmod 600)")
        try:
            key = ECKey.import_key(decode_json(path.read_bytes(), dict[str, str | list[str]]))
            if key.curve_name != "P-256" or not key.is_private:
                raise ValueError("not a P-256 private key")
        except (ValueError, JoseError, msgspec.DecodeError) as error:
            # The cause could quote the file: keep it out.
            raise KeyFileError(f"{path} holds no P-256 private key as a JWK") from error
        return cls(key)

    def save(self, path: Path) -> None:
        """Write the private JWK durably with mode 0600."""
        write_durably(path, msgspec.json.encode(self._key.as_dict(private=True)))

    def public_jwk(self) -> dict[str, str]:
        """Return the public half as a JWK (RFC 7517) with kty, crv, x and y only."""
        jwk = self._key.as_dict(private=False)
        return {name: str(jwk[name]) for name in ("kty", "crv", "x", "y")}

    def assertion(self, device_id: str, *, now: float, nonce: bytes) -> str:
        """Sign a statement that the holder of this key asks for a token now.

        Args:
            device_id: as the server gave it; becomes `kid` and `sub`.
            now: seconds since 1970, UTC.
            nonce: 16 random bytes; becomes `jti`.

        Returns:
            A compact JWS with ES256, valid for 60 s.

        Source: RFC 7515, RFC 7519.
        """
        issued = int(now)
        claims = {
            "sub": device_id,
            "aud": AUDIENCE,
            "iat": issued,
            "exp": issued + ASSERTION_LIFETIME_S,
            "jti": nonce.hex(),
        }
        return jwt.encode({"alg": "ES256", "kid": device_id}, claims, self._key)

    def __repr__(self) -> str:
        return "<DeviceKey P-256>"


class _Enrolled(msgspec.Struct):
    """Content of device.json."""

    id: str
    code_sha256: str


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """An enrolled device.

    Args:
        device_id: as the server gave it.
        key: signs for it.
    """

    device_id: str
    key: DeviceKey


def read_identity(path: Path) -> DeviceIdentity:
    """Return the enrolled device of a state directory, which an agent may be using meanwhile.

    Args:
        path: the directory; nothing in it is made or changed.

    Raises:
        NotEnrolledError: it holds no enrolled device.
        StateError: a file in it cannot be read.
    """
    enrolled = _read_enrolled(path)
    if enrolled is None or not (path / "key.json").exists():
        raise NotEnrolledError(f"{path} holds no enrolled device")
    return DeviceIdentity(enrolled.id, DeviceKey.load(path / "key.json"))


class StateDirectory:
    """The agent's files: `key.json`, `device.json`, `journal/`, `lock`. One process at a time.

    Args:
        path: the directory; made with mode 0700 when it is missing.

    Raises:
        StateInUseError: another agent holds it.
        StateError: it cannot be made or opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            (path / "journal").mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StateError(f"cannot use the state directory {path}: {error}") from error
        try:
            _lock_exclusively(self._lock)
        except OSError as error:
            os.close(self._lock)
            raise StateInUseError(f"another agent uses {path}") from error

    def close(self) -> None:
        """Let others use the directory."""
        os.close(self._lock)

    def key(self) -> DeviceKey:
        """Return the device key; a new directory gets one."""
        path = self.path / "key.json"
        if path.exists():
            return DeviceKey.load(path)
        key = DeviceKey.generate()
        key.save(path)
        return key

    def identity(self) -> DeviceIdentity:
        """Return the enrolled device.

        Raises:
            NotEnrolledError: there is none yet.
        """
        enrolled = self._enrolled()
        if enrolled is None:
            raise NotEnrolledError(f"{self.path} holds no enrolled device: give a one-time code (--enrol)")
        return DeviceIdentity(enrolled.id, self.key())

    def needs_enrolment(self, code: str) -> bool:
        """Tell whether a one-time code is still to be used.

        Args:
            code: the code that was given. The code that enrolled this directory may be given again, so
                that a service can restart with the same command line.

        Raises:
            StateError: the directory is enrolled, by another code.
        """
        enrolled = self._enrolled()
        if enrolled is not None and enrolled.code_sha256 != _digest(code):
            raise StateError(
                f"{self.path} already holds device {enrolled.id}; "
                "leave --enrol out, or give another --state for a new device"
            )
        return enrolled is None

    def enrolled(self, device_id: str, code: str) -> DeviceIdentity:
        """Record durably that the server took the key under this identifier."""
        data = msgspec.json.encode(_Enrolled(device_id, _digest(code)))
        write_durably(self.path / "device.json", data)
        return self.identity()

    def journal_store(self, se_id: str) -> FileStore:
        """Return where the journal of a secure element is kept."""
        return FileStore(journal_path(self.path / "journal", se_id))

    def _enrolled(self) -> _Enrolled | None:
        return _read_enrolled(self.path)


def _read_enrolled(directory: Path) -> _Enrolled | None:
    path = directory / "device.json"
    try:
        return decode_json(path.read_bytes(), _Enrolled)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error}") from error
    except msgspec.DecodeError as error:
        raise StateError(f"{path} cannot be read: {error}") from error


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _lock_exclusively(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

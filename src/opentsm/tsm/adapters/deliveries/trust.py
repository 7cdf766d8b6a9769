"""Whom the TSM believes when it calls, and how it proves itself: TLS settings of outgoing calls."""

import hashlib
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_KEPT = 64


class NoIdentityError(Exception):
    """The TSM has no certificate of its own to prove itself with."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The TSM's own certificate and key, as PEM files."""

    certificate: Path
    key: Path


class Trust:
    """Makes TLS contexts, and keeps the last ones: to make one takes longer than a handshake."""

    def __init__(self, identity: Identity | None) -> None:
        self._identity = identity
        self._public: ssl.SSLContext | None = None
        self._pinned: OrderedDict[bytes, ssl.SSLContext] = OrderedDict()

    def public(self) -> ssl.SSLContext:
        """Return the context for servers that a public authority certifies."""
        if self._public is None:
            self._public = _context()
            self._public.load_default_certs()
        return self._public

    def pinned(self, certificate: bytes, *, mutual: bool) -> ssl.SSLContext:
        """Return the context for a server that shows this certificate, or one that this one certifies.

        The names in a certificate count where it certifies others. A server's own certificate is its name:
        only whoever holds its key can show it.

        Args:
            certificate: PEM or DER.
            mutual: the server demands the TSM's certificate.

        Raises:
            NoIdentityError: there is none.
            ValueError, OSError: a certificate or key cannot be read.
        """
        if mutual and self._identity is None:
            raise NoIdentityError
        name = hashlib.sha256(certificate + (b"mutual" if mutual else b"")).digest()
        if name not in self._pinned:
            self._pinned[name] = self._new(certificate, mutual=mutual)
            while len(self._pinned) > _KEPT:
                self._pinned.popitem(last=False)
        self._pinned.move_to_end(name)
        return self._pinned[name]

    def _new(self, certificate: bytes, *, mutual: bool) -> ssl.SSLContext:
        anchor = _read(certificate)
        context = _context()
        context.check_hostname = _certifies(anchor)
        # the anchor need not certify itself: it is trusted because the provider uploaded it
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=anchor.public_bytes(Encoding.PEM).decode())
        if mutual and self._identity is not None:
            context.load_cert_chain(self._identity.certificate, self._identity.key, password=_no_password)
        return context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # demands a certificate, and the server's name in it
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    """Answer instead of a prompt on the terminal, at which a server would wait for ever."""
    raise ValueError("the key of deliveries.client_key is encrypted; give one that is not")


def _read(data: bytes) -> x509.Certificate:
    if b"-----BEGIN" in data:
        return x509.load_pem_x509_certificate(data)
    return x509.load_der_x509_certificate(data)


def _certifies(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False

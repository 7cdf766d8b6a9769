"""Certificates (TR-03165 §4.1.6.8): whom the TSM talks to when it calls the provider's online system."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, forms, shelf
from opentsm.tsm.roles.sp.desk import FileDesk
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.references import configurations_with
from opentsm.tsm.roles.sp.shelf import find

MAX_BYTES = 64 * 1024
_SUPPORTED = "X.509 (PEM, DER)"
_PEM = b"-----BEGIN"
_PEM_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class CertificateDesk(FileDesk):
    """Use cases about certificates."""

    entity = shelf.CERTIFICATE

    async def upload(self, owner: TenantId, file_name: str | None, data: bytes) -> Document:
        """Store a certificate.

        Raises:
            CatalogueError: 1002, 1008, 1013 or 1014.
        """
        if not file_name:
            raise errors.invalid_request("certFilename is missing")
        id_, now = self.shelf.world.new_id(), self.shelf.now()
        document: Document = {"id": id_, "spId": owner, "fileName": file_name, "creationDate": now}
        document["uploadDate"] = now
        async with self.shelf.changing(owner) as tx:
            await _store(tx, owner, document, data, "uploaded")
        return document

    async def replace(self, owner: TenantId, id_: str, file_name: str | None, data: bytes) -> Document:
        """Put another certificate in the place of one; without a name the old one stays.

        Raises:
            CatalogueError: 1008, 1009, 1013 or 1014.
        """
        async with self.shelf.changing(owner) as tx:
            before = await find(tx, owner, shelf.CERTIFICATE, id_)
            document = before | {"uploadDate": self.shelf.now()}
            if file_name:
                document["fileName"] = file_name
            await _store(tx, owner, document, data, "replaced")
        return document

    async def _release(self, tx: UnitOfWork, owner: TenantId, id_: str) -> None:
        """Refuse the deletion of a certificate that an application or an online system has."""
        if await configurations_with(tx, owner, "certificateId", id_):
            raise errors.still_referenced("Certificate", "ApplicationConfig")
        configs = await tx.catalogue.list(owner, shelf.SPOS_CONFIG)
        if any(config["certificateId"] == id_ for config in configs):
            raise errors.still_referenced("Certificate", "SposConfig")


async def _store(tx: UnitOfWork, owner: TenantId, document: Document, data: bytes, happened: str) -> None:
    forms.text(document["fileName"], "certFilename")
    fingerprint = read_certificate(data).fingerprint(SHA256()).hex()
    id_ = str(document["id"])
    await tx.catalogue.put(owner, shelf.CERTIFICATE, id_, document, file=data)
    await shelf.record(tx, owner, shelf.CERTIFICATE, id_, happened, sha256=fingerprint)


def read_certificate(data: bytes) -> x509.Certificate:
    """Return the one certificate of an upload.

    A file with anything beside it is refused: a private key has no business here, and of several certificates
    nobody could say which one counts.

    Raises:
        CatalogueError: 1013 or 1014.
    """
    if len(data) > MAX_BYTES:
        raise errors.file_too_large(len(data), MAX_BYTES)
    if data.count(_PEM) != data.count(_PEM_CERTIFICATE):
        raise errors.invalid_file_type(_SUPPORTED, "The file holds something beside a certificate.")
    if data.count(_PEM_CERTIFICATE) > 1:
        raise errors.invalid_file_type(_SUPPORTED, "The file holds more than one certificate.")
    try:
        if _PEM_CERTIFICATE in data:
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except ValueError:
        raise errors.invalid_file_type(_SUPPORTED, "The file is not a certificate.") from None

"""Attestation tokens (BSI TR-03165 appendix A): the keys that sign them, a token for each personalisation.

A provider's tokens are signed in its keystore, by keys that were made there and never left it. The newest
key signs; the ones before stay listed, so that tokens on cards can still be verified.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.gp.attestation import (
    AttestationBody,
    attestation_token,
    encode_object_identifier,
    key_identifier,
)
from opentsm.tsm.domain.secure_element import DiversifiedKeys, KeySet
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ForbiddenError, InvalidInputError
from opentsm.tsm.kernel.ids import KeyHandle, OperationId, TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.provisioning_rules import is_uuid
from opentsm.tsm.roles.sp.scripts import KeystoreOf
from opentsm.tsm.roles.sp.shelf import Shelf

ATTESTED: Final = "attested"  # personalisation version of an application that gets a token and nothing else
_KEY_BYTES: Final = 32
_HALF: Final = 32
# RFC 5280 §4.1.2.5: a certificate without a well-defined end
_NO_END: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_ECDSA_SHA256: Final = bytes.fromhex("300A06082A8648CE3D040302")


@dataclass(frozen=True, slots=True)
class AttestationKey:
    """A key that signs tokens: subject key identifier, public point, certificate (DER)."""

    signer: bytes
    public_key: bytes
    certificate: bytes
    created_at: str
    current: bool
    number: int


@dataclass(frozen=True, slots=True)
class AttestationDesk:
    """Use cases about attestation keys, and the making of tokens, which name the TSM by its identifier."""

    shelf: Shelf
    keystore_of: KeystoreOf
    tsm_identifier: str

    async def keys(self, principal: Principal) -> list[AttestationKey]:
        """Return a provider's attestation keys, the one that signs first; the first is made when asked for.

        Raises:
            ForbiddenError: the caller is no service provider.
        """
        owner = _provider(principal)
        await self._current(owner)
        async with self.shelf.storage.transaction() as tx:
            return _read(await tx.catalogue.list(owner, shelf.ATTESTATION_KEY))

    async def rotate(self, principal: Principal) -> AttestationKey:
        """Make a new key, which signs from now on.

        Raises:
            ForbiddenError: the caller is no service provider.
        """
        owner = _provider(principal)
        return await self._make(owner, (await self._current(owner)).number + 1)

    async def token(
        self, owner: TenantId, *, process: OperationId, flavor: str, keys: KeySet, diversification: bool
    ) -> bytes:
        """Return a token for an application that is being personalised.

        Args:
            owner: the provider.
            process: the operation in which it happens.
            flavor: what is deployed.
            keys: the key set of the session that delivers the token.
            diversification: name master key and diversification data of the security domain's keys.

        Raises:
            InvalidInputError: diversification data are wanted of keys that are not derived.
        """
        current = await self._current(owner)
        index, data = _diversification(keys) if diversification else (None, b"")
        body = AttestationBody(
            tsm=encode_object_identifier(self.tsm_identifier),
            process=UUID(process),
            flavor=UUID(flavor),
            signer=current.signer,
            master_key=index,
            diversification_data=data,
        )
        signature = await _sign(self.keystore_of(owner), _handle(owner, current.number), body.to_bytes())
        return attestation_token(body, signature)

    async def _current(self, owner: TenantId) -> AttestationKey:
        async with self.shelf.storage.transaction() as tx:
            known = _read(await tx.catalogue.list(owner, shelf.ATTESTATION_KEY))
        return known[0] if known else await self._make(owner, 1)

    async def _make(self, owner: TenantId, number: int) -> AttestationKey:
        """Make the key of a number; when another process was faster, return what it made."""
        keystore, handle = self.keystore_of(owner), _handle(owner, number)
        await keystore.generate(handle, length_bytes=_KEY_BYTES)
        point = await keystore.verification_key(handle)
        certificate = await _certificate(keystore, handle, point, self.shelf.world.now())
        document: Document = {"publicKey": point.hex(), "certificate": certificate.hex(), "number": number}
        document |= {"id": key_identifier(point).hex(), "createdAt": self.shelf.now()}
        async with self.shelf.changing(owner) as tx:
            known = await tx.catalogue.list(owner, shelf.ATTESTATION_KEY)
            if all(one["id"] != document["id"] for one in known):
                await tx.catalogue.put(owner, shelf.ATTESTATION_KEY, str(document["id"]), document)
                await shelf.record(
                    tx, owner, shelf.ATTESTATION_KEY, str(document["id"]), "made", number=number
                )
        async with self.shelf.storage.transaction() as tx:
            return _read(await tx.catalogue.list(owner, shelf.ATTESTATION_KEY))[0]


def _provider(principal: Principal) -> TenantId:
    if principal.kind is not TenantKind.SERVICE_PROVIDER or principal.device_id is not None:
        raise ForbiddenError("This needs the token of a service provider.")
    return principal.tenant_id


def _handle(owner: TenantId, number: int) -> KeyHandle:
    return KeyHandle(f"attestation/{owner}/{number}")


def _read(documents: Sequence[Document]) -> list[AttestationKey]:
    newest_first = sorted(documents, key=lambda one: int(str(one["number"])), reverse=True)
    return [
        AttestationKey(
            signer=bytes.fromhex(str(one["id"])),
            public_key=bytes.fromhex(str(one["publicKey"])),
            certificate=bytes.fromhex(str(one["certificate"])),
            created_at=str(one["createdAt"]),
            current=place == 0,
            number=int(str(one["number"])),
        )
        for place, one in enumerate(newest_first)
    ]


def _diversification(keys: KeySet) -> tuple[UUID, bytes]:
    source = keys.source
    index = source.master.rsplit("/", 1)[-1] if isinstance(source, DiversifiedKeys) else ""
    if not isinstance(source, DiversifiedKeys) or not is_uuid(index):
        raise InvalidInputError(
            "The security domain's keys are not derived from a master key that has a UUID.",
            advice="Rotate the instance's keys first: they were made for another flavor.",
        )
    return UUID(index), source.kdd


async def _sign(keystore: Keystore, handle: KeyHandle, message: bytes) -> bytes:
    """Return an ECDSA-Sig-Value: the form that appendix A.3 assumes."""
    plain = await keystore.sign(handle, message)
    r, s = (int.from_bytes(half, "big") for half in (plain[:_HALF], plain[_HALF:]))
    return encode_dss_signature(r, s)


async def _certificate(keystore: Keystore, handle: KeyHandle, point: bytes, now: datetime) -> bytes:
    """Return a certificate (DER) that the key signs itself.

    The library builds certificates with a private key in memory only: it signs with one that is thrown away,
    and the keystore signs the same content again.
    """
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"attestation {key_identifier(point).hex()}")])
    builder = x509.CertificateBuilder(name, name, public, x509.random_serial_number(), now, _NO_END)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_USAGE, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    content = builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).tbs_certificate_bytes
    signature = encode_tlv(0x03, b"\x00" + await _sign(keystore, handle, content))
    return encode_tlv(0x30, content + _ECDSA_SHA256 + signature)


_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)

"""yubikit, a client written elsewhere, opens SCP11 a, b and c sessions and manages their keys over TCP and
real PC/SC.

Certificates are X.509, made here with the `cryptography` library alone.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.contract.card_connections import Connect
from tests.contract.conftest import InsertCard
from tests.contract.test_yubikit_security_domain import open_session, yubikit_keys
from tests.unit.vse.card_host import FACTORY_KEYS, make_card, make_keys
from yubikit.core.smartcard import ApduError
from yubikit.core.smartcard.scp import KeyRef, Scp11KeyParams, ScpKid
from yubikit.securitydomain import Curve, SecurityDomainSession

KVN = 0x03
CA = KeyRef(0x10, KVN)
SCP11A, SCP11B, SCP11C = (KeyRef(kid, KVN) for kid in (ScpKid.SCP11a, ScpKid.SCP11b, ScpKid.SCP11c))
FROM, TO = datetime(2025, 1, 1, tzinfo=UTC), datetime(2045, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Authority:
    """A certificate authority, or whoever has a key and a certificate."""

    key: ec.EllipticCurvePrivateKey
    name: x509.Name
    certificate: x509.Certificate | None = None

    @property
    def ski(self) -> bytes:
        return x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()).digest

    def issue(
        self,
        subject: str,
        serial: int,
        *,
        ca: bool,
        key: ec.EllipticCurvePrivateKey | None = None,
        agreement: bool = True,
    ) -> "Authority":
        key = key or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        usage = x509.KeyUsage(
            digital_signature=not agreement and not ca,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=not ca and agreement,
            key_cert_sign=ca,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(FROM)
            .not_valid_after(TO)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if ca:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return Authority(key, name, builder.sign(self.key, hashes.SHA256()))

    @property
    def proof(self) -> x509.Certificate:
        assert self.certificate is not None
        return self.certificate


def root() -> Authority:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root of a test")])
    return Authority(ec.generate_private_key(ec.SECP256R1()), name)


@pytest.fixture
def connect(insert_card: InsertCard) -> Connect:
    return insert_card(make_card("scp11-p256"))


@dataclass(frozen=True)
class Scene:
    """A card that trusts `root`, with a generated key for the variant."""

    root: Authority
    card_key: ec.EllipticCurvePublicKey
    reference: KeyRef

    def parameters(self, *chain: Authority) -> Scp11KeyParams:
        certificates = [entry.proof for entry in chain]
        return Scp11KeyParams(self.reference, self.card_key, CA, chain[-1].key, certificates)


def prepare(connect: Connect, reference: KeyRef) -> Scene:
    authority = root()
    session = open_session(connect, FACTORY_KEYS, 0x30)
    session.put_key(CA, authority.key.public_key())
    session.store_ca_issuer(CA, authority.ski)
    return Scene(authority, session.generate_ec_key(reference), reference)


def authenticate(connect: Connect, parameters: Scp11KeyParams) -> SecurityDomainSession:
    session = SecurityDomainSession(connect())
    session.authenticate(parameters)
    return session


def refused(connect: Connect, parameters: Scp11KeyParams) -> int:
    with pytest.raises(ApduError) as found:
        authenticate(connect, parameters)
    return found.value.sw


def test_scp11b_session_when_opened_reads_but_may_not_change(connect: Connect) -> None:
    owner = open_session(connect, FACTORY_KEYS, 0x30)
    public = owner.generate_ec_key(SCP11B)
    session = authenticate(connect, Scp11KeyParams(SCP11B, public))
    assert session.get_key_information()[SCP11B] == {0xB1: 32, 0xF0: 0}
    with pytest.raises(ApduError) as found:
        session.delete_key(kvn=0x30)
    assert found.value.sw == 0x6982


@pytest.mark.parametrize("reference", [SCP11A, SCP11C])
def test_scp11_session_with_certificate_when_opened_manages_keys(connect: Connect, reference: KeyRef) -> None:
    scene = prepare(connect, reference)
    middle = scene.root.issue("middle", 2, ca=True)
    leaf = middle.issue("leaf", 3, ca=False)
    session = authenticate(connect, scene.parameters(middle, leaf))

    session.put_key(KeyRef(1, 0x31), yubikit_keys(make_keys(0x61)))
    assert KeyRef(1, 0x31) in open_session(connect, make_keys(0x61), 0x31).get_key_information()

    again = authenticate(connect, scene.parameters(middle, leaf))
    again.delete_key(kvn=0x31)
    assert KeyRef(1, 0x31) not in again.get_key_information()


@pytest.mark.parametrize("curve", [Curve.SECP384R1, Curve.BrainpoolP256R1])
def test_scp11a_on_another_curve_when_opened_reads_keys(connect: Connect, curve: Curve) -> None:
    """The authority stays on P-256; both sides' keys are on the other curve."""
    scene = prepare(connect, SCP11A)
    public = open_session(connect, FACTORY_KEYS, 0x30).generate_ec_key(KeyRef(0x11, 5), curve)
    leaf = scene.root.issue("leaf", 3, ca=False, key=ec.generate_private_key(curve._curve))
    chain = [leaf.proof]
    session = authenticate(connect, Scp11KeyParams(KeyRef(0x11, 5), public, CA, leaf.key, chain))
    assert KeyRef(0x11, 5) in session.get_key_information()


def test_private_key_when_put_under_scp11a_opens_scp11b(connect: Connect) -> None:
    scene = prepare(connect, SCP11A)
    session = authenticate(connect, scene.parameters(scene.root.issue("leaf", 3, ca=False)))
    key = ec.generate_private_key(ec.SECP256R1())
    session.put_key(SCP11B, key)
    assert SCP11B in authenticate(connect, Scp11KeyParams(SCP11B, key.public_key())).get_key_information()


@pytest.mark.parametrize("curve", [Curve.SECP256R1, Curve.SECP384R1, Curve.BrainpoolP256R1])
def test_generated_key_when_of_another_curve_opens_a_session(connect: Connect, curve: Curve) -> None:
    owner = open_session(connect, FACTORY_KEYS, 0x30)
    public = owner.generate_ec_key(SCP11B, curve)
    assert SCP11B in authenticate(connect, Scp11KeyParams(SCP11B, public)).get_key_information()


def test_certificates_and_authorities_when_stored_are_read_back(connect: Connect) -> None:
    scene = prepare(connect, SCP11A)
    session = open_session(connect, FACTORY_KEYS, 0x30)
    issuer = root()
    bundle = [issuer.issue("issuer", 1, ca=True), issuer.issue("card", 2, ca=False)]
    session.store_certificate_bundle(SCP11A, [entry.proof for entry in bundle])
    session.store_ca_issuer(SCP11A, issuer.ski)

    reader = SecurityDomainSession(connect())
    assert list(reader.get_certificate_bundle(SCP11A)) == [entry.proof for entry in bundle]
    assert reader.get_certificate_bundle(SCP11C) == []
    assert reader.get_supported_ca_identifiers(kloc=True) == {CA: scene.root.ski}
    assert reader.get_supported_ca_identifiers(klcc=True)[SCP11A] == issuer.ski

    open_session(connect, FACTORY_KEYS, 0x30).delete_key(SCP11A.kid, KVN)
    reader = SecurityDomainSession(connect())
    assert reader.get_certificate_bundle(SCP11A) == []


@pytest.mark.parametrize("listed_at", [CA, SCP11A])
def test_allowlist_when_stored_admits_only_its_serials(connect: Connect, listed_at: KeyRef) -> None:
    scene = prepare(connect, SCP11A)
    good, bad = (scene.root.issue("leaf", serial, ca=False) for serial in (0xC5, 7))
    owner = open_session(connect, FACTORY_KEYS, 0x30)
    owner.store_allowlist(listed_at, [0xC5, 9])
    assert authenticate(connect, scene.parameters(good)).get_key_information()
    assert refused(connect, scene.parameters(bad)) == 0x6982

    owner = open_session(connect, FACTORY_KEYS, 0x30)
    owner.store_allowlist(listed_at, [])
    assert authenticate(connect, scene.parameters(bad)).get_key_information()


def test_certificate_of_another_authority_when_sent_is_refused(connect: Connect) -> None:
    scene = prepare(connect, SCP11A)
    assert refused(connect, scene.parameters(root().issue("leaf", 3, ca=False))) == 0x6982


def test_leaf_when_it_issues_a_certificate_is_refused(connect: Connect) -> None:
    scene = prepare(connect, SCP11A)
    leaf = scene.root.issue("leaf", 3, ca=False)
    assert refused(connect, scene.parameters(leaf, leaf.issue("forged", 4, ca=False))) == 0x6982


def test_certificate_when_its_key_may_only_sign_is_refused(connect: Connect) -> None:
    scene = prepare(connect, SCP11A)
    signer = scene.root.issue("signer", 3, ca=False, agreement=False)
    assert refused(connect, scene.parameters(signer)) == 0x6982


def test_session_when_its_card_key_is_another_is_refused_by_the_client(connect: Connect) -> None:
    """A relay that answers for the card has no receipt that fits the certified key."""
    prepare(connect, SCP11B)
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(InvalidSignature):
        authenticate(connect, Scp11KeyParams(SCP11B, stranger))

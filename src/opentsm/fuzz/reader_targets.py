"""Targets that read: every codec and parser, of the host's side and, where it has its own, of the card's."""

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cache, partial

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.dgi import encode_dgi, parse_dgis
from opentsm.card.codec.lv import lv, read_ber_lv, read_lv
from opentsm.card.codec.tlv import encode_tlv, parse_tlvs
from opentsm.card.crypto.key_agreement import KeyAgreementKey, random_length
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import AesMacKey, Curve, EcSigningKey
from opentsm.card.errors import (
    ApduError,
    CapError,
    CardError,
    CertificateError,
    ReceiptError,
    ResponseFormatError,
    SignatureError,
    TlvError,
)
from opentsm.card.gp import access_rules, cap_builder, contactless, explain, key_references, responses
from opentsm.card.gp.access_rules import RuleTarget
from opentsm.card.gp.cap import read_load_file
from opentsm.card.gp.cap_components import Version
from opentsm.card.gp.certificates import (
    USAGE_KEY_AGREEMENT,
    USAGE_VERIFY_CERTIFICATES,
    CertificateContent,
    PublicKey,
    issue_certificate,
    read_certificate,
    read_certificates,
    verify_chain,
)
from opentsm.card.gp.confirmations import parse_confirmation
from opentsm.card.gp.receipts import ExpectedReceipt, verify_receipt
from opentsm.card.scp.channel import SecurityLevel
from opentsm.fuzz import card_seeds, desk
from opentsm.fuzz.mutation import framed, frames
from opentsm.fuzz.target import BrokenPromiseError, Run, Target, all_of, refusing
from opentsm.vse import load_file as card_load_file
from opentsm.vse.certificates import read_card_certificate
from opentsm.vse.status import StatusError

_TODAY = date(2030, 1, 1)
_START, _END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 1, 1, tzinfo=UTC)


def _tlv(data: bytes) -> None:
    objects = parse_tlvs(data)
    again = b"".join(entry.to_bytes() for entry in objects)
    if parse_tlvs(again) != objects:
        raise BrokenPromiseError("data objects that are written and read again differ")


def _apdu(data: bytes) -> None:
    command = CommandApdu.parse(data)
    if CommandApdu.parse(command.to_bytes()) != command:
        raise BrokenPromiseError("a command that is written and read again differs")


def _dgi(data: bytes) -> None:
    groups = parse_dgis(data)
    if parse_dgis(b"".join(encode_dgi(tag, value) for tag, value in groups)) != groups:
        raise BrokenPromiseError("data groupings that are written and read again differ")


def _cap(data: bytes) -> None:
    """Read bytes as they are, or put framed components into a zip with the right names."""
    if data[:1] != b"\x01":
        read_load_file(data[1:])
        return
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, part in zip(_COMPONENTS, frames(data[1:]), strict=False):
            archive.writestr(f"fuzz/javacard/{name}.cap", part)
    read_load_file(held.getvalue())


_COMPONENTS = (
    "Header", "Directory", "Import", "Applet", "Class", "Method",
    "StaticField", "Export", "ConstantPool", "RefLocation", "Descriptor",
)  # fmt: skip


@cache
def _authority() -> KeyAgreementKey:
    return KeyAgreementKey.from_random(Curve.P_256, b"\x07" * random_length(Curve.P_256))


def _certificate(usage: bytes, subject: bytes) -> bytes:
    key = _authority()
    content = CertificateContent(
        serial=b"\x01",
        authority=b"CA",
        subject=subject,
        usage=usage,
        public_key=PublicKey(key.curve, key.point),
        expires=date(2049, 12, 31),
        discretionary=None,
    )
    return issue_certificate(content, EcSigningKey(key.curve, key.private))


def _chain(data: bytes) -> None:
    key = _authority()
    chain = read_certificates(data)
    verify_chain(chain, PublicKey(key.curve, key.point), today=_TODAY)


_ANSWER_PARSERS: tuple[Callable[[bytes], object], ...] = (
    *[partial(responses.parse_status, scope=scope) for scope in (0x80, 0x40, 0x20, 0x10)],
    responses.parse_key_information,
    responses.parse_extended_resources,
    responses.parse_card_data,
    responses.parse_card_capability,
    responses.parse_sequence_counter,
    responses.parse_associated_applications,
    responses.parse_select,
    responses.parse_put_key,
    contactless.parse_crs_status,
    contactless.parse_set_status,
    contactless.parse_crs_counter,
    contactless.parse_ppse,
    key_references.parse_authorities,
    key_references.parse_certificates,
    *[partial(purse.parse_load_offer, form) for form in purse.PurseForm],
    *[partial(purse.parse_purchase_offer, form) for form in purse.PurseForm],
)


def _receipt(data: bytes) -> None:
    expected = ExpectedReceipt(b"context", b"\x01", None, 1)
    confirmation = verify_receipt(data, expected, AesMacKey(Secret(desk.KEY)))
    # A length may be coded in several ways; what it confirms is signed.
    if confirmation not in [parse_confirmation(seed) for seed in _receipt_seeds()]:
        raise BrokenPromiseError("a receipt that nobody signed was taken")


@cache
def _receipt_seeds() -> tuple[bytes, ...]:
    unsigned = bytes.fromhex("0200020101")
    receipt = lv(cmac(desk.KEY, unsigned + b"context"))
    return (lv(receipt + unsigned), receipt + unsigned, b"\0", lv(receipt + unsigned + b"\1\2\1\3"))


@cache
def _tlv_seeds() -> tuple[bytes, ...]:
    inner = encode_tlv(0x4F, b"\xa0\0\0\1Q\0") + encode_tlv(0x9F70, b"\7\0") + encode_tlv(0xC5, b"\x9e\0\0")
    long = encode_tlv(0xE3, inner) * 4
    return (inner, long, encode_tlv(0x7F21, long * 3), encode_tlv(0xFF40, long), b"\5" + inner)


@cache
def _answers() -> tuple[bytes, ...]:
    """What a stocked card answers to everything that reads: the best start for parsers of answers."""
    opened = desk.Desk.open(desk.stocked_image("se-700"))
    opened.authenticate(SecurityLevel.NONE)
    reads = [raw for seed in card_seeds.session_inputs()[:2] for raw in frames(seed[2:])]
    selects = [bytes.fromhex("00A4040000"), bytes.fromhex("00A404000E325041592E5359532E444446303100")]
    return tuple(opened.card.transmit(raw)[:-2] for raw in reads + selects)


@cache
def _cap_seeds() -> tuple[bytes, ...]:
    applet = cap_builder.AppletSpec(Aid.from_hex("F0010203040501"), "Applet")
    spec = cap_builder.CapSpec(Aid.from_hex("F00102030405"), "a/b", Version(1, 0), (applet,))
    zipped, raw = cap_builder.build_cap(spec), cap_builder.build_raw(spec)
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        paths = {name.rpartition("/")[2]: name for name in archive.namelist()}
        known = [paths.get(f"{name}.cap") for name in _COMPONENTS]
        parts = [archive.read(path) if path else b"" for path in known]
    blocks = encode_tlv(0xC4, raw), encode_tlv(0xE2, bytes(20)) + encode_tlv(0xC4, raw)
    return (b"\0" + zipped, b"\0" + raw, b"\1" + framed(parts), *(b"\0" + block for block in blocks))


@cache
def _certificate_seeds() -> tuple[bytes, ...]:
    authority = _certificate(USAGE_VERIFY_CERTIFICATES, b"KLOC")
    leaf = _certificate(USAGE_KEY_AGREEMENT, b"OCE")
    return (authority, leaf, authority + leaf, encode_tlv(0xBF21, leaf), _self_signed())


def _self_signed() -> bytes:
    curve = ec.SECP256R1()
    key = ec.derive_private_key(7, curve)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, _START, _END)
    usage = x509.KeyUsage(False, False, False, False, True, False, False, False, False)
    identifier = x509.SubjectKeyIdentifier(b"\1\2\3")
    signed = builder.add_extension(usage, critical=True).add_extension(identifier, critical=False)
    return signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@cache
def _rule_seeds() -> tuple[bytes, ...]:
    rule = bytes.fromhex("E21AE10E4F05A000000151C1051122334455E308D00101D10101")
    hashed = (
        bytes.fromhex("E228E1174F00C114") + bytes(20) + bytes.fromhex("E30BD008") + bytes(8) + b"\xd1\1\0"
    )
    return (encode_tlv(0xFF40, rule), encode_tlv(0xFF40, rule + hashed), encode_tlv(0xFF50, rule[16:]), rule)


@cache
def _commands() -> tuple[bytes, ...]:
    extended = bytes.fromhex("80E60C00000123") + bytes(0x123) + bytes(2)
    return (extended, *(raw for seed in card_seeds.session_inputs()[:20] for raw in frames(seed[2:])))


def _at_once(run: Run) -> Callable[[], Run]:
    return lambda: run


_TARGET = RuleTarget(aid=desk.BANK)

READER_TARGETS = (
    Target("tlv", "data objects and lengths", _at_once(refusing(_tlv, TlvError)), _tlv_seeds),
    Target(
        "lv",
        "length-value fields",
        _at_once(all_of(refusing(read_lv, TlvError), refusing(read_ber_lv, TlvError))),
        _tlv_seeds,
    ),
    Target("dgi", "data groupings", _at_once(refusing(_dgi, TlvError)), _answers),
    Target(
        "apdu",
        "commands and answers",
        _at_once(all_of(refusing(_apdu, ApduError), refusing(ResponseApdu.parse, ApduError))),
        _commands,
    ),
    Target(
        "cap",
        "CAP files and load files, as the host and as the card read them",
        _at_once(
            all_of(
                refusing(_cap, CapError),
                refusing(lambda data: card_load_file.read_load_file(data[1:]), card_load_file.LoadFileError),
                refusing(lambda data: card_load_file.read_package(data[1:]), card_load_file.LoadFileError),
            )
        ),
        _cap_seeds,
    ),
    Target(
        "certificates",
        "certificates of both formats, as the host and as the card read them, and chains",
        _at_once(
            all_of(
                refusing(read_certificate, CertificateError),
                refusing(_chain, CertificateError),
                refusing(read_card_certificate, StatusError),
            )
        ),
        _certificate_seeds,
    ),
    Target(
        "access-rules",
        "access rules that a card answers with",
        _at_once(
            all_of(
                *[
                    refusing(read, ResponseFormatError, TlvError)
                    for read in (
                        access_rules.parse_rules,
                        partial(access_rules.parse_specific, target=_TARGET),
                        access_rules.parse_refresh_tag,
                        access_rules.parse_clients,
                        access_rules.missing_bytes,
                    )
                ]
            )
        ),
        _rule_seeds,
    ),
    Target(
        "receipts",
        "confirmations and receipts",
        _at_once(
            all_of(
                refusing(parse_confirmation, ResponseFormatError),
                refusing(_receipt, ReceiptError, SignatureError, ResponseFormatError),
            )
        ),
        _receipt_seeds,
    ),
    Target(
        "answers",
        "answers of a card to every command that reads",
        _at_once(all_of(*[refusing(read, CardError) for read in _ANSWER_PARSERS])),
        _answers,
    ),
    Target("explain", "the explanation in words", _at_once(refusing(explain.explain, CardError)), _commands),
)

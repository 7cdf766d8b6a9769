"""INSTALL and DELETE of content, taken apart: what a command would do, for whoever is asked for its token.

Specification: GlobalPlatform Card Specification 2.3.1, §11.2.2, §11.5.2.3, §C.4, §C.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.lv import ber_lv, read_ber_lv, read_lv
from opentsm.card.codec.tlv import Tlv, encode_tlv, find, parse_tlvs
from opentsm.card.errors import AidError, ApduError, TlvError
from opentsm.card.gp import receipts
from opentsm.card.gp.instructions import Ins, InstallKind
from opentsm.card.gp.tokens import split_token

_CRT, _AID = 0xB6, 0x4F
_RELATED = 0x80
_CONTENT_CLASS = 0x80


class ContentKind(Enum):
    """The content management commands that take a token of their own."""

    LOAD = "load"
    INSTALL = "install"
    INSTALL_AND_MAKE_SELECTABLE = "install and make selectable"
    MAKE_SELECTABLE = "make selectable"
    EXTRADITION = "extradition"
    REGISTRY_UPDATE = "registry update"
    DELETE = "delete"


_KINDS = {
    InstallKind.LOAD: ContentKind.LOAD,
    InstallKind.INSTALL: ContentKind.INSTALL,
    InstallKind.INSTALL_AND_MAKE_SELECTABLE: ContentKind.INSTALL_AND_MAKE_SELECTABLE,
    InstallKind.MAKE_SELECTABLE: ContentKind.MAKE_SELECTABLE,
    InstallKind.EXTRADITION: ContentKind.EXTRADITION,
    InstallKind.REGISTRY_UPDATE: ContentKind.REGISTRY_UPDATE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentCommand:
    """One content management command.

    Attributes:
        load_file: load, install: the load file.
        module: install.
        target: what is loaded, installed, changed or deleted.
        security_domain: where a load or an extradition puts it; None: it is not said.
        digest: load-file data block hash.
        privileges: 0, 1 or 3 bytes, as sent.
        parameters: the parameter field as sent, with its control reference template (B6).
        related: deletion of a load file with its applications.
    """

    kind: ContentKind
    target: Aid | None
    load_file: Aid | None = None
    module: Aid | None = None
    security_domain: Aid | None = None
    digest: bytes = b""
    privileges: bytes = b""
    parameters: bytes = b""
    related: bool = False

    @property
    def reference(self) -> bytes:
        """Return the value of the control reference template (B6); empty when there is none."""
        return find(parse_tlvs(self.parameters), _CRT) or b""

    @property
    def own_parameters(self) -> tuple[Tlv, ...]:
        """Return the parameters without the control reference template."""
        return tuple(one for one in parse_tlvs(self.parameters) if one.tag != _CRT)

    def describe(self) -> str:
        """Return the command in words."""
        return f"{self.kind.value} {self.target or 'the card'}"


def takes_token(command: CommandApdu) -> bool:
    """Say whether a domain with Delegated Management needs a token for a command (GPCS 2.3.1 §9.2.3)."""
    if command.ins == Ins.INSTALL:
        return command.p1 in _KINDS
    return command.ins == Ins.DELETE and command.data[:1] == bytes((_AID,))


def parse_content_command(command: CommandApdu) -> ContentCommand:
    """Read a content management command in clear.

    Raises:
        ApduError: it is another one, one of a series, or malformed.
    """
    if command.cla != _CONTENT_CLASS or not takes_token(command):
        raise ApduError("no content management command that takes a token")
    try:
        return _delete(command) if command.ins == Ins.DELETE else _install(command)
    except (TlvError, AidError) as problem:
        raise ApduError(f"malformed fields: {problem}") from problem


def with_reference(command: CommandApdu, reference: bytes) -> CommandApdu:
    """Return a command without token with this control reference template (value of B6) as its last object.

    Raises:
        ApduError: it is none that takes a token, has one, or has a reference already.
    """
    parsed = parse_content_command(command)
    fields, token = split_token(command)
    if token or parsed.reference:
        raise ApduError("the command already has a token or a control reference template")
    template = encode_tlv(_CRT, reference)
    if command.ins == Ins.DELETE:
        data = fields + template
    else:
        head = fields[: len(fields) - len(ber_lv(parsed.parameters))]
        data = head + ber_lv(parsed.parameters + template) + b"\x00"
    return replace(command, data=data, extended=command.extended or len(data) > 0xFF)


def without_reference(command: CommandApdu) -> CommandApdu:
    """Return a command without its token and without its control reference template.

    Raises:
        ApduError: it is none that takes a token.
    """
    parsed = parse_content_command(command)
    fields, _ = split_token(command)
    if command.ins == Ins.DELETE:
        data = b"".join(encode_tlv(one.tag, one.value) for one in parsed.own_parameters)
    else:
        own = b"".join(encode_tlv(one.tag, one.value) for one in parsed.own_parameters)
        data = fields[: len(fields) - len(ber_lv(parsed.parameters))] + ber_lv(own) + b"\x00"
    return replace(command, data=data, extended=len(data) > 0xFF)


def receipt_context(command: ContentCommand, through: Aid, load_file: Aid | None = None) -> bytes:
    """Return what the receipt of a command signs behind the confirmation data (§C.5).

    Args:
        command: what was done.
        through: the security domain that did it, with which all that it changes was associated before.
        load_file: of the target, where the command does not name it (make selectable).

    Raises:
        ApduError: something is missing that the receipt signs.
    """
    target, load_file = command.target, command.load_file or load_file
    match command.kind:
        case ContentKind.LOAD if target is not None:
            return receipts.load_context(target, command.security_domain or through)
        case ContentKind.MAKE_SELECTABLE | ContentKind.INSTALL | ContentKind.INSTALL_AND_MAKE_SELECTABLE if (
            target is not None and load_file is not None
        ):
            return receipts.install_context(load_file, target)
        case ContentKind.EXTRADITION if target is not None and command.security_domain is not None:
            return receipts.extradition_context(through, target, command.security_domain)
        case ContentKind.REGISTRY_UPDATE:
            new = command.security_domain
            return receipts.registry_update_context(
                target,
                old_sd=through if new is not None else None,
                new_sd=new,
                privileges=command.privileges,
                parameters=command.parameters,
            )
        case ContentKind.DELETE if target is not None:
            return receipts.delete_context(target)
    raise ApduError(f"what the receipt of {command.describe()} signs cannot be told")


def _delete(command: CommandApdu) -> ContentCommand:
    fields, _ = split_token(command)
    objects = parse_tlvs(fields)
    names = [one.value for one in objects if one.tag == _AID]
    if command.p1 or len(names) != 1:
        raise ApduError("a deletion names one object and is no part of a series")
    return ContentCommand(
        kind=ContentKind.DELETE,
        target=Aid(names[0]),
        parameters=fields,
        related=bool(command.p2 & _RELATED),
    )


def _install(command: CommandApdu) -> ContentCommand:
    if command.p2:
        raise ApduError("the combined process takes its token elsewhere")
    kind = _KINDS[InstallKind(command.p1)]
    fields, _ = split_token(command)
    values, offset = [], 0
    for _ in range(3 if kind is ContentKind.LOAD else 4):
        value, offset = read_lv(fields, offset)
        values.append(value)
    parameters, _ = read_ber_lv(fields, offset, eighty_is_128=True)
    if kind is ContentKind.LOAD:
        elf, domain, digest = values
        return ContentCommand(
            kind=kind,
            target=Aid(elf),
            load_file=Aid(elf),
            security_domain=_aid(domain),
            digest=digest,
            parameters=parameters,
        )
    first, second, target, privileges = values
    moves = kind in (ContentKind.EXTRADITION, ContentKind.REGISTRY_UPDATE)
    return ContentCommand(
        kind=kind,
        target=_aid(target),
        load_file=None if moves else _aid(first),
        module=_aid(second),
        security_domain=_aid(first) if moves else None,
        privileges=privileges,
        parameters=parameters,
    )


def _aid(value: bytes) -> Aid | None:
    return Aid(value) if value else None

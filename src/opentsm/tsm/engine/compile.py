"""Steps to commands: which APDUs do a step, what the card should answer, where an order may be cut.

Pure. What needs a key (key blocks, personalisation values) comes in as a finished value: the owner of the
keys asks its keystore before it compiles. Card Specification 2.3.1 §11.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.gp import access_rules as rules
from opentsm.card.gp import commands as gp
from opentsm.card.gp import contactless as cl
from opentsm.card.gp.dap import dap_block
from opentsm.card.gp.install_params import SystemParameters, application_parameters
from opentsm.card.gp.instructions import (
    StatusScope,
    StatusTarget,
    StoreDataEncryption,
    StoreDataStructure,
)
from opentsm.card.gp.privileges import Privilege
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.card_content import MemoryNeeds
from opentsm.tsm.domain.exchange import Expected
from opentsm.tsm.engine import activation
from opentsm.tsm.engine import activation_steps as a
from opentsm.tsm.engine import card_steps as k
from opentsm.tsm.engine import steps as s
from opentsm.tsm.kernel.errors import InvariantError

OK = Expected(status_words=("9000",))
ANY = Expected()
PAGE = Expected(status_words=("9000", "6310", "6A88"))
# the issuer security domain is shown to itself and to domains with Global Registry only (GPCS §11.4.2.1)
ISSUER_PAGE = Expected(status_words=("9000", "6310", "6A88", "6A86", "6985"))
LATER_PAGE = Expected(status_words=("9000", "6310", "6985", "6A86", "6A88"))


@dataclass(frozen=True, slots=True)
class PlainCommand:
    """One command before protection. `barrier`: see `domain.exchange.Command`.

    `hole` numbers the commands of a session that wait for a token, `receipt` the answers that bring the
    receipts for them. The answer to a `carried` command is for the party that it comes from.
    """

    apdu: CommandApdu = field(repr=False)
    expected: Expected
    meaning: str
    barrier: bool = True
    tag: str = ""
    hole: int | None = None
    receipt: int | None = None
    carried: bool = False


@dataclass(frozen=True, slots=True)
class Grouping:
    """One data grouping of a personalisation: `value` is already encrypted where `encrypted` says so."""

    tag: int
    value: bytes = field(repr=False)
    encrypted: bool


@dataclass(frozen=True, slots=True)
class AttestationToken:
    """The attestation token of an application (BSI TR-03165 A.1): BER-TLV, in a session of its own."""

    value: bytes


@dataclass(frozen=True, slots=True)
class PersonalizationCommand:
    """A command of a recipe; its answer is kept under `tag` (none: not kept)."""

    apdu: CommandApdu = field(repr=False)
    expected: Expected
    tag: str = ""


PersonalizationItem = Grouping | AttestationToken | PersonalizationCommand


@dataclass(frozen=True, slots=True)
class Fills:
    """Values that only the owner of the keys can make for a step."""

    put_key_fields: tuple[bytes, ...] = field(default=(), repr=False)
    key_data: bytes = field(default=b"", repr=False)
    load_block: bytes = field(default=b"", repr=False)
    groupings: tuple[PersonalizationItem, ...] = ()
    carried: tuple[CommandApdu, ...] = field(default=(), repr=False)


def compile_step(step: s.Step, profile: SeProfile, fills: Fills) -> tuple[PlainCommand, ...]:  # noqa: PLR0912
    """Return the commands of a step.

    Args:
        step: what to do; value steps and probes of plain sessions are not compiled here.
        profile: the card's protocol and sizes.
        fills: finished values for the step.

    Raises:
        InvariantError: a value that the step needs is missing.
    """
    match step:
        case s.ReadRegistry():
            return _read_registry(step)
        case s.CreateSecurityDomain():
            return (_create_domain(step, profile),)
        case s.PutFirstKeys():
            return _put_first_keys(step, profile, fills)
        case s.OfferKeys():
            target = PlainCommand(gp.install_for_personalization(step.domain), OK, step.describe())
            return (target, *_carried(step, fills))
        case s.AgreeKeys():
            return _carried(step, fills)
        case s.ReplaceKeys():
            put = gp.put_key(step.new_kvn, _needed(fills.put_key_fields), replace_kvn=step.old_kvn)
            return (PlainCommand(put, OK, step.describe()),)
        case s.PutProofKey():
            version = step.use.value
            replaced = version if step.replaces else 0
            put = gp.put_key(version, _needed(fills.put_key_fields), replace_kvn=replaced)
            return (PlainCommand(put, OK, step.describe()),)
        case s.Load():
            return _load(step, profile, fills)
        case s.Install():
            return (_install(step, profile),)
        case s.Extradite():
            apdu = gp.install_for_extradition(step.application, step.security_domain)
            return (PlainCommand(apdu, OK, step.describe()),)
        case s.Personalize():
            return _personalize(step.application, profile, _needed(fills.groupings), step.describe())
        case s.MakeSelectable():
            apdu = gp.install_for_make_selectable(step.application)
            return (PlainCommand(apdu, OK, step.describe()),)
        case s.Lock():
            return (PlainCommand(gp.lock(step.application), OK, step.describe()),)
        case s.Unlock():
            return (PlainCommand(gp.unlock(step.application), OK, step.describe()),)
        case s.RestrictDomain():
            # EF { D9 }, system parameters of INSTALL [for registry update] (§11.5.2.3.7)
            restrict = encode_tlv(0xEF, encode_tlv(0xD9, bytes((step.functions,))))
            apdu = gp.install_for_registry_update(step.domain, parameters=restrict)
            return (PlainCommand(apdu, OK, step.describe()),)
        case s.Delete():
            return (PlainCommand(gp.delete(step.aid), OK, step.describe()),)
        case a.GrantAccess() | a.RevokeAccess():
            return _change_access(step)
        case a.SetContactless():
            return (_update_contactless(step),)
        case k.SetCardState():
            return (PlainCommand(gp.set_status(StatusTarget.CARD, step.state), OK, step.describe()),)
        case s.ProveKeys() | s.ProbeKeys():
            return (PlainCommand(gp.get_data(0xE0), OK, step.describe(), barrier=False),)
        case s.ProbePersonalization():
            answer = Expected(status_words=("9000", "6A88", "6985"))
            return (PlainCommand(gp.get_data(step.data_object), answer, step.describe(), barrier=False),)
        case _:
            raise InvariantError(f"{type(step).__name__} is not compiled into secured commands.")


def _needed(values: Sequence[bytes] | Sequence[PersonalizationItem]) -> Sequence:  # type: ignore[type-arg]
    if not values:
        raise InvariantError("A step was compiled without the values that its owner must give.")
    return values


def _read_registry(step: s.ReadRegistry) -> tuple[PlainCommand, ...]:
    reads: list[PlainCommand] = []
    for scope in (StatusScope.ISD, StatusScope.APPLICATIONS, StatusScope.LOAD_FILES_AND_MODULES):
        page = ISSUER_PAGE if scope is StatusScope.ISD else PAGE
        reads.append(PlainCommand(gp.get_status(scope), page, step.describe(), barrier=False))
        if scope is not StatusScope.ISD:
            more = PlainCommand(gp.get_status(scope, next=True), LATER_PAGE, step.describe(), barrier=False)
            reads += [more] * (step.pages - 1)
    memory = Expected(status_words=("9000", "6A88"))
    reads.append(PlainCommand(gp.get_data(0xFF21), memory, "read the free memory", barrier=False))
    return tuple(reads)


def _create_domain(step: s.CreateSecurityDomain, profile: SeProfile) -> PlainCommand:
    apdu = gp.install_for_install(
        step.load_file,
        step.module,
        step.aid,
        Privilege(step.privileges),
        application_parameters(step.parameters, system=_limits(step.memory)),
        make_selectable=True,
        privilege_bytes=profile.privilege_bytes,
    )
    return PlainCommand(apdu, OK, step.describe())


def _limits(memory: MemoryNeeds) -> SystemParameters:
    """A domain's quota is a limit of its own data; its applications' have limits of their own (§9.7)."""
    return SystemParameters(nonvolatile_quota=memory.nonvolatile_quota, volatile_quota=memory.volatile_quota)


def _put_first_keys(step: s.PutFirstKeys, profile: SeProfile, fills: Fills) -> tuple[PlainCommand, ...]:
    if not step.forwarded:
        put = gp.put_key(step.kvn, _needed(fills.put_key_fields))
        return (PlainCommand(put, OK, step.describe()),)
    if not fills.key_data:
        raise InvariantError("First keys were compiled without their key blocks.")
    size = profile.max_plain_data
    blocks = [(fills.key_data[at : at + size], False) for at in range(0, len(fills.key_data), size)]
    return _forward(step.domain, blocks, step.describe())


def _carried(step: s.OfferKeys | s.AgreeKeys, fills: Fills) -> tuple[PlainCommand, ...]:
    """What another party sends through this session; its answers are that party's."""
    return tuple(
        PlainCommand(apdu, OK, step.describe(), carried=True) for apdu in _needed_commands(fills.carried)
    )


def _needed_commands(commands: tuple[CommandApdu, ...]) -> tuple[CommandApdu, ...]:
    if not commands:
        raise InvariantError("A step was compiled without the commands that another party gives.")
    return commands


def _load(step: s.Load, profile: SeProfile, fills: Fills) -> tuple[PlainCommand, ...]:
    if not fills.load_block:
        raise InvariantError("A load was compiled without the load file.")
    block_hash = bytes.fromhex(step.load_file.sha256)
    head = gp.install_for_load(step.load_file.aid, step.security_domain, hash=block_hash)
    daps = [dap_block(one.domain, one.signature) for one in step.daps]
    blocks = gp.load_blocks(fills.load_block, block_size=profile.max_plain_data, dap_blocks=daps)
    return (
        PlainCommand(head, OK, step.describe()),
        # a LOAD after a failed one is refused by the card and changes nothing
        *(PlainCommand(block, OK, step.describe(), barrier=False) for block in blocks),
    )


def _install(step: s.Install, profile: SeProfile) -> PlainCommand:
    app = step.application
    apdu = gp.install_for_install(
        app.load_file,
        app.module,
        app.instance_aid,
        Privilege(app.privileges),
        application_parameters(app.install_parameters, system=activation.system_parameters(app, profile)),
        make_selectable=step.make_selectable,
        privilege_bytes=profile.privilege_bytes,
    )
    return PlainCommand(apdu, OK, step.describe())


def _change_access(step: a.GrantAccess | a.RevokeAccess) -> tuple[PlainCommand, ...]:
    """STORE DATA for the ARA-M, through its security domain (SE Access Control 1.1 section 5.1)."""
    granting = isinstance(step, a.GrantAccess)
    data = rules.store_rule_data(step.rule) if granting else rules.delete_rule_data(step.rule)
    store = gp.store_data(data, 0, last=True, structure=StoreDataStructure.BER_TLV)
    # 6381: another rule has the same target, and this one is stored beside it; 6A88: nothing to delete
    expected = Expected(status_words=("9000", "6381") if granting else ("9000", "6A88"))
    return (
        PlainCommand(gp.install_for_personalization(rules.ARA_M_AID), OK, step.describe()),
        PlainCommand(store, expected, step.describe()),
    )


def _update_contactless(step: a.SetContactless) -> PlainCommand:
    """INSTALL [for registry update] with the contactless activation state (Amendment C)."""
    state = cl.Activation.ACTIVATED if step.activate else cl.Activation.DEACTIVATED
    objects = cl.ContactlessParameters(activation=state).to_bytes()
    apdu = gp.install_for_registry_update(step.application, parameters=encode_tlv(0xEF, objects))
    return PlainCommand(apdu, OK, step.describe())


def _personalize(
    application: Aid, profile: SeProfile, items: Sequence[PersonalizationItem], meaning: str
) -> tuple[PlainCommand, ...]:
    """Attestation token first: the version that a recipe stores last then vouches for the token too."""
    size = profile.max_plain_data
    commands: list[PlainCommand] = []
    for token in (item for item in items if isinstance(item, AttestationToken)):
        blocks = [(token.value[at : at + size], False) for at in range(0, len(token.value), size)]
        commands += _forward(application, blocks, meaning, StoreDataStructure.BER_TLV)
    groupings = [item for item in items if isinstance(item, Grouping)]
    if groupings:
        commands += _forward(application, _store_data_blocks(groupings, size), meaning)
    own = [item for item in items if isinstance(item, PersonalizationCommand)]
    if own:
        commands.append(PlainCommand(gp.install_for_personalization(application), OK, meaning))
        commands += [PlainCommand(one.apdu, one.expected, meaning, tag=one.tag) for one in own]
    return tuple(commands)


def _forward(
    target: Aid,
    blocks: Sequence[tuple[bytes, bool]],
    meaning: str,
    structure: StoreDataStructure = StoreDataStructure.DGI,
) -> tuple[PlainCommand, ...]:
    """INSTALL [for personalization], then STORE DATA blocks (§7.3.2, §11.11)."""
    last = len(blocks) - 1
    commands = [
        gp.store_data(
            block,
            number,
            last=number == last,
            encryption=StoreDataEncryption.ENCRYPTED if encrypted else StoreDataEncryption.NONE,
            structure=structure,
        )
        for number, (block, encrypted) in enumerate(blocks)
    ]
    return (
        PlainCommand(gp.install_for_personalization(target), OK, meaning),
        *(PlainCommand(command, OK, meaning) for command in commands),
    )


def _store_data_blocks(groupings: Sequence[Grouping], size: int) -> list[tuple[bytes, bool]]:
    """Pack groupings into blocks of at most `size` bytes; clear and encrypted ones never share a block."""
    blocks: list[tuple[bytes, bool]] = []
    for grouping in groupings:
        data = encode_dgi(grouping.tag, grouping.value)
        if blocks and blocks[-1][1] == grouping.encrypted and len(blocks[-1][0]) + len(data) <= size:
            blocks[-1] = (blocks[-1][0] + data, grouping.encrypted)
            continue
        blocks += [(data[at : at + size], grouping.encrypted) for at in range(0, len(data), size)]
    return blocks

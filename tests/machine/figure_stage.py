"""A built card of a figure with content under every domain, and one attempt for each act of the rights.

Each attempt is a session of a party with its own keys on a copy of the card; what the card answers is the
status word of the first command that is not 9000.
"""

from collections.abc import Callable
from copy import copy

from tests.unit.vse.card_host import CardHost, load_file, make_keys

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import application_parameters
from opentsm.card.gp.instructions import StatusScope, StatusTarget, StoreDataStructure
from opentsm.card.gp.keys import AesLayout, KeyType, StaticKeys
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.registry import RegistryEntry
from opentsm.card.gp.responses import parse_status
from opentsm.card.gp.se_rights import Act
from opentsm.tsm.domain.arrangement import Arrangement
from opentsm.vse.card import VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.state import encode_image

P = Privilege
SD_PACKAGE, SD_MODULE = Aid.from_hex("A0000001515350"), Aid.from_hex("A000000151535041")
PPSE_PACKAGE, PPSE_MODULE = Aid.from_hex("F04F54534D00"), Aid.from_hex("F04F54534D0001")
PPSE = Aid.from_hex("325041592E5359532E4444463031")
SERVICE, DELEGATED = Aid.from_hex("F04F545350000001"), Aid.from_hex("F04F545350000002")
NEW_DOMAIN = Aid.from_hex("F04F5453500000FF")
NEW_PACKAGE, NEW_MODULE = Aid.from_hex("F04F5453FF00"), Aid.from_hex("F04F5453FF0001")
NEW_INSTANCE = Aid.from_hex("F04F5453FF000101")
OLD_KVN = 0x24
DAP_KVN = 0x73  # GPCS Table 11-22: of whoever checks signatures of load files
STRUCTURE = StoreDataStructure.DGI


class Stage:
    """The card of one figure. `roles` maps each role to its domain."""

    def __init__(self, card: VirtualCard, arrangement: Arrangement, *, furnished: bool = True) -> None:
        self.old = arrangement.configuration == 500
        self.roles = {one.role: one.aid for one in arrangement.domains}
        self.isd = arrangement.top.aid
        self._image = encode_image(card.image())
        self.keys = {aid: _keys_of(card, aid) for aid in self.roles.values()}
        self.managers = [
            one.aid for one in arrangement.domains if one.privileges & P.AUTHORIZED_MANAGEMENT or self.old
        ]
        self._numbers: dict[Aid, int] = {}
        self._receivers: dict[Aid, Aid] = {}
        if furnished:
            self._furnish(delegated=arrangement.configuration >= 700)

    # --- sessions --------------------------------------------------------------------------------------

    def card(self) -> VirtualCard:
        """Return a copy of the card, powered on."""
        copy = VirtualCard.open(MemoryNvm(self._image))
        copy.power_on()
        return copy

    def session(self, domain: Aid, card: VirtualCard | None = None) -> CardHost:
        """Open a session with a domain's keys."""
        host = CardHost(card or self.card())
        host.select(domain)
        host.authenticate(self.keys[domain], level=0x03 if self.old else 0x33, i=0x55)
        return host

    def unrestricted(self) -> "Stage":
        """Return the same stage, with the restrictions of every domain taken out of the card's memory."""
        image = self.card().image()
        for entry in image.instances:
            if entry.domain is not None:
                entry.domain.restricted = 0
        other = copy(self)
        other._image = encode_image(image)
        return other

    # --- content ---------------------------------------------------------------------------------------

    def _furnish(self, *, delegated: bool) -> None:
        """Load an application under each manager, and make the domains of two services with one each."""
        card = self.card()
        loading = [aid for aid in self.managers if aid != self.isd or self.old]
        for number, aid in enumerate(loading):
            host = self.session(aid, card)
            assert (
                host.load(load_file(_package(number), (_module(number),)), package=_package(number)) == 0x9000
            )
            assert self._install(host, _package(number), _module(number), _instance(number)) == 0x9000
        self._numbers = {aid: number for number, aid in enumerate(loading)}
        central = loading[0]
        host = self.session(central, card)
        services = {SERVICE: P.SECURITY_DOMAIN | P.TRUSTED_PATH}
        if delegated:
            services[DELEGATED] = services[SERVICE] | P.DELEGATED_MANAGEMENT
        for number, (aid, privileges) in enumerate(services.items(), 10):
            assert self._create(host, aid, privileges) == 0x9000
            self.keys[aid] = make_keys(0x50 + number)
            _forward(host, aid, self.keys[aid], OLD_KVN if self.old else 0x34, self.old)
            assert self._install(host, _package(0), _module(0), _instance(number)) == 0x9000
            assert host.sw(commands.install_for_extradition(_instance(number), aid)) == 0x9000
            self._numbers[aid] = number
        self.roles["SP SD"] = SERVICE
        if delegated:
            self.roles["SP SD with DM"] = DELEGATED
        # a domain below each manager takes what is extradited
        for number, aid in enumerate(loading, 20):
            below = self.session(aid, card)
            assert self._create(below, _below(number), P.SECURITY_DOMAIN | P.TRUSTED_PATH) == 0x9000
            _forward(below, _below(number), make_keys(0x60 + number), 0x21 if self.old else 0x34, self.old)
        self._receivers = {aid: _below(number) for number, aid in enumerate(loading, 20)}
        card.power_off()
        self._image = encode_image(card.image())

    def _create(self, host: CardHost, aid: Aid, privileges: Privilege) -> int:
        command = commands.install_for_install(
            SD_PACKAGE,
            SD_MODULE,
            aid,
            privileges,
            application_parameters(),
            make_selectable=True,
            privilege_bytes=1 if self.old else 3,
        )
        return host.sw(command)

    def _install(self, host: CardHost, package: Aid, module: Aid, instance: Aid) -> int:
        command = commands.install_for_install(
            package,
            module,
            instance,
            Privilege(0),
            application_parameters(),
            make_selectable=True,
            privilege_bytes=1 if self.old else 3,
        )
        return host.sw(command)

    def own(self, domain: Aid) -> Aid:
        """Return an application under a domain; the domain itself where it can have none."""
        if domain in self._numbers:
            return _instance(self._numbers[domain])
        return PPSE if domain == self.isd else domain

    def foreign(self, domain: Aid) -> Aid:
        """Return an application that is neither under a domain nor below one under it.

        Under the one domain of configuration 500 is everything: there it is one of another domain.
        """
        if domain != self.isd:
            return PPSE
        return _instance(self._numbers[SERVICE])

    # --- attempts --------------------------------------------------------------------------------------

    def attempt(self, domain: Aid, act: Act) -> int:
        """Try an act with the domain's own keys; return the status word."""
        if act is Act.UNLOCK_CARD:
            return self._unlock_card(domain)
        attempts: dict[Act, Callable[[CardHost, Aid], int]] = {
            Act.SEE_ALL: lambda host, _: host.sw(commands.get_status(StatusScope.ISD)),
            Act.CREATE_ARRANGED: self._create_arranged,
            Act.CREATE_SERVICE_DOMAIN: lambda host, _: self._create(
                host, NEW_DOMAIN, P.SECURITY_DOMAIN | P.TRUSTED_PATH
            ),
            Act.PUT_OWN_KEYS: self._put_own_keys,
            Act.LOAD: lambda host, _: host.load(load_file(NEW_PACKAGE, (NEW_MODULE,)), package=NEW_PACKAGE),
            Act.INSTALL: self._install_new,
            Act.EXTRADITE: self._extradite,
            Act.DELETE: lambda host, domain: host.sw(commands.delete(self.own(domain))),
            Act.DELETE_FOREIGN: lambda host, domain: host.sw(commands.delete(self.foreign(domain))),
            Act.LOCK: lambda host, domain: host.sw(commands.lock(self.own(domain))),
            Act.LOCK_FOREIGN: lambda host, domain: host.sw(commands.lock(self.foreign(domain))),
            Act.PERSONALIZE: lambda host, domain: host.sw(
                commands.install_for_personalization(self.own(domain))
            ),
            Act.UPDATE_REGISTRY: lambda host, domain: host.sw(
                commands.install_for_registry_update(self.own(domain), parameters=encode_tlv(0xEF, b""))
            ),
            Act.LOCK_CARD: lambda host, _: host.sw(commands.set_status(StatusTarget.CARD, 0x7F)),
            Act.TERMINATE_CARD: lambda host, _: host.sw(commands.set_status(StatusTarget.CARD, 0xFF)),
        }
        return attempts[act](self.session(domain), domain)

    def _create_arranged(self, host: CardHost, _: Aid) -> int:
        """With one byte there is no Authorized Management: Delegated Management instead."""
        manager = P.DELEGATED_MANAGEMENT if self.old else P.TRUSTED_PATH | P.AUTHORIZED_MANAGEMENT
        return self._create(host, NEW_DOMAIN, P.SECURITY_DOMAIN | manager)

    def _put_own_keys(self, host: CardHost, domain: Aid) -> int:
        kvn = host.init.kvn if host.init is not None else 0
        kind = (KeyType.DES, AesLayout.BARE) if self.old else (KeyType.AES, AesLayout.INNER_LENGTH)
        return host.put_keys(make_keys(0x71), kvn, replace=kvn, key_type=kind[0], layout=kind[1]).sw

    def _install_new(self, host: CardHost, domain: Aid) -> int:
        number = self._numbers.get(domain)
        if number is None or domain in (SERVICE, DELEGATED):
            return self._install(host, PPSE_PACKAGE, PPSE_MODULE, NEW_INSTANCE)
        return self._install(host, _package(number), _module(number), NEW_INSTANCE)

    def _extradite(self, host: CardHost, domain: Aid) -> int:
        receiver = self._receivers.get(domain, self.roles["Central SD"])
        return host.sw(commands.install_for_extradition(self.own(domain), receiver))

    def _unlock_card(self, domain: Aid) -> int:
        """Lock the card as the issuer, then unlock it as whoever asks; a refused SELECT is a refusal."""
        card = self.card()
        assert self.session(self.isd, card).sw(commands.set_status(StatusTarget.CARD, 0x7F)) == 0x9000
        host = CardHost(card)
        answer = host.select(domain)
        if domain != self.isd:
            return answer.sw
        host.authenticate(self.keys[domain], level=0x03 if self.old else 0x33, i=0x55)
        return host.sw(commands.set_status(StatusTarget.CARD, 0x0F))

    # --- what the card shows ---------------------------------------------------------------------------

    def registry(self) -> dict[Aid, RegistryEntry]:
        """Return the whole registry, as the issuer security domain shows it."""
        host = self.session(self.isd)
        entries = list(parse_status(host.ok(commands.get_status(StatusScope.ISD)), StatusScope.ISD))
        answer = host.send(commands.get_status(StatusScope.APPLICATIONS))
        data = answer.data
        while answer.sw == 0x6310:
            answer = host.send(commands.get_status(StatusScope.APPLICATIONS, next=True))
            data += answer.data
        assert answer.sw == 0x9000
        return {one.aid: one for one in (*entries, *parse_status(data, StatusScope.APPLICATIONS))}


def _keys_of(card: VirtualCard, aid: Aid) -> StaticKeys:
    """Return the key set of a domain: what its holder has, read from the card's own memory."""
    entry = card.image().instance(bytes(aid))
    assert entry is not None and entry.domain is not None
    values = {key.kid: key.components[0].value for key in entry.domain.keys if key.kvn != DAP_KVN}
    return StaticKeys(*(Secret(values[kid]) for kid in (1, 2, 3)))


def _forward(host: CardHost, aid: Aid, keys: StaticKeys, kvn: int, old: bool) -> None:
    host.ok(commands.install_for_personalization(aid))
    block = host.key_group(keys, kvn, KeyType.DES if old else KeyType.AES)
    host.ok(commands.store_data(block, 0, last=True, structure=STRUCTURE))


def _package(number: int) -> Aid:
    return Aid.from_hex(f"F04F5453A0{number:02X}")


def _module(number: int) -> Aid:
    return Aid.from_hex(f"F04F5453A0{number:02X}01")


def _instance(number: int) -> Aid:
    return Aid.from_hex(f"F04F5453A0{number:02X}0101")


def _below(number: int) -> Aid:
    return Aid.from_hex(f"F04F5453B0{number:02X}")

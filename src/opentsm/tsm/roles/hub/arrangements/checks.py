"""Whether an arrangement is possible: roles, holders, parents, versions and places against the data. Pure."""

from collections import Counter
from collections.abc import Mapping

import msgspec

from opentsm.card.errors import ProfileError
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.se_configurations import DomainRole, SeConfiguration
from opentsm.card.gp.se_rights import Act, Rights
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.arrangement import ArrangedDomain, Arrangement, ContentMode, ProviderPlace
from opentsm.tsm.domain.tenant import HUB, Tenant, TenantKind
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.roles.hub.topology import reserved_key_versions

replace = msgspec.structs.replace

MAX_DOMAINS = 16
MAX_PLACES = 200
MAX_NAME = 50


class Checker:
    """Checks one arrangement."""

    def __init__(
        self,
        configuration: SeConfiguration,
        rights: Rights,
        profile: SeProfile,
        issuer: Tenant,
        tenants: Mapping[TenantId, Tenant],
    ) -> None:
        """Note what it is checked against.

        Args:
            configuration: its domains and their privileges.
            rights: who may create which domains.
            profile: of the cards: which key versions they have.
            issuer: whose arrangement it is.
            tenants: the parties that it names, as far as they exist.
        """
        self._configuration = configuration
        self._rights = rights
        self._profile = profile
        self._issuer = issuer
        self._tenants = tenants

    def checked(self, arrangement: Arrangement) -> Arrangement:
        """Return the arrangement with the privileges of its roles.

        Raises:
            InvalidInputError: it is not possible; the field at fault is named.
        """
        domains = tuple(
            self._domain(number, domain, arrangement) for number, domain in enumerate(arrangement.domains)
        )
        arrangement = replace(arrangement, domains=domains)
        self._check_whole(arrangement)
        for number, domain in enumerate(domains):
            self._check_parent(number, domain, arrangement)
        place = arrangement.place
        if place is not None:
            place = self._place(None, place, arrangement, "/place")
        if len(arrangement.places) > MAX_PLACES:
            raise InvalidInputError(f"At most {MAX_PLACES} places can be given.", field="/places")
        places = {
            provider: self._place(provider, one, arrangement, f"/places/{provider}")
            for provider, one in arrangement.places.items()
        }
        return replace(arrangement, place=place, places=places)

    # --- domains ---------------------------------------------------------------------------------------

    def _domain(self, number: int, domain: ArrangedDomain, arrangement: Arrangement) -> ArrangedDomain:
        where = f"/domains/{number}"
        if not 1 <= len(domain.name) <= MAX_NAME:
            raise InvalidInputError(f"A domain's name has 1 to {MAX_NAME} characters.", field=f"{where}/name")
        role = self._role(domain.role, f"{where}/role")
        if not role.held_by:
            raise InvalidInputError(
                f"Domains with the role {quoted(role.name)} are made with each service.",
                field=f"{where}/role",
            )
        self._check_holder(domain.holder_id, role, f"{where}/holder_id")
        first, last = self._profile.first_kvn, self._profile.last_kvn
        if not first <= domain.kvn <= last or domain.kvn in reserved_key_versions(self._profile):
            reserved = ", ".join(map(str, sorted(reserved_key_versions(self._profile))))
            raise InvalidInputError(
                f"A key version is {first} to {last} on these cards, without {reserved}.",
                field=f"{where}/kvn",
            )
        return replace(domain, privileges=int(role.coded))

    def _role(self, name: str, field: str) -> DomainRole:
        try:
            return self._configuration.role(name)
        except ProfileError as error:
            known = ", ".join(role.name for role in self._configuration.roles)
            raise InvalidInputError(f"{error}.", advice=f"It has {known}.", field=field) from None

    def _check_holder(self, holder_id: TenantId, role: DomainRole, field: str) -> None:
        kind = self._kind_of(holder_id)
        if kind is None:
            raise InvalidInputError("There is no such party.", field=field)
        if kind not in role.held_by:
            raise InvalidInputError(
                f"The {role.name} cannot be held by this party.",
                advice=f"It is held by: {', '.join(role.held_by)}.",
                field=field,
            )

    def _kind_of(self, party: TenantId) -> str | None:
        """Return what a party is to this issuer; one across the sandbox border does not exist."""
        if party == self._issuer.id:
            return "ISSUER"
        if party == HUB:
            return "HUB"
        tenant = self._tenants.get(party)
        if tenant is None or tenant.sandbox is not self._issuer.sandbox:
            return None
        return "PROVIDER" if tenant.kind is TenantKind.SERVICE_PROVIDER else None

    def _check_whole(self, arrangement: Arrangement) -> None:
        domains = arrangement.domains
        if not 1 <= len(domains) <= MAX_DOMAINS:
            raise InvalidInputError(f"An arrangement has 1 to {MAX_DOMAINS} domains.", field="/domains")
        for what, values in (
            ("name", [one.name for one in domains]),
            ("AID", [str(one.aid) for one in domains]),
        ):
            if len(set(values)) != len(values):
                raise InvalidInputError(f"Two domains have the same {what}.", field="/domains")
        count = Counter(domain.role for domain in domains)
        for role in self._configuration.roles:
            if role.preissued and count[role.name] != 1 and not (role.dispensable and not count[role.name]):
                raise InvalidInputError(
                    f"The role {quoted(role.name)} has exactly one holder.", field="/domains"
                )

    def _check_parent(self, number: int, domain: ArrangedDomain, arrangement: Arrangement) -> None:
        where = f"/domains/{number}/parent"
        top = self._configuration.issuer_role.name
        if domain.role == top:
            if domain.parent:
                raise InvalidInputError("The issuer security domain has no parent.", field=where)
            return
        parent = arrangement.domain(domain.parent)
        if parent is None:
            raise InvalidInputError("The domain has no parent among the domains.", field=where)
        if not self._rights.right(parent.role, Act.CREATE_ARRANGED).allowed:
            raise InvalidInputError(
                f"A domain with the role {quoted(parent.role)} makes no others of the arrangement.",
                field=where,
            )

    # --- places ----------------------------------------------------------------------------------------

    def _place(
        self, provider: TenantId | None, place: ProviderPlace, arrangement: Arrangement, where: str
    ) -> ProviderPlace:
        if provider is not None and self._kind_of(provider) != "PROVIDER":
            raise InvalidInputError("There is no such service provider.", field=where)
        role = self._role(place.role, f"{where}/role")
        under = arrangement.domain(place.under)
        if role.held_by:
            raise InvalidInputError(
                f"The role {quoted(role.name)} is not that of a service's domain.", field=f"{where}/role"
            )
        if under is None or not self._rights.right(under.role, Act.CREATE_SERVICE_DOMAIN).allowed:
            raise InvalidInputError(
                "It does not name a domain that may make those of service providers.", field=f"{where}/under"
            )
        self._check_mode(provider, place, role, arrangement, where)
        return replace(place, privileges=int(role.coded))

    def _check_mode(
        self,
        provider: TenantId | None,
        place: ProviderPlace,
        role: DomainRole,
        arrangement: Arrangement,
        where: str,
    ) -> None:
        delegated = Privilege.DELEGATED_MANAGEMENT in role.privileges
        under = arrangement.domain(place.under)
        own = under is not None and under.holder_id == provider
        problem = ""
        if delegated is not (place.mode is ContentMode.DELEGATED):
            problem = "A domain with Delegated Management and the mode DM belong together."
        elif delegated and arrangement.domain_with(Privilege.TOKEN_VERIFICATION) is None:
            problem = "No domain of the arrangement verifies tokens."
        elif own is not (place.mode is ContentMode.AUTHORIZED):
            problem = "In mode AM, and only there, a provider's domains hang under its own domain."
        if problem:
            raise InvalidInputError(problem, field=f"{where}/mode")

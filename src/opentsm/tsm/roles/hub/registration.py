"""Use cases about secure elements before and beside operations: registration, look-up, reinstatement."""

import re
from collections.abc import Iterable

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.diversification import KDD_LENGTH, DiversificationMethod
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.card_content import Claim, ObservedContent
from opentsm.tsm.domain.registry import SeData
from opentsm.tsm.domain.secure_element import (
    SE_STATES,
    DiversifiedKeys,
    KeySet,
    KeySetState,
    KeySource,
    SecureElement,
    SeEvent,
    SeIdentifier,
    WrappedKeys,
    key_set_context,
)
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.errors import InvalidInputError, KeystoreError, NotFoundError
from opentsm.tsm.kernel.ids import ArrangementId, KeyHandle, SeId, TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.arrangements.use import check_arrangement
from opentsm.tsm.roles.hub.herald import se_event, tell
from opentsm.tsm.roles.hub.mandate import may_see, require
from opentsm.tsm.roles.hub.parties import OnboardingServices
from opentsm.tsm.roles.hub.registry.se_data import check_se_data, keep_se_data, name_of_data
from opentsm.tsm.roles.hub.topology import reserved_key_versions

replace = msgspec.structs.replace

MAX_LIST = 16
MAX_COUNTER = 0xFFFFFF
KCV_BYTES = 3
_IDENTIFIER = re.compile(r"[0-9A-Za-z._:/+-]{1,64}")
_METHODS = {method.name for method in DiversificationMethod}


class NewKeySet(Record, frozen=True, kw_only=True):
    """A key set of the issuer security domain, as its issuer describes it.

    `kcvs` are the check values of ENC, MAC and DEK (empty: not given); `counter` is the last sequence
    counter that the card used (None: not known).
    """

    kvn: int
    source: DiversifiedKeys | WrappedKeys
    kcvs: tuple[bytes, ...] = ()
    counter: int | None = None


class NewSecureElement(Record, frozen=True, kw_only=True):
    """A secure element as its issuer describes it; the first key set is the one that sessions open with.

    `arrangement_id` names the arrangement that says who holds its security domains; None: its issuer all.
    """

    identifiers: tuple[SeIdentifier, ...]
    profile: str
    key_sets: tuple[NewKeySet, ...]
    isd_aid: Aid | None = None
    arrangement_id: ArrangementId | None = None
    data: SeData = SeData()


class Registration:
    """Secure elements of an issuer."""

    def __init__(self, services: OnboardingServices) -> None:
        self._s = services

    async def register_secure_element(self, principal: Principal, new: NewSecureElement) -> SecureElement:
        """Register a secure element with its key sets.

        Raises:
            ForbiddenError: the caller is not an issuer.
            InvalidInputError: a value is not possible, a key handle is unknown, or check values differ.
            ConflictError: an identifier is taken.
        """
        require(principal, TenantKind.SE_ISSUER)
        se, key_sets = await self.drafted(principal, new)
        async with self._s.storage.transaction() as tx:
            await check_arrangement(tx, se)
            await keep_se_data(tx, principal.tenant_id, new.data)
            await tx.secure_elements.add(se)
            for key_set in key_sets:
                await tx.key_sets.put(key_set)
            await tx.audit.append(
                principal.tenant_id,
                actor=principal.tenant_id,
                action="secure-element.registered",
                subject=se.id,
                details={"profile": se.profile, "key_sets": len(key_sets)},
            )
            await tx.commit()
        return se

    async def drafted(
        self, principal: Principal, new: NewSecureElement
    ) -> tuple[SecureElement, list[KeySet]]:
        """Return a secure element and its key sets as they would be stored, checked; nothing is stored.

        Raises:
            InvalidInputError: as of `register_secure_element`.
        """
        profile = self._profile(new.profile)
        _check_identifiers(new.identifiers)
        _check_key_sets(new.key_sets)
        check_se_data(new.data)
        se = SecureElement(
            id=SeId(self._s.world.new_id()),
            issuer_id=principal.tenant_id,
            identifiers=new.identifiers,
            profile=new.profile,
            isd_aid=new.isd_aid or profile.isd_aid,
            isd_kvn=new.key_sets[0].kvn,
            sandbox=principal.sandbox,
            arrangement_id=new.arrangement_id,
            data=name_of_data(new.data),
        )
        return se, await self._key_sets(se, new.key_sets)

    async def check_shared(self, principal: Principal, profile: str, handles: Iterable[str]) -> None:
        """Check what many secure elements are going to share, before the first of them is registered.

        Raises:
            InvalidInputError: there is no such profile, or no such key in the issuer's keystore.
        """
        if profile:
            self._profile(profile)
        for handle in handles:
            if handle and not await self._s.keystore_of(principal.tenant_id).has(KeyHandle(handle)):
                raise InvalidInputError(
                    "A default names a key that is not in the issuer's keystore.",
                    advice="Import the key first, or correct the handle.",
                    field="/defaults",
                )

    async def reinstate_secure_element(self, principal: Principal, se_id: SeId) -> SecureElement:
        """Let a quarantined secure element prove itself again.

        Raises:
            IllegalTransitionError: it is not quarantined.
        """
        require(principal, TenantKind.SE_ISSUER)
        async with self._s.storage.transaction() as tx:
            se = await self._visible(tx, principal, se_id)
            moved = replace(se, state=SE_STATES.next(se.state, SeEvent.REINSTATE))
            saved = await tx.secure_elements.save(moved)
            await tx.audit.append(
                principal.tenant_id,
                actor=principal.tenant_id,
                action="secure-element.reinstated",
                subject=se_id,
            )
            await tell(tx, self._s.world, [se_event(saved)])
            await tx.commit()
        return saved

    # --- reading ---------------------------------------------------------------------------------------

    async def secure_element(self, principal: Principal, se_id: SeId) -> SecureElement:
        """Return a secure element of the caller."""
        async with self._s.storage.transaction() as tx:
            return await self._visible(tx, principal, se_id)

    async def secure_elements(self, principal: Principal, page: Page) -> list[SecureElement]:
        """Return a page of the issuer's secure elements; of all for the operator."""
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        issuer = None if principal.kind is TenantKind.OPERATOR else principal.tenant_id
        async with self._s.storage.transaction() as tx:
            return list(await tx.secure_elements.list(issuer, page))

    async def find_secure_element(self, principal: Principal, identifier: str) -> SecureElement | None:
        """Return the secure element that goes by this identifier, or None.

        A service provider may look up any on its side of the sandbox border; an issuer only its own.
        """
        require(principal, *TenantKind)
        issuer = principal.tenant_id if principal.kind is TenantKind.SE_ISSUER else None
        sandbox = None if principal.kind is TenantKind.OPERATOR else principal.sandbox
        async with self._s.storage.transaction() as tx:
            return await tx.secure_elements.find(None, identifier, issuer_id=issuer, sandbox=sandbox)

    async def card_content(
        self, principal: Principal, se_id: SeId
    ) -> tuple[ObservedContent, tuple[Claim, ...]]:
        """Return what is known to be on a card, and which of it this TSM put there."""
        async with self._s.storage.transaction() as tx:
            await self._visible(tx, principal, se_id)
            return await tx.secure_elements.content(se_id), await tx.secure_elements.claims(se_id)

    # --- checks ----------------------------------------------------------------------------------------

    async def _visible(self, tx: UnitOfWork, principal: Principal, se_id: SeId) -> SecureElement:
        se = await tx.secure_elements.get(se_id)
        if se is None or not may_see(principal, se):
            raise NotFoundError("There is no such secure element.")
        return se

    def _profile(self, name: str) -> SeProfile:
        profile = self._s.profiles.get(name)
        if profile is None:
            raise InvalidInputError(
                f"profile {quoted(name)} is not known; known are {', '.join(sorted(self._s.profiles))}.",
                field="/profile",
            )
        return profile

    async def _key_sets(self, se: SecureElement, given: tuple[NewKeySet, ...]) -> list[KeySet]:
        """Return the key sets as they are stored, checked and sealed for their rows."""
        profile = self._profile(se.profile)
        _check_key_sets(given)
        _check_reserved(given, profile)
        return [await self._key_set(se, profile, number, one) for number, one in enumerate(given)]

    async def _key_set(self, se: SecureElement, profile: SeProfile, number: int, given: NewKeySet) -> KeySet:
        return await self._held(se, profile, given, (se.issuer_id, se.isd_aid), where=f"/key_sets/{number}")

    async def _held(
        self,
        se: SecureElement,
        profile: SeProfile,
        given: NewKeySet,
        held: tuple[TenantId, Aid],
        *,
        where: str,
    ) -> KeySet:
        """Return a key set as it is stored, of the party that holds a domain: both are `held`."""
        owner, domain = held
        keystore = self._s.keystore_of(owner)
        kcvs = await _proved(keystore, profile, given, where=where)
        source: KeySource = given.source
        if isinstance(source, WrappedKeys):
            # a blob under a transport key would open in any row: seal it for its own
            context = key_set_context(se.id, domain, given.kvn)
            source = (await keystore.adopt_key_set(source, scp=profile.scp, context=context)).source
        return KeySet(
            owner_id=owner,
            se_id=se.id,
            sd_aid=domain,
            kvn=given.kvn,
            scp=profile.scp,
            key_length=profile.key_size,
            source=source,
            state=KeySetState.PENDING if given.counter is None else KeySetState.CURRENT,
            counter=given.counter,
            kcvs=kcvs,
        )


async def _proved(
    keystore: Keystore, profile: SeProfile, given: NewKeySet, *, where: str
) -> tuple[bytes, ...]:
    """Return the key set's check values; the keystore must be able to use it, and agree with the issuer."""
    name = f"Key set {given.kvn:02X}"
    source = given.source
    role, handle = (
        ("master", source.master) if isinstance(source, DiversifiedKeys) else ("transport", source.transport)
    )
    if not await keystore.has(handle):
        raise InvalidInputError(
            f"{name}: the {role} key {quoted(handle)} is not in the issuer's keystore.",
            advice="Import the key first, or correct the handle.",
            field=f"{where}/source/{role}",
        )
    try:
        kcvs = await keystore.key_check_values(source, scp=profile.scp)
    except KeystoreError as error:
        raise InvalidInputError(
            f"{name}: the keystore cannot use this source with profile {profile.name}: {error.detail}",
            field=f"{where}/source",
        ) from error
    if given.kcvs and given.kcvs != kcvs:
        wrong = [key for key, a, b in zip(("ENC", "MAC", "DEK"), given.kcvs, kcvs, strict=True) if a != b]
        raise InvalidInputError(
            f"{name}: the check value of {', '.join(wrong)} is not that of the keys in the keystore.",
            advice="Check master key, method and diversification data; the card was not touched.",
            field=f"{where}/kcvs",
        )
    return kcvs


def _check_identifiers(identifiers: tuple[SeIdentifier, ...]) -> None:
    if not 1 <= len(identifiers) <= MAX_LIST or len(set(identifiers)) != len(identifiers):
        raise InvalidInputError(f"identifiers must be 1 to {MAX_LIST} different names.", field="/identifiers")
    for number, identifier in enumerate(identifiers):
        if not _IDENTIFIER.fullmatch(identifier.value):
            raise InvalidInputError(
                "An identifier has 1 to 64 letters, digits or . _ : / + -.",
                field=f"/identifiers/{number}/value",
            )


def check_key_set(given: NewKeySet) -> None:
    """Check the values of one key set.

    Raises:
        InvalidInputError: one is not possible; its field is named.
    """
    problem = _key_set_problem(given)
    if problem is not None:
        raise InvalidInputError(problem[1], field=f"/{problem[0]}")


def _check_key_sets(key_sets: tuple[NewKeySet, ...]) -> None:
    versions = [key_set.kvn for key_set in key_sets]
    if not 1 <= len(versions) <= MAX_LIST or len(set(versions)) != len(versions):
        raise InvalidInputError(
            f"key_sets must be 1 to {MAX_LIST} sets with different key versions.", field="/key_sets"
        )
    for number, key_set in enumerate(key_sets):
        problem = _key_set_problem(key_set)
        if problem is not None:
            part, text = problem
            raise InvalidInputError(f"Key set {number}: {text}", field=f"/key_sets/{number}/{part}")


def _check_reserved(key_sets: tuple[NewKeySet, ...], profile: SeProfile) -> None:
    """A domain without own keys shows its issuer's: they must not look like a provider's."""
    reserved = reserved_key_versions(profile)
    for number, key_set in enumerate(key_sets):
        if key_set.kvn in reserved:
            raise InvalidInputError(
                f"Key set {number}: version {key_set.kvn} is used for the domains of service providers.",
                advice=f"Give it another version than {', '.join(map(str, sorted(reserved)))}.",
                field=f"/key_sets/{number}/kvn",
            )


def _key_set_problem(given: NewKeySet) -> tuple[str, str] | None:
    if not 1 <= given.kvn <= 0x7F:
        return "kvn", "a key version number is 1 to 127."
    if given.counter is not None and not 0 <= given.counter <= MAX_COUNTER:
        return "counter", f"a sequence counter is 0 to {MAX_COUNTER}."
    if given.kcvs and [len(kcv) for kcv in given.kcvs] != [KCV_BYTES] * 3:
        return "kcvs", "three check values of three bytes are needed: ENC, MAC, DEK."
    if isinstance(given.source, DiversifiedKeys):
        if given.source.method not in _METHODS:
            return "source/method", f"the method must be one of {', '.join(sorted(_METHODS))}."
        if len(given.source.kdd) != KDD_LENGTH:
            return "source/kdd", f"key diversification data has {KDD_LENGTH} bytes."
    elif not given.source.blob:
        return "source/blob", "the wrapped keys are missing."
    return None

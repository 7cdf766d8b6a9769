"""The key sets of one party on secure elements: written down before they are sent, handed over, retired.

The keystore is never called inside a transaction: what it makes is stored afterwards, guarded by what was
read before. A key set that does not open in its place is audited by its owner and never used.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import SeProfile
from opentsm.card.scp.channel import InitializeUpdateResponse
from opentsm.tsm.custody.holder import AGREEMENT, Custody, ProvisionedKeySet, agreed_handle, transport_handle
from opentsm.tsm.custody.work import Handover
from opentsm.tsm.domain.arrangement import HandOverGrade
from opentsm.tsm.domain.secure_element import (
    BoundKeys,
    DiversifiedKeys,
    KeySet,
    KeySetState,
    WrappedKeys,
    key_set_context,
)
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.sessions import SessionKind
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import (
    InvariantError,
    KeyMaterialError,
    NotFoundError,
    PeerFaultError,
    PlanRefusedError,
    StaleVersionError,
)
from opentsm.tsm.kernel.ids import KeyHandle, SeId, TenantId
from opentsm.tsm.ports.peer import SegmentReport, SegmentRequest
from opentsm.tsm.ports.unit_of_work import UnitOfWork

replace = msgspec.structs.replace

_RELAY_TRUSTED = HandOverGrade.RELAY_TRUSTED.value
_PUTTING = (s.PutFirstKeys, s.AgreeKeys, s.ReplaceKeys)


class KeySetCustody:
    """Keeps the key sets of one tenant."""

    def __init__(self, custody: Custody) -> None:
        self._c = custody

    # --- for a session ---------------------------------------------------------------------------------

    async def of_session(self, request: SegmentRequest) -> KeySet:
        """Return the key set that a session opens with.

        Raises:
            NotFoundError: there is none on record, or it is retired.
        """
        session = request.session
        keys = await self._get(request.se_id, session.key_sd, session.kvn)
        if keys is None or keys.state is KeySetState.RETIRED:
            raise NotFoundError(f"There is no key set {session.kvn:02X} for {session.key_sd} on record.")
        return keys

    async def new_for(self, request: SegmentRequest, profile: SeProfile) -> KeySet | None:
        """Return the key set that this session puts on the card: one written down before, or a new one."""
        puts = [step for step in request.session.steps if isinstance(step, s.PutFirstKeys | s.ReplaceKeys)]
        if not puts:
            return None
        if len(puts) > 1:
            raise InvariantError("A session puts at most one key set on the card.")
        step = puts[0]
        kvn = step.kvn if isinstance(step, s.PutFirstKeys) else step.new_kvn
        known = await self._get(request.se_id, step.domain, kvn)
        if known is not None and known.state is KeySetState.PENDING and _is_meant(step, known):
            async with self.opened(known):
                await self._c.keystore.key_check_values(known.bound, scp=known.scp)
            return known
        made = await self._made(request, step, profile, kvn)
        return KeySet(
            owner_id=self._c.tenant_id,
            se_id=request.se_id,
            sd_aid=step.domain,
            kvn=kvn,
            scp=profile.scp,
            key_length=profile.key_size,
            source=made.source,
            kcvs=made.kcvs,
            temporary=isinstance(step, s.PutFirstKeys),
        )

    async def _made(
        self, request: SegmentRequest, step: s.PutFirstKeys | s.ReplaceKeys, profile: SeProfile, kvn: int
    ) -> ProvisionedKeySet:
        """Return the keys for a domain: its provider's, where it asked for some, else random ones.

        A domain of an arrangement is no service's: nobody asked for its keys.
        """
        of_service = request.instance_id is not None and isinstance(step, s.ReplaceKeys)
        if self._c.provisioner is not None and of_service:
            provisioned = await self._c.provisioner.provision(request, profile, step.domain, kvn)
            if provisioned is not None:
                return provisioned
        if isinstance(step, s.ReplaceKeys) and step.master:
            return await self._derived(request, step, profile)
        made = await self._c.keystore.generate_key_set(
            scp=profile.scp,
            key_length=profile.key_size,
            context=key_set_context(request.se_id, step.domain, kvn),
        )
        return ProvisionedKeySet(made.source, made.kcvs)

    async def _derived(
        self, request: SegmentRequest, step: s.ReplaceKeys, profile: SeProfile
    ) -> ProvisionedKeySet:
        """Return the keys that another master key gives for the card, as the present set was derived."""
        present = await self._get(request.se_id, step.domain, step.old_kvn)
        if present is None or not isinstance(present.source, DiversifiedKeys):
            raise NotFoundError(f"How to derive keys for {step.domain} is not on record.")
        master = KeyHandle(step.master)
        if not await self._c.keystore.has(master):
            raise NotFoundError("There is no master key of this name.", field="/parameters/master")
        source = replace(present.source, master=master)
        context = key_set_context(request.se_id, step.domain, step.new_kvn)
        bound = BoundKeys(source=source, context=context)
        return ProvisionedKeySet(source, await self._c.keystore.key_check_values(bound, scp=profile.scp))

    @asynccontextmanager
    async def opened(self, keys: KeySet) -> AsyncIterator[None]:
        """Audit it, in the owner's chain, when the keystore finds that a stored key set is damaged.

        Raises:
            KeyMaterialError: that is so; whoever asked quarantines the secure element.
        """
        try:
            yield
        except KeyMaterialError as error:
            async with self._c.storage.transaction() as tx:
                await self._audit(tx, "key-set.damaged", keys.se_id, keys.sd_aid, keys.kvn)
                await tx.commit()
            raise KeyMaterialError(
                f"The stored key set {keys.kvn:02X} of {keys.sd_aid} was changed, or belongs elsewhere.",
                advice="No key was used. Find out who changed the database, restore the row, then reinstate.",
            ) from error

    async def note_session(
        self, tx: UnitOfWork, request: SegmentRequest, init: InitializeUpdateResponse
    ) -> None:
        """Record that the card proved a key set, and its counter."""
        session = request.session
        keys = await tx.key_sets.get(self._c.tenant_id, request.se_id, session.key_sd, session.kvn)
        if keys is None:
            raise InvariantError("A session was opened under a key set that is not on record.")
        await tx.key_sets.put(replace(keys, counter=init.sequence_counter, state=KeySetState.CURRENT))
        if keys.state is KeySetState.PENDING:
            await self._retire_predecessors(tx, keys)

    async def _retire_predecessors(self, tx: UnitOfWork, proven: KeySet) -> None:
        """A set that was only written down has proved itself: what it replaced is gone from the card."""
        for known in await tx.key_sets.list(self._c.tenant_id, proven.se_id, proven.sd_aid):
            if known.kvn != proven.kvn and known.state is KeySetState.CURRENT:
                await tx.key_sets.put(replace(known, state=KeySetState.RETIRED))

    async def settle(self, tx: UnitOfWork, request: SegmentRequest, report: SegmentReport) -> None:
        """Record which key sets the card confirmed to have stored or replaced."""
        for step, outcome in zip(request.session.steps, report.steps, strict=True):
            mine = request.session.kind is SessionKind.CARRIED or not isinstance(step, s.AgreeKeys)
            if not outcome.done or not isinstance(step, _PUTTING) or not mine:
                continue
            kvn = step.new_kvn if isinstance(step, s.ReplaceKeys) else step.kvn
            for known in await tx.key_sets.list(self._c.tenant_id, request.se_id, step.domain):
                if known.kvn == kvn:
                    await tx.key_sets.put(replace(known, state=KeySetState.CURRENT))
                elif isinstance(step, s.ReplaceKeys) and known.kvn == step.old_kvn:
                    await tx.key_sets.put(replace(known, state=KeySetState.RETIRED))
            if isinstance(step, s.AgreeKeys):
                grade = HandOverGrade.CONFIDENTIAL.value
                await self._audit(tx, "key-set.agreed", request.se_id, step.domain, kvn, grade=grade)
            else:
                await self._audit(tx, "key-set.stored", request.se_id, step.domain, kvn)

    # --- between parties -------------------------------------------------------------------------------

    async def taken_over(self, request: SegmentRequest) -> KeySet | None:
        """Return the key set that came with a request, sealed for its new place; None when it is known.

        Raises:
            PeerFaultError: it is not the session's, or not the one whose check values came with it.
        """
        if not request.handover:
            return None
        trust = None if self._c.trust is None else await self._c.trust.in_cards_of(request.profile)
        if trust is not None and trust.required:
            raise PlanRefusedError(
                "The owner of the security domain takes it over confidentially only.",
                advice="Give the secure element an arrangement whose handover is confidential.",
            )
        offered = from_json(Handover, request.handover)
        if (offered.sd_aid, offered.kvn) != (request.session.key_sd, request.session.kvn):
            raise PeerFaultError("The keys that were handed over are not those of the session.")
        known = await self._get(request.se_id, offered.sd_aid, offered.kvn)
        if known is not None and known.kcvs == offered.kcvs and known.state is not KeySetState.RETIRED:
            return None
        if known is not None and not known.temporary and known.state is not KeySetState.RETIRED:
            raise PeerFaultError("Keys that somebody else knows do not take the place of this party's own.")
        handle = await self._agreed_with(request.issuer_id, offered.point)
        adopted = await self._c.keystore.adopt_key_set(
            WrappedKeys(transport=handle, blob=offered.blob),
            scp=offered.scp,
            context=key_set_context(request.se_id, offered.sd_aid, offered.kvn),
        )
        if adopted.kcvs != offered.kcvs:
            raise PeerFaultError("The keys that were handed over have other check values than it was said.")
        return KeySet(
            owner_id=self._c.tenant_id,
            se_id=request.se_id,
            sd_aid=offered.sd_aid,
            kvn=offered.kvn,
            scp=offered.scp,
            key_length=offered.key_length,
            source=adopted.source,
            state=KeySetState.PENDING,
            kcvs=adopted.kcvs,
            temporary=True,
        )

    async def take_over(self, tx: UnitOfWork, keys: KeySet, issuer_id: TenantId) -> None:
        """Store a key set that an issuer handed over."""
        await tx.key_sets.put(keys)
        details = {"actor": str(issuer_id), "grade": _RELAY_TRUSTED}
        await self._audit(tx, "key-set.taken-over", keys.se_id, keys.sd_aid, keys.kvn, **details)

    async def transport_point(self, issuer_id: TenantId) -> bytes:
        """Return this party's key for the agreement on transport keys; see `SegmentOwner.transport_point`."""
        if await self._c.keystore.has(transport_handle(issuer_id, self._c.tenant_id)):
            return b""
        return await self._c.keystore.agreement_key(AGREEMENT)

    async def _agreed_with(self, issuer_id: TenantId, point: bytes) -> KeyHandle:
        """Return the handle of the key under which an issuer wraps for this party."""
        if not point:
            return transport_handle(issuer_id, self._c.tenant_id)
        own = await self._c.keystore.agreement_key(AGREEMENT)
        handle = agreed_handle(issuer_id, point, self._c.tenant_id, own)
        if not await self._c.keystore.has(handle):
            await self._c.keystore.agree_transport_key(handle, AGREEMENT, point)
        return handle

    async def _agreed_for(self, provider_id: TenantId, point: bytes) -> tuple[KeyHandle, bytes]:
        """Return the handle of the key under which to wrap for a provider, and this party's own point."""
        if not point:
            return transport_handle(self._c.tenant_id, provider_id), b""
        own = await self._c.keystore.agreement_key(AGREEMENT)
        handle = agreed_handle(self._c.tenant_id, own, provider_id, point)
        if not await self._c.keystore.has(handle):
            await self._c.keystore.agree_transport_key(handle, AGREEMENT, point)
        return handle, own

    async def hand_over(self, se_id: SeId, sd_aid: Aid, kvn: int, to: TenantId, point: bytes) -> bytes:
        """Return a temporary key set wrapped for a provider; see `SegmentOwner.hand_over`."""
        keys = await self._get(se_id, sd_aid, kvn)
        if keys is None or keys.state is KeySetState.RETIRED or not keys.temporary:
            # a party's own keys never leave it, whoever asks
            raise NotFoundError(f"There is no key set {kvn:02X} for {sd_aid} to hand over.")
        handle, own = await self._agreed_for(to, point)
        async with self.opened(keys):
            wrapped = await self._c.keystore.export_key_set(keys.bound, handle)
            kcvs = keys.kcvs or await self._c.keystore.key_check_values(keys.bound, scp=keys.scp)
        async with self._c.storage.transaction() as tx:
            if await tx.key_sets.get(self._c.tenant_id, se_id, sd_aid, kvn) != keys:
                raise StaleVersionError("The key set changed while it was wrapped.")
            await self._audit(tx, "key-set.handed-over", se_id, sd_aid, kvn, to=str(to), grade=_RELAY_TRUSTED)
            await tx.commit()
        return to_json(
            Handover(
                sd_aid=sd_aid,
                kvn=kvn,
                scp=keys.scp,
                key_length=keys.key_length,
                blob=wrapped.blob,
                kcvs=kcvs,
                point=own,
            )
        )

    async def forget_domain(self, se_id: SeId, sd_aid: Aid) -> None:
        """Retire the key sets of a domain that is gone; see `SegmentOwner.forget_domain`."""
        async with self._c.storage.transaction() as tx:
            for known in await tx.key_sets.list(self._c.tenant_id, se_id, sd_aid):
                if known.state is not KeySetState.RETIRED:
                    await tx.key_sets.put(replace(known, state=KeySetState.RETIRED))
                    await self._audit(tx, "key-set.retired", se_id, sd_aid, known.kvn)
            await tx.commit()

    async def _get(self, se_id: SeId, sd_aid: Aid, kvn: int) -> KeySet | None:
        async with self._c.storage.transaction() as tx:
            return await tx.key_sets.get(self._c.tenant_id, se_id, sd_aid, kvn)

    async def _audit(
        self,
        tx: UnitOfWork,
        action: str,
        se_id: SeId,
        sd_aid: Aid,
        kvn: int,
        *,
        actor: str = "tsm",
        **more: str,
    ) -> None:
        details: dict[str, str | int] = {"security_domain": str(sd_aid), "key_version": kvn, **more}
        await tx.audit.append(
            self._c.tenant_id, actor=actor, action=action, subject=str(se_id), details=details
        )


def _is_meant(step: s.PutFirstKeys | s.ReplaceKeys, known: KeySet) -> bool:
    """Say whether a set that was written down before is the one wanted: derived from this master, or not."""
    master = step.master if isinstance(step, s.ReplaceKeys) else ""
    return not master or (isinstance(known.source, DiversifiedKeys) and known.source.master == master)

"""A party's custodian: opens, wraps and checks the sessions whose keys it holds.

Each phase is one transaction of the custodian's own, and may be asked for again: the stored answer is
returned, nothing is wrapped twice. Key sets are written down before they are sent to a card.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.profiles import SeProfile
from opentsm.tsm.custody import findings, sessions
from opentsm.tsm.custody.plain import PlainSessions
from opentsm.tsm.custody.work import Handover, SegmentWork
from opentsm.tsm.domain.exchange import Command, Segment, SegmentState
from opentsm.tsm.domain.secure_element import KeySet, KeySetState, WrappedKeys
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.compile import Fills, Grouping, PlainCommand, compile_step
from opentsm.tsm.engine.plan import SessionKind
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import (
    ConflictError,
    InvariantError,
    NotFoundError,
    PeerFaultError,
    StaleVersionError,
    WrongCardError,
)
from opentsm.tsm.kernel.ids import KeyHandle, SegmentId, SeId, TenantId
from opentsm.tsm.ports.keystore import ChannelContext, Keystore
from opentsm.tsm.ports.peer import SegmentReport, SegmentRequest
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World

replace = msgspec.structs.replace


def transport_handle(issuer_id: TenantId, provider_id: TenantId) -> KeyHandle:
    """Return the handle of the transport key that an issuer and a provider share."""
    return KeyHandle(f"transport/{issuer_id}/{provider_id}")


class PersonalizationSource(Protocol):
    """Makes the data groupings of a personalisation; a provider has one, an issuer has none."""

    async def groupings(
        self, request: SegmentRequest, step: s.Personalize, keys: KeySet, context: ChannelContext
    ) -> tuple[Grouping, ...]:
        """Return the groupings of a recipe, encrypted where the recipe says so."""
        ...


@dataclass(frozen=True, slots=True)
class Custody:
    """What a custodian works with."""

    tenant_id: TenantId
    storage: Storage
    keystore: Keystore
    world: World
    profiles: Mapping[str, SeProfile]
    personalization: PersonalizationSource | None = None
    plain: PlainSessions | None = None


class Custodian:
    """Implements `ports.peer.SegmentOwner` for one tenant."""

    def __init__(self, custody: Custody) -> None:
        self._c = custody

    # --- phase 1 ---------------------------------------------------------------------------------------

    async def prepare_segment(self, request: SegmentRequest) -> tuple[Command, ...]:
        """Return the commands that open the session; see `SegmentOwner.prepare_segment`."""
        async with self._c.storage.transaction() as tx:
            known = await tx.segments.get(self._c.tenant_id, request.segment_id)
        if known is not None:
            return (await self._open(known)).opening
        work = await self._first_work(request)
        try:
            await self._begin(request, work)
        except ConflictError as error:
            raise StaleVersionError("Another worker opened the same segment at the same time.") from error
        return work.opening

    async def _begin(self, request: SegmentRequest, work: SegmentWork) -> None:
        async with self._c.storage.transaction() as tx:
            await self._take_over_keys(tx, request)
            await tx.segments.add(
                Segment(
                    id=request.segment_id,
                    owner_id=self._c.tenant_id,
                    se_id=request.se_id,
                    operation_id=request.operation_id,
                    sd_aid=request.session.selected,
                    state=SegmentState.PREPARED,
                    sealed=await self._seal(work),
                )
            )
            await tx.commit()

    async def _first_work(self, request: SegmentRequest) -> SegmentWork:
        profile = self._profile(request)
        if request.session.kind is SessionKind.PLAIN:
            return await self._plain().begin(request, self._c.world)
        challenge = self._c.world.random(profile.challenge_length)
        opening = sessions.opening_commands(request.session, challenge)
        return SegmentWork(request=request, host_challenge=challenge, opening=opening)

    async def _take_over_keys(self, tx: UnitOfWork, request: SegmentRequest) -> None:
        if not request.handover:
            return
        offered = from_json(Handover, request.handover)
        if (offered.sd_aid, offered.kvn) != (request.session.key_sd, request.session.kvn):
            raise PeerFaultError("The keys that were handed over are not those of the session.")
        known = await tx.key_sets.get(self._c.tenant_id, request.se_id, offered.sd_aid, offered.kvn)
        if known is not None and known.kcvs == offered.kcvs and known.state is not KeySetState.RETIRED:
            return
        issuer = request.issuer_id
        await tx.key_sets.put(
            KeySet(
                owner_id=self._c.tenant_id,
                se_id=request.se_id,
                sd_aid=offered.sd_aid,
                kvn=offered.kvn,
                scp=offered.scp,
                key_length=offered.key_length,
                source=WrappedKeys(transport=transport_handle(issuer, self._c.tenant_id), blob=offered.blob),
                state=KeySetState.PENDING,
                kcvs=offered.kcvs,
            )
        )
        await tx.audit.append(
            self._c.tenant_id,
            actor=str(issuer),
            action="key-set.taken-over",
            subject=str(request.se_id),
            details={"security_domain": str(offered.sd_aid), "key_version": offered.kvn},
        )

    # --- phase 2 ---------------------------------------------------------------------------------------

    async def wrap_segment(self, segment_id: SegmentId, opening: tuple[str, ...]) -> tuple[Command, ...]:
        """Return the session's protected commands; see `SegmentOwner.wrap_segment`."""
        segment = await self._get(segment_id)
        work = await self._open(segment)
        if segment.state is not SegmentState.PREPARED:
            return work.commands
        if work.request.session.kind is SessionKind.PLAIN:
            wrapped = await self._plain().go_on(work, opening, self._c.keystore)
            pending = None
        else:
            wrapped, pending = await self._wrap(work, opening)
        async with self._c.storage.transaction() as tx:
            if pending is not None:
                await tx.key_sets.put(pending)
            await self._note_session(tx, wrapped)
            await tx.segments.save(
                replace(segment, state=SegmentState.WRAPPED, sealed=await self._seal(wrapped))
            )
            await tx.commit()
        return wrapped.commands

    async def _wrap(self, work: SegmentWork, opening: tuple[str, ...]) -> tuple[SegmentWork, KeySet | None]:
        request, profile = work.request, self._profile(work.request)
        if len(opening) != len(work.opening):
            raise WrongCardError("The card did not answer the opening of the session.")
        init = sessions.read_challenge(profile, request.session, opening[-1])
        work = replace(work, session=init.to_bytes())
        keys = await self._session_keys(request)
        self._refuse_old_counter(keys, init.sequence_counter, profile)
        context = self._context(work)
        channel = sessions.open_channel(
            profile, await self._c.keystore.derive_session(keys.source, context), init, work.host_challenge
        )
        pending = await self._new_key_set(request)
        plain: list[tuple[PlainCommand, ...]] = []
        for step in request.session.steps:
            fills = await self._fills(request, step, keys, context, pending)
            plain.append(compile_step(step, profile, fills))
        script = sessions.wrap(profile, channel, plain)
        kcvs = pending.kcvs if pending else ()
        return replace(work, commands=script.commands, sent=script.sent, new_kcvs=kcvs), pending

    def _refuse_old_counter(self, keys: KeySet, counter: int | None, profile: SeProfile) -> None:
        """A counter that does not grow means another card, an old image of it, or a replayed answer."""
        if profile.scp != 3 or counter is None or keys.counter is None or counter > keys.counter:
            return
        raise WrongCardError(
            f"The card's sequence counter is {counter}, although {keys.counter} was seen before.",
            advice="The card was replaced or rolled back, or the answer is a replay: find out which.",
        )

    async def _note_session(self, tx: UnitOfWork, work: SegmentWork) -> None:
        if not work.session:
            return
        session = work.request.session
        keys = await tx.key_sets.get(self._c.tenant_id, work.request.se_id, session.key_sd, session.kvn)
        if keys is None:
            raise InvariantError("A session was opened under a key set that is not on record.")
        init = sessions.parse(work.session, self._profile(work.request))
        await tx.key_sets.put(replace(keys, counter=init.sequence_counter, state=KeySetState.CURRENT))
        if keys.state is KeySetState.PENDING:
            await self._retire_predecessors(tx, keys)

    async def _retire_predecessors(self, tx: UnitOfWork, proven: KeySet) -> None:
        """A set that was only written down has proved itself: what it replaced is gone from the card."""
        for known in await tx.key_sets.list(self._c.tenant_id, proven.se_id, proven.sd_aid):
            if known.kvn != proven.kvn and known.state is KeySetState.CURRENT:
                await tx.key_sets.put(replace(known, state=KeySetState.RETIRED))

    async def _session_keys(self, request: SegmentRequest) -> KeySet:
        session = request.session
        async with self._c.storage.transaction() as tx:
            keys = await tx.key_sets.get(self._c.tenant_id, request.se_id, session.key_sd, session.kvn)
        if keys is None or keys.state is KeySetState.RETIRED:
            raise NotFoundError(f"There is no key set {session.kvn:02X} for {session.key_sd} on record.")
        return keys

    async def _new_key_set(self, request: SegmentRequest) -> KeySet | None:
        """Return the key set that this session puts on the card: one written down before, or a new one."""
        puts = [step for step in request.session.steps if isinstance(step, s.PutFirstKeys | s.ReplaceKeys)]
        if not puts:
            return None
        if len(puts) > 1:
            raise InvariantError("A session puts at most one key set on the card.")
        step = puts[0]
        kvn = step.kvn if isinstance(step, s.PutFirstKeys) else step.new_kvn
        async with self._c.storage.transaction() as tx:
            known = await tx.key_sets.get(self._c.tenant_id, request.se_id, step.domain, kvn)
        if known is not None and known.state is KeySetState.PENDING:
            return known
        profile = self._profile(request)
        made = await self._c.keystore.generate_key_set(scp=profile.scp, key_length=profile.key_size)
        return KeySet(
            owner_id=self._c.tenant_id,
            se_id=request.se_id,
            sd_aid=step.domain,
            kvn=kvn,
            scp=profile.scp,
            key_length=profile.key_size,
            source=made.source,
            kcvs=made.kcvs,
        )

    async def _fills(
        self,
        request: SegmentRequest,
        step: s.Step,
        keys: KeySet,
        context: ChannelContext,
        pending: KeySet | None,
    ) -> Fills:
        profile, keystore = self._profile(request), self._c.keystore
        if isinstance(step, s.Load):
            return Fills(load_block=await self._load_block(step))
        if isinstance(step, s.Personalize):
            if self._c.personalization is None:
                raise InvariantError("This party personalises nothing.")
            groupings = await self._c.personalization.groupings(request, step, keys, context)
            return Fills(groupings=groupings)
        if pending is not None and isinstance(step, s.PutFirstKeys) and step.forwarded:
            data = await keystore.store_data_key_set(
                keys.source, context, pending.source, new_scp=profile.scp, kvn=step.kvn
            )
            return Fills(key_data=data)
        if pending is not None and isinstance(step, s.PutFirstKeys | s.ReplaceKeys):
            fields = await keystore.put_key_fields(
                keys.source, context, pending.source, new_scp=profile.scp, layout=profile.aes_layout
            )
            return Fills(put_key_fields=fields)
        return Fills()

    async def _load_block(self, step: s.Load) -> bytes:
        async with self._c.storage.transaction() as tx:
            block = await tx.load_files.block(step.load_file.sha256)
        if block is None:
            raise NotFoundError(f"The load file {step.load_file.aid} is not in the store.")
        return block

    # --- phase 3 ---------------------------------------------------------------------------------------

    async def check_segment(self, segment_id: SegmentId, answers: tuple[str, ...]) -> SegmentReport:
        """Verify the answers and say what is certain; see `SegmentOwner.check_segment`."""
        segment = await self._get(segment_id)
        work = await self._open(segment)
        if work.report is not None:
            return work.report
        if work.request.session.kind is SessionKind.PLAIN:
            report = await self._plain().check(work, answers, self._c.keystore)
        else:
            report = await self._check(work, answers)
        done = SegmentWork(request=work.request, report=report)
        async with self._c.storage.transaction() as tx:
            await self._settle_keys(tx, work, report)
            await tx.segments.save(
                replace(segment, state=SegmentState.CHECKED, sealed=await self._seal(done))
            )
            await tx.commit()
        return report

    async def _check(self, work: SegmentWork, answers: tuple[str, ...]) -> SegmentReport:
        request, profile = work.request, self._profile(work.request)
        if not work.sent:
            return SegmentReport(steps=findings.step_reports(request.session.steps, (), (), ()))
        keys = await self._session_keys(request)
        derived = await self._c.keystore.derive_session(keys.source, self._context(work))
        init = sessions.parse(work.session, profile)
        channel = sessions.open_channel(profile, derived, init, work.host_challenge)
        checked = sessions.unwrap(channel, profile, work.sent, answers)
        return SegmentReport(
            authenticated=not checked or checked[0].accepted,
            steps=findings.step_reports(request.session.steps, work.sent, checked, work.new_kcvs),
            registry=findings.registry_report(checked, request.session.selected),
        )

    async def _settle_keys(self, tx: UnitOfWork, work: SegmentWork, report: SegmentReport) -> None:
        request = work.request
        for step, outcome in zip(request.session.steps, report.steps, strict=True):
            if not outcome.done or not isinstance(step, s.PutFirstKeys | s.ReplaceKeys):
                continue
            kvn = step.kvn if isinstance(step, s.PutFirstKeys) else step.new_kvn
            for known in await tx.key_sets.list(self._c.tenant_id, request.se_id, step.domain):
                if known.kvn == kvn:
                    await tx.key_sets.put(replace(known, state=KeySetState.CURRENT))
                elif isinstance(step, s.ReplaceKeys) and known.kvn == step.old_kvn:
                    await tx.key_sets.put(replace(known, state=KeySetState.RETIRED))
            await tx.audit.append(
                self._c.tenant_id,
                actor="tsm",
                action="key-set.stored",
                subject=str(request.se_id),
                details={"security_domain": str(step.domain), "key_version": kvn},
            )

    # --- beside sessions -------------------------------------------------------------------------------

    async def hand_over(self, se_id: SeId, sd_aid: Aid, kvn: int, to: TenantId) -> bytes:
        """Return a temporary key set wrapped for a provider; see `SegmentOwner.hand_over`."""
        async with self._c.storage.transaction() as tx:
            keys = await tx.key_sets.get(self._c.tenant_id, se_id, sd_aid, kvn)
            if keys is None or keys.state is KeySetState.RETIRED:
                raise NotFoundError(f"There is no key set {kvn:02X} for {sd_aid} to hand over.")
            wrapped = await self._c.keystore.export_key_set(
                keys.source, transport_handle(self._c.tenant_id, to)
            )
            await tx.audit.append(
                self._c.tenant_id,
                actor="tsm",
                action="key-set.handed-over",
                subject=str(se_id),
                details={"security_domain": str(sd_aid), "key_version": kvn, "to": str(to)},
            )
            await tx.commit()
        return to_json(
            Handover(
                sd_aid=sd_aid,
                kvn=kvn,
                scp=keys.scp,
                key_length=keys.key_length,
                blob=wrapped.blob,
                kcvs=keys.kcvs,
            )
        )

    async def forget_domain(self, se_id: SeId, sd_aid: Aid) -> None:
        """Retire the key sets of a domain that is gone; see `SegmentOwner.forget_domain`."""
        async with self._c.storage.transaction() as tx:
            for known in await tx.key_sets.list(self._c.tenant_id, se_id, sd_aid):
                if known.state is not KeySetState.RETIRED:
                    await tx.key_sets.put(replace(known, state=KeySetState.RETIRED))
                    await tx.audit.append(
                        self._c.tenant_id,
                        actor="tsm",
                        action="key-set.retired",
                        subject=str(se_id),
                        details={"security_domain": str(sd_aid), "key_version": known.kvn},
                    )
            await tx.commit()

    # --- small things ----------------------------------------------------------------------------------

    def _profile(self, request: SegmentRequest) -> SeProfile:
        try:
            return self._c.profiles[request.profile]
        except KeyError:
            raise NotFoundError(f"The card profile {request.profile!r} is not known here.") from None

    def _plain(self) -> PlainSessions:
        if self._c.plain is None:
            raise InvariantError("This party runs no sessions without a secure channel.")
        return self._c.plain

    def _context(self, work: SegmentWork) -> ChannelContext:
        profile = self._profile(work.request)
        return ChannelContext(
            scp=profile.scp,
            i=profile.i,
            host_challenge=work.host_challenge,
            initialize_update=work.session,
        )

    async def _get(self, segment_id: SegmentId) -> Segment:
        async with self._c.storage.transaction() as tx:
            segment = await tx.segments.get(self._c.tenant_id, segment_id)
        if segment is None:
            raise NotFoundError("There is no such segment.")
        return segment

    async def _seal(self, work: SegmentWork) -> bytes:
        return await self._c.keystore.seal(to_json(work), context=f"segment:{work.request.segment_id}")

    async def _open(self, segment: Segment) -> SegmentWork:
        return from_json(
            SegmentWork, await self._c.keystore.open(segment.sealed, context=f"segment:{segment.id}")
        )

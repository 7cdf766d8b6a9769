"""A party's custodian: opens, wraps and checks the sessions whose keys it holds.

Each phase may be asked for again: the stored answer is returned, nothing is wrapped twice. The keystore does
its part first; then one transaction, guarded by the segment's version, stores what came of it.
"""

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import CardError
from opentsm.card.gp.confidential_setup import is_confidential_setup
from opentsm.card.profiles import SeProfile
from opentsm.tsm.custody import findings, sessions
from opentsm.tsm.custody.agreements import Agreements
from opentsm.tsm.custody.holder import Custody
from opentsm.tsm.custody.key_sets import KeySetCustody
from opentsm.tsm.custody.plain import PlainSessions
from opentsm.tsm.custody.tokens import TokenCustody
from opentsm.tsm.custody.work import SegmentWork
from opentsm.tsm.domain.delegation import proof_key
from opentsm.tsm.domain.exchange import Command, Segment, SegmentState
from opentsm.tsm.domain.secure_element import KeySet
from opentsm.tsm.engine import steps as s
from opentsm.tsm.engine.compile import Fills, PersonalizationCommand, PlainCommand, compile_step
from opentsm.tsm.engine.sessions import SessionKind
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import (
    ConflictError,
    InvariantError,
    NotFoundError,
    PeerFaultError,
    StaleVersionError,
    WrongCardError,
)
from opentsm.tsm.kernel.ids import SegmentId, SeId, TenantId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.keystore import ChannelContext
from opentsm.tsm.ports.peer import SegmentReport, SegmentRequest

replace = msgspec.structs.replace


class Custodian:
    """Implements `ports.peer.SegmentOwner` for one tenant."""

    def __init__(self, custody: Custody) -> None:
        self._c = custody
        self._keys = KeySetCustody(custody)
        self._agreements = Agreements(custody)
        self._tokens = TokenCustody(custody.tenant_id, custody.issuer_of)

    # --- phase 1 ---------------------------------------------------------------------------------------

    async def prepare_segment(self, request: SegmentRequest) -> tuple[Command, ...]:
        """Return the commands that open the session; see `SegmentOwner.prepare_segment`."""
        async with self._c.storage.transaction() as tx:
            known = await tx.segments.get(self._c.tenant_id, request.segment_id)
        if known is not None:
            return (await self._open(known)).opening
        # the keys that came with the request get a row of their own: no copy of them stays here
        work = await self._first_work(replace(request, handover=b""))
        taken = await self._keys.taken_over(request)
        try:
            await self._begin(request, work, taken)
        except ConflictError as error:
            raise StaleVersionError("Another worker opened the same segment at the same time.") from error
        return work.opening

    async def _begin(self, request: SegmentRequest, work: SegmentWork, taken: KeySet | None) -> None:
        segment = Segment(
            id=request.segment_id,
            owner_id=self._c.tenant_id,
            se_id=request.se_id,
            operation_id=request.operation_id,
            sd_aid=request.session.selected,
            state=SegmentState.PREPARED,
            sealed=await self._seal(work),
        )
        async with self._c.storage.transaction() as tx:
            if taken is not None:
                await self._keys.take_over(tx, taken, request.issuer_id)
            await tx.segments.add(segment)
            await tx.commit()

    async def _first_work(self, request: SegmentRequest) -> SegmentWork:
        profile = self._profile(request)
        match request.session.kind:
            case SessionKind.PLAIN:
                return await self._plain().begin(request, self._c.world)
            case SessionKind.CARRIED:
                return await self._agreements.begin(request, profile)
            case SessionKind.CONTINUED:
                return await self._continued(request)
        challenge = self._c.world.random(profile.challenge_length)
        opening = sessions.opening_commands(request.session, challenge)
        return SegmentWork(request=request, host_challenge=challenge, opening=opening)

    async def _continued(self, request: SegmentRequest) -> SegmentWork:
        """Return the work that goes on in the secure channel of an earlier segment."""
        if request.continues is None:
            raise InvariantError("A session that goes on names the one before it.")
        before = await self._open(await self._get(request.continues))
        session = before.request.session
        same = (session.selected, session.key_sd, session.kvn, before.request.operation_id)
        own = request.session
        if not before.last or same != (own.selected, own.key_sd, own.kvn, request.operation_id):
            raise InvariantError("This session is not one that can be gone on with.")
        return SegmentWork(
            request=request, host_challenge=before.host_challenge, session=before.session, last=before.last
        )

    # --- phase 2 ---------------------------------------------------------------------------------------

    async def wrap_segment(self, segment_id: SegmentId, opening: tuple[str, ...]) -> tuple[Command, ...]:
        """Return the session's protected commands; see `SegmentOwner.wrap_segment`."""
        segment = await self._get(segment_id)
        work = await self._open(segment)
        if segment.state is not SegmentState.PREPARED:
            return work.commands
        wrapped, pending = await self._body(work, opening)
        done = replace(segment, state=SegmentState.WRAPPED, sealed=await self._seal(wrapped))
        async with self._c.storage.transaction() as tx:
            if pending is not None:
                await tx.key_sets.put(pending)
            if wrapped.session and not wrapped.last:
                init = sessions.parse(wrapped.session, self._profile(work.request))
                await self._keys.note_session(tx, work.request, init)
            await tx.segments.save(done)
            await tx.commit()
        return wrapped.commands

    async def _body(self, work: SegmentWork, opening: tuple[str, ...]) -> tuple[SegmentWork, KeySet | None]:
        """Return the work with what is sent, and the key set that it puts on the card."""
        match work.request.session.kind:
            case SessionKind.PLAIN:
                commands = await self._commands(work.request)
                return await self._plain().go_on(work, opening, self._c.keystore, commands), None
            case SessionKind.CARRIED:
                return await self._agreements.go_on(work, opening, self._profile(work.request))
            case _:
                return await self._wrap(work, opening)

    async def _wrap(self, work: SegmentWork, opening: tuple[str, ...]) -> tuple[SegmentWork, KeySet | None]:
        request, profile = work.request, self._profile(work.request)
        if len(opening) != len(work.opening):
            raise WrongCardError("The card did not answer the opening of the session.")
        keys = await self._keys.of_session(request)
        if work.last:
            init = sessions.parse(work.session, profile)
        else:
            init = sessions.read_challenge(profile, request.session, opening[-1])
            work = replace(work, session=init.to_bytes())
            self._refuse_old_counter(keys, init.sequence_counter, profile)
        context = self._context(work)
        async with self._keys.opened(keys):
            derived = await self._c.keystore.derive_session(keys.bound, context)
        channel = sessions.open_channel(profile, derived, init, work.host_challenge)
        pending = await self._keys.new_for(request, profile)
        plain: list[tuple[PlainCommand, ...]] = []
        for step in request.session.steps:
            fills = await self._fills(request, step, keys, context, pending)
            plain.append(compile_step(step, profile, fills))
        filled = await self._tokens.filled(request, plain, profile)
        script = sessions.wrap(profile, channel, filled, last=work.last)
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

    async def _fills(
        self,
        request: SegmentRequest,
        step: s.Step,
        keys: KeySet,
        context: ChannelContext,
        pending: KeySet | None,
    ) -> Fills:
        profile, keystore = self._profile(request), self._c.keystore
        if isinstance(step, s.PutProofKey):
            return Fills(put_key_fields=(await self._proof_key(request, step, keys, context),))
        if isinstance(step, s.OfferKeys | s.AgreeKeys):
            return Fills(carried=_carried(request, profile))
        if isinstance(step, s.Load):
            return Fills(load_block=await self._load_block(step))
        if isinstance(step, s.Personalize):
            if self._c.personalization is None:
                raise InvariantError("This party personalises nothing.")
            if keys.temporary:
                raise PeerFaultError("Nothing is personalised under keys that somebody else knows too.")
            groupings = await self._c.personalization.groupings(request, step, keys, context)
            return Fills(groupings=groupings)
        if pending is not None and isinstance(step, s.PutFirstKeys) and step.forwarded:
            data = await keystore.store_data_key_set(
                keys.bound, context, pending.bound, new_scp=profile.scp, kvn=step.kvn
            )
            return Fills(key_data=data)
        if pending is not None and isinstance(step, s.PutFirstKeys | s.ReplaceKeys):
            fields = await keystore.put_key_fields(
                keys.bound, context, pending.bound, new_scp=profile.scp, layout=profile.aes_layout
            )
            return Fills(put_key_fields=fields)
        return Fills()

    async def _proof_key(
        self, request: SegmentRequest, step: s.PutProofKey, keys: KeySet, context: ChannelContext
    ) -> bytes:
        """Return the field with a key for tokens or receipts; it is made when there is none yet."""
        key = proof_key(self._c.tenant_id, step.use, step.scheme, step.number)
        if not await self._c.keystore.has(key.handle):
            await self._c.keystore.make_proof_key(key)
        layout = self._profile(request).aes_layout
        return await self._c.keystore.put_proof_key_field(keys.bound, context, key, layout=layout)

    async def _commands(self, request: SegmentRequest) -> tuple[PersonalizationCommand, ...]:
        """Return what a recipe sends to the application of a plain session; nothing in all others."""
        step = request.session.steps[0]
        if not isinstance(step, s.RunCommands):
            return ()
        if self._c.personalization is None:
            raise InvariantError("This party personalises nothing.")
        return await self._c.personalization.commands(request, step)

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
        match work.request.session.kind:
            case SessionKind.PLAIN:
                report = await self._plain().check(work, answers, self._c.keystore)
            case SessionKind.CARRIED:
                report = await self._agreements.check(work, answers)
            case _:
                report = await self._check(work, answers)
        sealed = await self._seal(_checked(work, report))
        async with self._c.storage.transaction() as tx:
            await self._keys.settle(tx, work.request, report)
            await tx.segments.save(replace(segment, state=SegmentState.CHECKED, sealed=sealed))
            await tx.commit()
        return report

    async def _check(self, work: SegmentWork, answers: tuple[str, ...]) -> SegmentReport:
        request, profile = work.request, self._profile(work.request)
        if not work.sent:
            return SegmentReport(steps=findings.step_reports(request.session.steps, (), (), ()))
        keys = await self._keys.of_session(request)
        async with self._keys.opened(keys):
            derived = await self._c.keystore.derive_session(keys.bound, self._context(work))
        init = sessions.parse(work.session, profile)
        channel = sessions.open_channel(profile, derived, init, work.host_challenge)
        checked = sessions.unwrap(channel, profile, work.sent, answers, last=work.last)
        return SegmentReport(
            authenticated=bool(work.last) or not checked or checked[0].accepted,
            carried=findings.carried_answers(checked),
            steps=findings.step_reports(request.session.steps, work.sent, checked, work.new_kcvs),
            registry=findings.registry_report(checked, request.session.selected),
            kept=findings.kept_answers(request.session.steps, checked),
            receipts=await self._tokens.handed_in(work, checked),
        )

    # --- beside sessions -------------------------------------------------------------------------------

    async def transport_point(self, issuer_id: TenantId) -> bytes:
        """Return this party's key for agreements; see `SegmentOwner.transport_point`."""
        return await self._keys.transport_point(issuer_id)

    async def hand_over(self, se_id: SeId, sd_aid: Aid, kvn: int, to: TenantId, point: bytes) -> bytes:
        """Return a temporary key set wrapped for a provider; see `SegmentOwner.hand_over`."""
        return await self._keys.hand_over(se_id, sd_aid, kvn, to, point)

    async def forget_domain(self, se_id: SeId, sd_aid: Aid) -> None:
        """Retire the key sets of a domain that is gone; see `SegmentOwner.forget_domain`."""
        await self._keys.forget_domain(se_id, sd_aid)

    # --- small things ----------------------------------------------------------------------------------

    def _profile(self, request: SegmentRequest) -> SeProfile:
        try:
            return self._c.profiles[request.profile]
        except KeyError:
            raise NotFoundError(f"The card profile {quoted(request.profile)} is not known here.") from None

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


def _checked(work: SegmentWork, report: SegmentReport) -> SegmentWork:
    """Return what is kept of a segment: its report, and what the session that goes on with it needs."""
    done = SegmentWork(request=work.request, report=report)
    if not work.sent or not any(isinstance(step, s.OfferKeys) for step in work.request.session.steps):
        return done
    return replace(done, host_challenge=work.host_challenge, session=work.session, last=work.sent[-1].link)


def _carried(request: SegmentRequest, profile: SeProfile) -> tuple[CommandApdu, ...]:
    """Return another party's commands, of which none may do anything else in this party's name.

    Raises:
        PeerFaultError: they are not the two of a confidential set-up, or too long.
    """
    commands = []
    for text in request.carried:
        try:
            command = CommandApdu.parse(bytes.fromhex(text))
        except (CardError, ValueError):
            raise PeerFaultError("What is to be carried is no command.") from None
        if not is_confidential_setup(command) or len(command.data) > profile.max_plain_data:
            raise PeerFaultError("Only commands that agree on keys are carried, of a length for this card.")
        commands.append(command)
    return tuple(commands)

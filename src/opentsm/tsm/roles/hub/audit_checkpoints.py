"""Checkpoints over the audit: the hub signs where all chains stand, and whoever doubts can walk them again.

A hash chain shows a change in its middle. Who owns the database can rewrite one to its end, or cut the end
off; a checkpoint that was signed before disagrees with that, and the keystore signs nothing afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec.structs import replace

from opentsm.tsm.domain.audit import (
    GENESIS,
    AuditBreak,
    AuditEntry,
    Checkpoint,
    CheckpointHead,
    digest_of_heads,
)
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import KeyHandle, TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World

SIGNING_KEY = KeyHandle("sign/audit")
_BATCH = 1000
_SIGNATURE_BYTES = 64
_BEFORE_ALL = ("", -1)


async def write_checkpoint(storage: Storage, keystore: Keystore, world: World) -> Checkpoint | None:
    """Sign where the chains stand that grew since the last checkpoint.

    Returns:
        The checkpoint; None when no chain grew, or another node wrote this one.
    """
    async with storage.transaction() as tx:
        last = await tx.audit_record.last_checkpoint()
        heads = await _moved(tx)
    if not heads:
        return None
    unsigned = Checkpoint(
        number=1 if last is None else last.number + 1,
        at=world.now(),
        heads=len(heads),
        digest=digest_of_heads(heads),
        previous=GENESIS if last is None else last.own_digest(),
        key=SIGNING_KEY,
    )
    signed = replace(unsigned, signature=await keystore.sign(SIGNING_KEY, unsigned.signed()))
    try:
        async with storage.transaction() as tx:
            await tx.audit_record.add_checkpoint(signed, heads)
            await tx.commit()
    except ConflictError:
        return None
    return signed


async def _moved(tx: UnitOfWork) -> list[CheckpointHead]:
    moved: list[CheckpointHead] = []
    after = _BEFORE_ALL
    while page := await tx.audit_record.heads(after, _BATCH):
        moved += [head for head, known in page if head.number > known]
        after = (page[-1][0].tenant_id, page[-1][0].shard)
    return moved


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """What a verification walked, and the first thing that does not hold (None: all does)."""

    chains: int
    entries: int
    checkpoints: int
    last_checkpoint: Checkpoint | None
    broken: AuditBreak | None


async def verify_audit(storage: Storage, keystore: Keystore) -> AuditVerdict:
    """Walk all checkpoints, then all chains, up to the first thing that does not hold."""
    checkpoints, last, broken = await _verify_checkpoints(storage, keystore)
    chains = entries = 0
    after: tuple[str, int] = _BEFORE_ALL
    while broken is None:
        async with storage.transaction() as tx:
            chain = await tx.audit_record.next_chain(after)
            if chain is None:
                break
            length, broken = await _verify_chain(tx, *chain)
        chains, entries, after = chains + 1, entries + length, chain
    return AuditVerdict(chains, entries, checkpoints, last, broken)


# --- checkpoints -----------------------------------------------------------------------------------


async def _verify_checkpoints(
    storage: Storage, keystore: Keystore
) -> tuple[int, Checkpoint | None, AuditBreak | None]:
    last: Checkpoint | None = None
    count = 0
    while True:
        async with storage.transaction() as tx:
            page = await tx.audit_record.checkpoints(count, _BATCH)
            heads = [await tx.audit_record.heads_of(checkpoint.number) for checkpoint in page]
        if not page:
            return count, last, None
        for checkpoint, said in zip(page, heads, strict=True):
            reason = await _checkpoint_fault(keystore, checkpoint, said, last, count + 1)
            if reason:
                return count, last, AuditBreak(reason=reason, checkpoint=count + 1)
            last, count = checkpoint, count + 1


async def _checkpoint_fault(
    keystore: Keystore,
    checkpoint: Checkpoint,
    heads: Sequence[CheckpointHead],
    last: Checkpoint | None,
    number: int,
) -> str:
    """Return what is wrong with a checkpoint; nothing when it holds."""
    if checkpoint.number != number:
        return "the checkpoint is missing"
    if checkpoint.previous != (GENESIS if last is None else last.own_digest()):
        return "the checkpoint does not follow the one before it"
    if (checkpoint.heads, checkpoint.digest) != (len(heads), digest_of_heads(heads)):
        return "the heads of the checkpoint were changed"
    if checkpoint.key != SIGNING_KEY or not await _is_signed(keystore, checkpoint):
        return "the signature of the checkpoint does not verify"
    return ""


async def _is_signed(keystore: Keystore, checkpoint: Checkpoint) -> bool:
    signature = checkpoint.signature
    if len(signature) != _SIGNATURE_BYTES or not await keystore.has(SIGNING_KEY):
        return False
    point = await keystore.verification_key(SIGNING_KEY)
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
    try:
        key.verify(encode_dss_signature(r, s), checkpoint.signed(), ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


# --- chains ----------------------------------------------------------------------------------------


async def _verify_chain(tx: UnitOfWork, tenant_id: TenantId, shard: int) -> tuple[int, AuditBreak | None]:
    """Walk one chain; return its length and the first entry that does not hold."""
    said = await tx.audit_record.checkpoints_of(tenant_id, shard)
    walk = _Walk({head.number: (checkpoint, head.digest) for checkpoint, head in said})
    while page := await tx.audit_record.entries(tenant_id, shard, walk.number, _BATCH):
        if not walk.take_all(page):
            break
    head = await tx.audit_record.head(tenant_id, shard)
    broken = walk.end((0, GENESIS) if head is None else (head.number, head.digest))
    if broken is None:
        return walk.number, None
    number, reason, checkpoint = broken
    found = AuditBreak(reason=reason, checkpoint=checkpoint, tenant_id=tenant_id, shard=shard, number=number)
    return walk.number, found


_Break = tuple[int, str, int | None]


class _Walk:
    """Walks one chain. An entry is proved by the link of its successor, by the head, or by a checkpoint.

    `broken` is the number of the first entry that does not hold, why, and which checkpoint says so.
    """

    def __init__(self, checkpoints: dict[int, tuple[int, bytes]]) -> None:
        self._checkpoints = checkpoints
        self.number, self._digest = 0, GENESIS
        self._doubt: int | None = None
        self.broken: _Break | None = None

    def take_all(self, entries: Sequence[AuditEntry]) -> bool:
        """Go on by some entries; False when there is no need to go further."""
        for entry in entries:
            self._take(entry)
            if self.broken is not None:
                return False
        return True

    def _take(self, entry: AuditEntry) -> None:
        if self._doubt is not None:
            self._settle(entry.previous)
            return
        if entry.number != self.number + 1:
            self.broken = (self.number + 1, "the entry is missing", None)
            return
        if entry.previous != self._digest:
            # this entry or the one before it was changed: the next link tells which
            self._doubt = self.number
        self.number, self._digest = entry.number, entry.digest()
        checkpoint, digest = self._checkpoints.get(self.number, (None, self._digest))
        if self._doubt is None and digest != self._digest:
            self.broken = (self.number, "the entry is not the one of the checkpoint", checkpoint)

    def end(self, head: tuple[int, bytes]) -> _Break | None:
        """Compare the end with the head and with the checkpoints; return what is broken."""
        if self.broken is None and self._doubt is not None:
            self._settle(head[1])
        if self.broken is None:
            self._compare(head)
        return self.broken

    def _compare(self, head: tuple[int, bytes]) -> None:
        beyond = [(number, said[0]) for number, said in self._checkpoints.items() if number > self.number]
        if beyond:
            _, checkpoint = min(beyond)
            self.broken = (self.number + 1, "the end of the chain was cut off", checkpoint)
        elif head[0] > self.number:
            self.broken = (self.number + 1, "the end of the chain was cut off", None)
        elif head[0] < self.number:
            self.broken = (head[0] + 1, "the entry was added after the chain's head", None)
        elif head[1] != self._digest:
            self.broken = (self.number, "the entry was changed", None)

    def _settle(self, link: bytes) -> None:
        before = self._doubt or 0
        intact = link == self._digest and before > 0
        reason = "the entry was changed" if intact else "the entry was changed, or does not follow"
        self.broken = (before if intact else before + 1, reason, None)

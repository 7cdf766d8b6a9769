-- name: lock_heads
-- Locks the chains in the order given, and starts those that do not exist.
INSERT INTO audit_heads (tenant_id, shard, number, digest)
SELECT h.tenant_id, h.shard, 0, $3
FROM unnest($1::text[], $2::smallint[]) WITH ORDINALITY AS h (tenant_id, shard, place) ORDER BY h.place
ON CONFLICT (tenant_id, shard) DO UPDATE SET number = audit_heads.number
RETURNING tenant_id, shard, number, digest

-- name: append
INSERT INTO audit_entries (tenant_id, shard, number, at, actor, action, subject, details, previous)
SELECT * FROM unnest(
    $1::text[], $2::smallint[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::bytea[]
)

-- name: move_heads
UPDATE audit_heads h SET number = n.number, digest = n.digest
FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bytea[]) AS n (tenant_id, shard, number, digest)
WHERE h.tenant_id = n.tenant_id AND h.shard = n.shard

-- name: list
SELECT * FROM audit_entries WHERE tenant_id = $1 ORDER BY at, shard, number LIMIT $2

-- name: list_after
SELECT * FROM audit_entries WHERE tenant_id = $1 AND (at, shard, number) > (
    SELECT at, shard, number FROM audit_entries WHERE tenant_id = $1 AND shard = $3 AND number = $4
) ORDER BY at, shard, number LIMIT $2

-- name: list_of_subject
SELECT * FROM audit_entries WHERE tenant_id = $1 AND subject = $3 AND number > $4 ORDER BY number LIMIT $2

-- name: head
SELECT number, digest FROM audit_heads WHERE tenant_id = $1 AND shard = $2

-- name: chain
SELECT * FROM audit_entries WHERE tenant_id = $1 AND shard = $2 AND number > $3 ORDER BY number LIMIT $4

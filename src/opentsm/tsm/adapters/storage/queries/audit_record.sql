-- name: heads
SELECT h.tenant_id, h.shard, h.number, h.digest, coalesce(c.number, 0) AS known
FROM audit_heads h LEFT JOIN LATERAL (
    SELECT number FROM audit_checkpoint_heads
    WHERE tenant_id = h.tenant_id AND shard = h.shard ORDER BY checkpoint DESC LIMIT 1
) AS c ON true
WHERE (h.tenant_id, h.shard) > ($1::text, $2::smallint) ORDER BY h.tenant_id, h.shard LIMIT $3

-- name: next_in_entries
SELECT tenant_id, shard FROM audit_entries WHERE (tenant_id, shard) > ($1::text, $2::smallint)
ORDER BY tenant_id, shard LIMIT 1

-- name: next_in_heads
SELECT tenant_id, shard FROM audit_heads WHERE (tenant_id, shard) > ($1::text, $2::smallint)
ORDER BY tenant_id, shard LIMIT 1

-- name: next_in_checkpoints
SELECT tenant_id, shard FROM audit_checkpoint_heads WHERE (tenant_id, shard) > ($1::text, $2::smallint)
ORDER BY tenant_id, shard LIMIT 1

-- name: head
SELECT * FROM audit_heads WHERE tenant_id = $1 AND shard = $2

-- name: entries
SELECT * FROM audit_entries WHERE tenant_id = $1 AND shard = $2 AND number > $3 ORDER BY number LIMIT $4

-- name: checkpoints
SELECT * FROM audit_checkpoints WHERE number > $1 ORDER BY number LIMIT $2

-- name: last_checkpoint
SELECT * FROM audit_checkpoints WHERE number >= $1 ORDER BY number DESC LIMIT 1

-- name: heads_of
SELECT tenant_id, shard, number, digest FROM audit_checkpoint_heads
WHERE checkpoint = $1 ORDER BY tenant_id, shard

-- name: checkpoints_of
SELECT * FROM audit_checkpoint_heads WHERE tenant_id = $1 AND shard = $2 ORDER BY checkpoint

-- name: add_checkpoint
INSERT INTO audit_checkpoints (number, at, heads, digest, previous, key, signature)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING

-- name: add_heads
INSERT INTO audit_checkpoint_heads (checkpoint, tenant_id, shard, number, digest)
SELECT $1, h.* FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::bytea[]) AS h

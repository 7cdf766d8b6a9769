-- name: add
INSERT INTO deliveries
    (id, version, tenant_id, target_id, lane, instance_id, pending, next_at, ended_at, body, document)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: save
UPDATE deliveries SET version = version + 1, tenant_id = $3, target_id = $4, lane = $5, instance_id = $6,
    pending = $7, next_at = $8, ended_at = $9, body = $10, document = $11
WHERE id = $1 AND version = $2

-- name: get
SELECT document, body, version FROM deliveries WHERE id = $1

-- name: list_of_tenant
SELECT document, ''::bytea AS body, version FROM deliveries
WHERE tenant_id = $3 AND id > $1 ORDER BY id LIMIT $2

-- name: list_of_target
SELECT document, ''::bytea AS body, version FROM deliveries
WHERE target_id = $4 AND ($3::text IS NULL OR tenant_id = $3) AND id > $1 ORDER BY id LIMIT $2

-- name: list_of_instance
SELECT document, ''::bytea AS body, version FROM deliveries
WHERE instance_id = $4 AND ($3::text IS NULL OR tenant_id = $3) AND id > $1 ORDER BY id LIMIT $2

-- name: wake
-- Due earlier, but not before the rest or the lease of the lane is over.
INSERT INTO delivery_lanes AS l (target_id, lane, kind, due_at, held_until, leased, failures)
VALUES ($1, $2, $3, $4, '-infinity', false, 0)
ON CONFLICT (target_id, lane) DO UPDATE SET due_at = least(l.due_at, excluded.due_at)

-- name: claim
WITH ready AS MATERIALIZED (
    SELECT target_id, lane FROM delivery_lanes WHERE ready_at <= $1
    ORDER BY ready_at, target_id, lane LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE delivery_lanes l SET held_until = $2, leased = true
FROM ready WHERE l.target_id = ready.target_id AND l.lane = ready.lane
RETURNING l.target_id, l.lane, l.kind, l.failures, l.held_until

-- name: hold
-- Waits for whoever is writing a delivery into the lane.
SELECT leased, held_until FROM delivery_lanes WHERE target_id = $1 AND lane = $2 FOR UPDATE

-- name: first
SELECT document, body, version, next_at FROM deliveries
WHERE target_id = $1 AND lane = $2 AND pending ORDER BY next_at, id LIMIT 1

-- name: rest
UPDATE delivery_lanes SET due_at = $3, held_until = $4, leased = false, failures = $5
WHERE target_id = $1 AND lane = $2

-- name: close_lane
DELETE FROM delivery_lanes WHERE target_id = $1 AND lane = $2

-- name: release
UPDATE delivery_lanes SET held_until = $1, leased = false WHERE leased AND ready_at > $1

-- name: count_pending
SELECT count(*) AS found FROM (
    SELECT FROM deliveries WHERE pending AND target_id > '' ORDER BY target_id, lane, next_at LIMIT $1
) AS counted

-- name: oldest_ready
SELECT ready_at FROM delivery_lanes WHERE ready_at <= $1 ORDER BY ready_at LIMIT 1

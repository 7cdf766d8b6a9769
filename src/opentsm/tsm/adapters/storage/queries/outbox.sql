-- name: publish
-- The update locks a waiting message until this transaction ends: whoever claims it then sees what was
-- committed with this publication, and not the state before it.
INSERT INTO outbox (id, kind, key, body, due_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (kind, key) WHERE NOT claimed DO UPDATE SET due_at = least(outbox.due_at, excluded.due_at)

-- name: claim
WITH due AS MATERIALIZED (
    SELECT id FROM outbox WHERE due_at <= $1 ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE outbox o SET claimed = true, due_at = $2, attempts = o.attempts + 1
FROM due WHERE o.id = due.id
RETURNING o.id, o.kind, o.key, o.body, o.attempts

-- name: release
UPDATE outbox SET due_at = $1 WHERE claimed AND due_at > $1

-- name: done
DELETE FROM outbox WHERE id = $1

-- name: withdraw
DELETE FROM outbox WHERE kind = $1 AND key = $2 AND NOT claimed

-- name: replaced
-- A newer message of the same kind and key already waits: it stands for this one.
DELETE FROM outbox o WHERE o.id = $1 AND o.claimed
    AND EXISTS (SELECT FROM outbox w WHERE w.kind = o.kind AND w.key = o.key AND NOT w.claimed)

-- name: retry
UPDATE outbox SET claimed = false, due_at = $2, last_error = $3 WHERE id = $1

-- name: oldest_due
SELECT due_at FROM outbox WHERE due_at <= $1 ORDER BY due_at, id LIMIT 1

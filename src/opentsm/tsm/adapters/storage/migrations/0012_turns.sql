-- The queue of a secure element by turns: what waits grows more urgent with its age (domain/operation.py).
ALTER TABLE operations ADD COLUMN turn bigint NOT NULL DEFAULT 0;
UPDATE operations SET turn = floor(extract(epoch FROM created_at) * 1000) + priority * 36000
WHERE priority > 0 AND state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED');
ALTER TABLE operations ALTER COLUMN turn DROP DEFAULT;
DROP INDEX operations_queue;
CREATE INDEX operations_queue ON operations (se_id, turn, id) WHERE state IN ('REQUESTED', 'QUEUED');

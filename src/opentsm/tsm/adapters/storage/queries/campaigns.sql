-- name: add
INSERT INTO campaigns (id, version, tenant_id, document) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING

-- name: get
SELECT document, version FROM campaigns WHERE id = $1

-- name: save
UPDATE campaigns SET document = $3, version = version + 1 WHERE id = $1 AND version = $2

-- name: list_of_tenant, both ways
SELECT document, version FROM campaigns WHERE tenant_id = $3 AND id > $1 AND id < $2 ORDER BY id LIMIT $4

-- name: list, both ways
SELECT document, version FROM campaigns WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3

-- name: leased_until
SELECT leased_until FROM campaigns WHERE id = $1 FOR UPDATE

-- name: lease
UPDATE campaigns SET leased_until = $2 WHERE id = $1

-- Collecting looks at a bounded number of candidates by an index, and takes those that are wanted.

-- name: collect_of_service
WITH page AS MATERIALIZED (
    SELECT id, se_id, version_tag, state FROM service_instances
    WHERE provider_id = $3 AND service_id = $4 AND id > $5 ORDER BY id LIMIT $6
), chosen AS (
    SELECT p.id FROM page p JOIN secure_elements s ON s.id = p.se_id
    WHERE ($7::text IS NULL OR p.state <> $7)
        AND ($8::text IS NULL OR p.version_tag = $8)
        AND ($9::text IS NULL OR p.state = $9)
        AND ($10::text IS NULL OR s.document::jsonb ->> 'profile' = $10)
), added AS (
    INSERT INTO campaign_members (campaign_id, position, subject_id)
    SELECT $1, $2::integer + row_number() OVER (), c.id FROM chosen c RETURNING 1
)
SELECT (SELECT count(*) FROM added) AS found, (SELECT count(*) FROM page) AS seen,
    (SELECT max(id) FROM page) AS last

-- name: collect_of_provider
WITH page AS MATERIALIZED (
    SELECT id, se_id, version_tag, state FROM service_instances
    WHERE provider_id = $3 AND id > $4 ORDER BY id LIMIT $5
), chosen AS (
    SELECT p.id FROM page p JOIN secure_elements s ON s.id = p.se_id
    WHERE ($6::text IS NULL OR p.state <> $6)
        AND ($7::text IS NULL OR p.version_tag = $7)
        AND ($8::text IS NULL OR p.state = $8)
        AND ($9::text IS NULL OR s.document::jsonb ->> 'profile' = $9)
), added AS (
    INSERT INTO campaign_members (campaign_id, position, subject_id)
    SELECT $1, $2::integer + row_number() OVER (), c.id FROM chosen c RETURNING 1
)
SELECT (SELECT count(*) FROM added) AS found, (SELECT count(*) FROM page) AS seen,
    (SELECT max(id) FROM page) AS last

-- name: collect_on_elements
-- The instances on an issuer's secure elements.
WITH page AS MATERIALIZED (
    SELECT id, document FROM secure_elements WHERE issuer_id = $3 AND id > $4 ORDER BY id LIMIT $5
), chosen AS (
    SELECT i.id FROM page p JOIN service_instances i ON i.se_id = p.id AND i.state <> 'TERMINATED'
    WHERE ($6::text IS NULL OR i.service_id = $6)
        AND ($7::text IS NULL OR i.version_tag = $7)
        AND ($8::text IS NULL OR i.state = $8)
        AND ($9::text IS NULL OR p.document::jsonb ->> 'profile' = $9)
), added AS (
    INSERT INTO campaign_members (campaign_id, position, subject_id)
    SELECT $1, $2::integer + row_number() OVER (), c.id FROM chosen c RETURNING 1
)
SELECT (SELECT count(*) FROM added) AS found, (SELECT count(*) FROM page) AS seen,
    (SELECT max(id) FROM page) AS last

-- name: collect_elements_of_issuer
-- The state of a secure element that has proved nothing yet, REGISTERED, is the default and left out.
WITH page AS MATERIALIZED (
    SELECT id, document FROM secure_elements WHERE issuer_id = $3 AND id > $4 ORDER BY id LIMIT $5
), chosen AS (
    SELECT p.id FROM page p
    WHERE ($6::text IS NULL OR coalesce(p.document::jsonb ->> 'state', 'REGISTERED') <> $6)
        AND ($7::text IS NULL OR coalesce(p.document::jsonb ->> 'state', 'REGISTERED') = $7)
        AND ($8::text IS NULL OR p.document::jsonb ->> 'profile' = $8)
), added AS (
    INSERT INTO campaign_members (campaign_id, position, subject_id)
    SELECT $1, $2::integer + row_number() OVER (), c.id FROM chosen c RETURNING 1
)
SELECT (SELECT count(*) FROM added) AS found, (SELECT count(*) FROM page) AS seen,
    (SELECT max(id) FROM page) AS last

-- name: collect_elements
WITH page AS MATERIALIZED (
    SELECT id, document FROM secure_elements WHERE id > $3 ORDER BY id LIMIT $4
), chosen AS (
    SELECT p.id FROM page p
    WHERE ($5::text IS NULL OR coalesce(p.document::jsonb ->> 'state', 'REGISTERED') <> $5)
        AND ($6::text IS NULL OR coalesce(p.document::jsonb ->> 'state', 'REGISTERED') = $6)
        AND ($7::text IS NULL OR p.document::jsonb ->> 'profile' = $7)
), added AS (
    INSERT INTO campaign_members (campaign_id, position, subject_id)
    SELECT $1, $2::integer + row_number() OVER (), c.id FROM chosen c RETURNING 1
)
SELECT (SELECT count(*) FROM added) AS found, (SELECT count(*) FROM page) AS seen,
    (SELECT max(id) FROM page) AS last

-- name: collect_failed
WITH page AS MATERIALIZED (
    SELECT position, subject_id AS id FROM campaign_members
    WHERE campaign_id = $3 AND state = 'FAILED' AND position > $4 ORDER BY position LIMIT $5
), chosen AS (
    SELECT p.id FROM page p
), added AS (
    INSERT INTO campaign_members (campaign_id, position, subject_id)
    SELECT $1, $2::integer + row_number() OVER (), c.id FROM chosen c RETURNING 1
)
SELECT (SELECT count(*) FROM added) AS found, (SELECT count(*) FROM page) AS seen,
    (SELECT max(position) FROM page) AS last

-- name: members_among
SELECT subject_id FROM campaign_members WHERE campaign_id = $1 AND subject_id = ANY ($2::text[])

-- name: add_members
INSERT INTO campaign_members (campaign_id, position, subject_id)
SELECT $1, $2::integer + s.number, s.id FROM unnest($3::text[]) WITH ORDINALITY AS s (id, number)

-- name: known_instances
SELECT i.id FROM unnest($1::text[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT id, se_id, provider_id FROM service_instances WHERE id = wanted.id LIMIT 1) AS i
CROSS JOIN LATERAL (SELECT issuer_id FROM secure_elements WHERE id = i.se_id LIMIT 1) AS s
WHERE ($2::text IS NULL OR i.provider_id = $2) AND ($3::text IS NULL OR s.issuer_id = $3)

-- name: known_elements
SELECT s.id FROM unnest($1::text[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT id, issuer_id FROM secure_elements WHERE id = wanted.id LIMIT 1) AS s
WHERE ($2::text IS NULL OR s.issuer_id = $2)

-- name: members
SELECT * FROM campaign_members WHERE campaign_id = $1 AND position > $2 ORDER BY position LIMIT $3

-- name: members_in_state
SELECT * FROM campaign_members WHERE campaign_id = $1 AND state = $4 AND position > $2
ORDER BY position LIMIT $3

-- name: open_member
UPDATE campaign_members SET state = 'OPEN', operation_id = $3
WHERE campaign_id = $1 AND position = $2 AND state = ANY ($4::text[])

-- name: settle_member
UPDATE campaign_members m SET state = $3, code = $4, detail = $5, ended_at = $6
FROM (
    SELECT campaign_id, position, state FROM campaign_members
    WHERE campaign_id = $1 AND position = $2 AND state = ANY ($7::text[]) FOR UPDATE
) AS old
WHERE m.campaign_id = old.campaign_id AND m.position = old.position
RETURNING old.state

-- name: count
INSERT INTO campaign_counts AS c (campaign_id, shard, open, succeeded, failed, skipped, cancelled)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (campaign_id, shard) DO UPDATE SET
    open = c.open + excluded.open, succeeded = c.succeeded + excluded.succeeded,
    failed = c.failed + excluded.failed, skipped = c.skipped + excluded.skipped,
    cancelled = c.cancelled + excluded.cancelled

-- name: counts
SELECT coalesce(sum(open), 0)::integer AS open, coalesce(sum(succeeded), 0)::integer AS succeeded,
    coalesce(sum(failed), 0)::integer AS failed, coalesce(sum(skipped), 0)::integer AS skipped,
    coalesce(sum(cancelled), 0)::integer AS cancelled
FROM campaign_counts WHERE campaign_id = $1

-- name: recent
SELECT count(*) AS ended, count(*) FILTER (WHERE last.state = 'FAILED') AS failed, min(last.ended_at) AS since,
    max(last.ended_at) AS until
FROM (
    SELECT state, ended_at FROM campaign_members
    WHERE campaign_id = $1 AND state IN ('SUCCEEDED', 'FAILED') AND ended_at >= $2
    ORDER BY ended_at DESC, position DESC LIMIT $3
) AS last

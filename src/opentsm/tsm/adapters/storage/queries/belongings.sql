-- name: remove_instances
WITH credits AS (
    DELETE FROM se_credits WHERE instance_id = ANY ($1::text[])
)
DELETE FROM service_instances WHERE id = ANY ($1::text[])

-- name: remove_segments
WITH old AS MATERIALIZED (
    SELECT owner_id, id FROM segments WHERE owner_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM segments t USING old WHERE t.owner_id = old.owner_id AND t.id = old.id

-- name: remove_key_sets
WITH old AS MATERIALIZED (
    SELECT owner_id, se_id, sd_aid, kvn FROM key_sets WHERE owner_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM key_sets t USING old
WHERE t.owner_id = old.owner_id AND t.se_id = old.se_id AND t.sd_aid = old.sd_aid AND t.kvn = old.kvn

-- name: remove_prepared_data
WITH old AS MATERIALIZED (
    SELECT provider_id, id FROM prepared_data WHERE provider_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM prepared_data t USING old WHERE t.provider_id = old.provider_id AND t.id = old.id

-- name: remove_conversation_scripts
WITH old AS MATERIALIZED (
    SELECT tenant_id, conversation_id, number FROM conversation_scripts WHERE tenant_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM conversation_scripts t USING old
WHERE t.tenant_id = old.tenant_id AND t.conversation_id = old.conversation_id AND t.number = old.number

-- name: remove_conversations
WITH old AS MATERIALIZED (
    SELECT tenant_id, id FROM conversations WHERE tenant_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM conversations t USING old WHERE t.tenant_id = old.tenant_id AND t.id = old.id

-- name: remove_service_references
WITH old AS MATERIALIZED (
    SELECT provider_id, owner, reference FROM service_references WHERE provider_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM service_references t USING old
WHERE t.provider_id = old.provider_id AND t.owner = old.owner AND t.reference = old.reference

-- name: remove_tokens
WITH old AS MATERIALIZED (
    SELECT owner_id, request_id, position FROM tokens WHERE owner_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM tokens t USING old
WHERE t.owner_id = old.owner_id AND t.request_id = old.request_id AND t.position = old.position

-- name: remove_card_authorities
WITH old AS MATERIALIZED (
    SELECT party_id, profile FROM card_authorities WHERE party_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM card_authorities t USING old WHERE t.party_id = old.party_id AND t.profile = old.profile

-- name: remove_catalogue
WITH old AS MATERIALIZED (
    SELECT owner_id, entity, id FROM catalogue WHERE owner_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM catalogue t USING old
WHERE t.owner_id = old.owner_id AND t.entity = old.entity AND t.id = old.id

-- name: remove_imports
WITH old AS MATERIALIZED (
    SELECT id FROM import_jobs WHERE owner_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM import_jobs t USING old WHERE t.id = old.id

-- name: remove_subscriptions
WITH old AS MATERIALIZED (
    SELECT id FROM subscriptions WHERE owner_id = $1 LIMIT $2 FOR UPDATE
), names AS (
    DELETE FROM se_identifiers t USING old WHERE t.subscription_id = old.id
), history AS (
    DELETE FROM registry_history t USING old WHERE t.subject = old.id
)
DELETE FROM subscriptions t USING old WHERE t.id = old.id

-- name: remove_sp_data
WITH old AS MATERIALIZED (
    SELECT se_id, provider_id FROM sp_data WHERE provider_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM sp_data t USING old WHERE t.se_id = old.se_id AND t.provider_id = old.provider_id

-- name: remove_se_data
WITH old AS MATERIALIZED (
    SELECT issuer_id, digest FROM se_data WHERE issuer_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM se_data t USING old WHERE t.issuer_id = old.issuer_id AND t.digest = old.digest

-- name: remove_webhooks
WITH old AS MATERIALIZED (
    SELECT id FROM webhooks WHERE tenant_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM webhooks t USING old WHERE t.id = old.id

-- name: remove_deliveries
WITH old AS MATERIALIZED (
    SELECT id FROM deliveries WHERE tenant_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM deliveries t USING old WHERE t.id = old.id

-- name: remove_arrangements
WITH old AS MATERIALIZED (
    SELECT id FROM arrangements WHERE issuer_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM arrangements t USING old WHERE t.id = old.id

-- name: remove_space_quotas
WITH old AS MATERIALIZED (
    SELECT id FROM space_quotas WHERE setter_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM space_quotas t USING old WHERE t.id = old.id

-- name: remove_space_quotas_granted
WITH old AS MATERIALIZED (
    SELECT id FROM space_quotas WHERE provider_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM space_quotas t USING old WHERE t.id = old.id

-- name: remove_space_sizes
WITH old AS MATERIALIZED (
    SELECT issuer_id, profile, part FROM space_sizes WHERE issuer_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM space_sizes t USING old
WHERE t.issuer_id = old.issuer_id AND t.profile = old.profile AND t.part = old.part

-- name: remove_campaign_members
WITH old AS MATERIALIZED (
    SELECT m.campaign_id, m.position FROM campaigns c CROSS JOIN LATERAL (
        SELECT campaign_id, position FROM campaign_members WHERE campaign_id = c.id ORDER BY position LIMIT $2
    ) AS m
    WHERE c.tenant_id = $1 LIMIT $2
)
DELETE FROM campaign_members t USING old WHERE t.campaign_id = old.campaign_id AND t.position = old.position

-- name: remove_campaigns
WITH old AS MATERIALIZED (
    SELECT id FROM campaigns WHERE tenant_id = $1 LIMIT $2 FOR UPDATE
), counts AS (
    DELETE FROM campaign_counts t USING old WHERE t.campaign_id = old.id
)
DELETE FROM campaigns t USING old WHERE t.id = old.id

-- name: remove_enrolment_codes
WITH old AS MATERIALIZED (
    SELECT digest FROM enrolment_codes WHERE document::jsonb ->> 'tenant_id' = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM enrolment_codes t USING old WHERE t.digest = old.digest

-- name: remove_devices
WITH old AS MATERIALIZED (
    SELECT id FROM devices WHERE tenant_id = $1 LIMIT $2 FOR UPDATE
), sessions AS (
    DELETE FROM device_sessions t USING old WHERE t.device_id = old.id
), assertions AS (
    DELETE FROM device_assertions t USING old WHERE t.device_id = old.id
)
DELETE FROM devices t USING old WHERE t.id = old.id

-- name: remove_idempotency_keys
WITH old AS MATERIALIZED (
    SELECT tenant_id, key FROM idempotency_keys WHERE tenant_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM idempotency_keys t USING old WHERE t.tenant_id = old.tenant_id AND t.key = old.key

-- name: blocks
SELECT sha256 FROM load_file_owners WHERE owner_id = $1 LIMIT $2

-- name: hold_blocks
-- Whoever puts one of these there again waits, and then puts it there anew.
SELECT sha256 FROM load_file_blocks WHERE sha256 = ANY ($1::text[]) FOR UPDATE

-- name: disown_blocks
DELETE FROM load_file_owners WHERE sha256 = ANY ($1::text[]) AND owner_id = $2

-- name: still_owned
SELECT found.sha256 FROM unnest($1::text[]) AS wanted (sha256)
CROSS JOIN LATERAL (SELECT sha256 FROM load_file_owners WHERE sha256 = wanted.sha256 LIMIT 1) AS found

-- name: remove_blocks
DELETE FROM load_file_blocks WHERE sha256 = ANY ($1::text[])

-- name: remove_orders_of_operations
DELETE FROM device_orders WHERE state = 'CONSUMED' AND operation_id = ANY ($1::text[])

-- name: remove_segments_of_operations
DELETE FROM segments WHERE operation_id = ANY ($1::text[])

-- name: remove_reservations_of_operations
DELETE FROM space_reservations WHERE operation_id = ANY ($1::text[])

-- name: remove_operations
DELETE FROM operations WHERE id = ANY ($1::text[])

-- name: remove_orders_of_elements
DELETE FROM device_orders WHERE se_id = ANY ($1::text[])

-- name: remove_sessions_of_elements
DELETE FROM device_sessions WHERE se_id = ANY ($1::text[])

-- name: remove_history_of_elements
DELETE FROM registry_history WHERE subject = ANY ($1::text[])

-- name: remove_tokens_of_elements
DELETE FROM tokens WHERE se_id = ANY ($1::text[])

-- name: remove_elements
DELETE FROM secure_elements WHERE id = ANY ($1::text[])

-- name: open_on
SELECT document, plan_document, version FROM operations WHERE se_id = $1 AND state = ANY ($2::text[])

-- name: remove_approvals
WITH old AS MATERIALIZED (
    SELECT id FROM approvals WHERE tenant_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM approvals t USING old WHERE t.id = old.id

-- name: remove_submissions
WITH old AS MATERIALIZED (
    SELECT id FROM applet_submissions WHERE submitter_id = $1 LIMIT $2 FOR UPDATE
)
DELETE FROM applet_submissions t USING old WHERE t.id = old.id

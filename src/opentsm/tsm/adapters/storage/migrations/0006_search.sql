-- What lists of operations and instances are searched by. Their ids begin with the time (UUID version 7).

ALTER TABLE operations ADD COLUMN type text NOT NULL DEFAULT '';
UPDATE operations SET type = document::jsonb ->> 'type';
ALTER TABLE operations ALTER COLUMN type DROP DEFAULT;
CREATE INDEX operations_state ON operations (state, id);
CREATE INDEX operations_tenant_state ON operations (tenant_id, state, id);
CREATE INDEX operations_issuer_state ON operations (issuer_id, state, id);

ALTER TABLE service_instances
    ADD COLUMN service_id text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN version_tag text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN flavor_id text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN applications text[] COLLATE "C" NOT NULL DEFAULT '{}',
    ADD COLUMN created_at timestamptz;
UPDATE service_instances SET
    service_id = document::jsonb #>> '{description,service_id}',
    version_tag = document::jsonb #>> '{description,version_tag}',
    flavor_id = document::jsonb #>> '{description,flavor_id}',
    applications = ARRAY(
        SELECT DISTINCT a.application ->> 'instance_aid'
        FROM jsonb_array_elements(document::jsonb #> '{description,applications}') AS a (application)
        ORDER BY 1
    ),
    created_at = (document::jsonb ->> 'created_at')::timestamptz;
ALTER TABLE service_instances
    ALTER COLUMN service_id DROP DEFAULT,
    ALTER COLUMN version_tag DROP DEFAULT,
    ALTER COLUMN flavor_id DROP DEFAULT,
    ALTER COLUMN applications DROP DEFAULT,
    ALTER COLUMN created_at SET NOT NULL;
CREATE INDEX service_instances_state ON service_instances (provider_id, state, id);
CREATE INDEX service_instances_service ON service_instances (provider_id, service_id, id);
CREATE INDEX service_instances_version ON service_instances (provider_id, service_id, version_tag, id);
CREATE INDEX service_instances_flavor ON service_instances (provider_id, flavor_id, id);

-- One row an application of an instance, so that an instance is found by any of them.
CREATE TABLE instance_applications (
    provider_id text COLLATE "C" NOT NULL,
    aid         text COLLATE "C" NOT NULL,
    instance_id text COLLATE "C" NOT NULL REFERENCES service_instances (id) ON DELETE CASCADE,
    PRIMARY KEY (provider_id, aid, instance_id)
);
CREATE INDEX instance_applications_instance ON instance_applications (instance_id);
INSERT INTO instance_applications (provider_id, aid, instance_id)
SELECT i.provider_id, a.aid, i.id FROM service_instances i, unnest(i.applications) AS a (aid);

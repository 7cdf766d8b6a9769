-- runs: 0009
-- What the removal of a party's belongings finds them by.
CREATE INDEX enrolment_codes_tenant ON enrolment_codes ((document::jsonb ->> 'tenant_id'));
CREATE INDEX se_credits_instance ON se_credits (instance_id);

-- Who put a block there: it goes with the last of them.
CREATE TABLE load_file_owners (
    sha256     text COLLATE "C" NOT NULL,
    owner_id   text COLLATE "C" NOT NULL,
    PRIMARY KEY (sha256, owner_id)
);
CREATE INDEX load_file_owners_owner ON load_file_owners (owner_id);
INSERT INTO load_file_owners (sha256, owner_id)
SELECT DISTINCT lower(document::jsonb #>> '{_block,sha256}'), owner_id FROM catalogue
WHERE entity = 'executable-load-file' AND document::jsonb #>> '{_block,sha256}' IS NOT NULL
UNION
SELECT lower(f.file ->> 'sha256'), i.provider_id
FROM service_instances i, jsonb_array_elements(i.document::jsonb #> '{description,load_files}') AS f (file);

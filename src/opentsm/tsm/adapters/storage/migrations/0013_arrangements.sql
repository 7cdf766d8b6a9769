-- Which party holds which security domain of an issuer's secure elements; those refer to one by its id.
CREATE TABLE arrangements (
    id        text COLLATE "C" PRIMARY KEY,
    issuer_id text COLLATE "C" NOT NULL,
    document  text NOT NULL,
    version   bigint NOT NULL
);
CREATE INDEX arrangements_issuer ON arrangements (issuer_id, id);
CREATE INDEX secure_elements_arrangement ON secure_elements ((document::jsonb ->> 'arrangement_id'))
    WHERE document::jsonb ->> 'arrangement_id' IS NOT NULL;

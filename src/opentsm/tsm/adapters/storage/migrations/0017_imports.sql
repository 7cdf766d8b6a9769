-- runs: 0016
-- Imports of secure elements: jobs, the parts of their files until they are worked off, and refused lines.
CREATE TABLE import_jobs (
    id         text COLLATE "C" PRIMARY KEY,
    owner_id   text COLLATE "C" NOT NULL,
    updated_at timestamptz NOT NULL,
    document   text NOT NULL,
    version    bigint NOT NULL
);
CREATE INDEX import_jobs_owner ON import_jobs (owner_id, id);
CREATE INDEX import_jobs_age ON import_jobs (updated_at, id);

CREATE TABLE import_parts (
    job_id     text COLLATE "C" NOT NULL REFERENCES import_jobs (id) ON DELETE CASCADE,
    number     integer NOT NULL,
    "end"      bigint NOT NULL,
    digest     bytea NOT NULL,
    sealed     bytea NOT NULL,
    PRIMARY KEY (job_id, number)
);

CREATE TABLE import_refusals (
    job_id     text COLLATE "C" NOT NULL REFERENCES import_jobs (id) ON DELETE CASCADE,
    line       bigint NOT NULL,
    code       text NOT NULL,
    detail     text NOT NULL,
    field      text NOT NULL,
    PRIMARY KEY (job_id, line)
);

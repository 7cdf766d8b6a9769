-- Load files that are handed in, reviewed and released. A history only grows; it goes with its submission.
CREATE TABLE applet_submissions (
    id           text COLLATE "C" PRIMARY KEY,
    submitter_id text COLLATE "C" NOT NULL REFERENCES tenants (id),
    reviewer_id  text COLLATE "C" NOT NULL,
    sha256       text COLLATE "C" NOT NULL,
    state        text COLLATE "C" NOT NULL,
    document     text NOT NULL,
    version      bigint NOT NULL
);
CREATE INDEX applet_submissions_submitter ON applet_submissions (submitter_id, id);
CREATE INDEX applet_submissions_reviewer ON applet_submissions (reviewer_id, id);
CREATE INDEX applet_submissions_content ON applet_submissions (sha256, reviewer_id, state);

CREATE TABLE release_events (
    submission_id text COLLATE "C" NOT NULL REFERENCES applet_submissions (id) ON DELETE CASCADE,
    number        integer NOT NULL,
    document      text NOT NULL,
    PRIMARY KEY (submission_id, number)
);

CREATE TABLE release_policies (
    owner_id text COLLATE "C" PRIMARY KEY,
    document text NOT NULL
);

CREATE TABLE known_bad (
    owner_id text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    document text NOT NULL,
    PRIMARY KEY (owner_id, id)
);

CREATE TABLE party_rids (
    party_id text COLLATE "C" PRIMARY KEY,
    rids     text[] NOT NULL
);

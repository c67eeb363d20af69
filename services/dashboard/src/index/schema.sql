-- What the lists of the dashboard show, as far as they sort and filter by it. What follows from findings alone, and would be written
-- at a million places while they are read first, is made afterwards: see lists.sql. The rest is read from the buckets, one record at
-- a time. Times are in milliseconds since the Unix epoch, `introduced` in seconds.

CREATE TABLE repositories (
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL,
    uri     TEXT NOT NULL,
    created INTEGER NOT NULL,
    -- When a scan of all of it completed first.
    scanned INTEGER
) STRICT;
CREATE INDEX repositories_by_name ON repositories (name);

CREATE TABLE requests (
    id            TEXT PRIMARY KEY,
    repository    TEXT,
    uri           TEXT NOT NULL,
    state         TEXT NOT NULL,
    priority      TEXT NOT NULL,
    requester     TEXT NOT NULL,
    -- scan, verify or rescan.
    purpose       TEXT NOT NULL,
    schedule      TEXT,
    created       INTEGER NOT NULL,
    -- When it came into its state.
    since         INTEGER NOT NULL,
    is_terminal   INTEGER NOT NULL,
    batches       INTEGER NOT NULL,
    batches_ended INTEGER NOT NULL,
    commits       INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    findings      INTEGER NOT NULL,
    not_scanned   INTEGER NOT NULL,
    -- Of a run of a schedule: unknown commits that no push announced.
    untold        INTEGER,
    vanished      INTEGER,
    reason        TEXT
) STRICT;
CREATE INDEX requests_by_time ON requests (created, id);
CREATE INDEX requests_by_state ON requests (state, created, id);
CREATE INDEX requests_by_repository ON requests (repository, created, id);
CREATE INDEX requests_by_end ON requests (is_terminal, since, state, repository);

CREATE TABLE findings (
    id           INTEGER PRIMARY KEY,
    repository   TEXT NOT NULL,
    -- The id of the finding in its repository.
    finding      TEXT NOT NULL,
    rule         TEXT NOT NULL,
    -- 0 critical, 1 high, 2 medium, 3 low.
    severity     INTEGER NOT NULL,
    -- 0 high, 1 medium, 2 low.
    confidence   INTEGER NOT NULL,
    -- What people decide about: the rule and a part of the hash.
    secret       TEXT NOT NULL,
    -- The keyed hash: equal over repositories.
    hash         TEXT NOT NULL,
    path         TEXT NOT NULL,
    commit_id    TEXT NOT NULL,
    line         INTEGER NOT NULL,
    author       TEXT NOT NULL,
    email        TEXT NOT NULL,
    introduced   INTEGER NOT NULL,
    excerpt      TEXT NOT NULL,
    occurrences  INTEGER NOT NULL,
    first_seen   INTEGER NOT NULL,
    last_seen    INTEGER NOT NULL,
    -- open, only-in-history, resolved, resolved-by-rules or reopened, and since when.
    standing     TEXT NOT NULL,
    since        INTEGER NOT NULL,
    is_tip       INTEGER NOT NULL,
    -- open, confirmed, revoked, false-positive or accepted; since when, and until when if that is limited.
    triage       TEXT NOT NULL,
    decided      INTEGER,
    expires      INTEGER,
    -- Whether somebody has to look at it: neither gone nor settled.
    is_open      INTEGER NOT NULL,
    -- Orders findings of one time in the same way in every copy.
    tie          INTEGER NOT NULL,
    -- Of the record, for what depends on other records as well.
    seen         TEXT,
    matched_by   TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX findings_by_key ON findings (repository, finding);
CREATE INDEX findings_of_secret ON findings (repository, secret);
CREATE INDEX findings_that_expire ON findings (expires) WHERE expires IS NOT NULL;

-- What looks at all refs said of a finding, as JSON, and which requests looked.
CREATE TABLE standings (
    repository  TEXT NOT NULL,
    finding     TEXT NOT NULL,
    record      TEXT NOT NULL,
    PRIMARY KEY (repository, finding)
) STRICT, WITHOUT ROWID;
CREATE TABLE standing_requests (
    request     TEXT NOT NULL,
    repository  TEXT NOT NULL,
    finding     TEXT NOT NULL,
    PRIMARY KEY (request, repository, finding)
) STRICT, WITHOUT ROWID;

-- The last look at all refs of a repository.
CREATE TABLE surveys (
    repository TEXT PRIMARY KEY,
    record     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE triages (
    repository TEXT NOT NULL,
    secret     TEXT NOT NULL,
    record     TEXT NOT NULL,
    PRIMARY KEY (repository, secret)
) STRICT, WITHOUT ROWID;

-- The ledgers: how many commits are known, and with which rules they were scanned.
CREATE TABLE ledgers (
    repository TEXT PRIMARY KEY,
    commits    INTEGER NOT NULL,
    scanned    INTEGER NOT NULL,
    -- The version of the rules that most of them were scanned with, and how many were.
    rule_set   TEXT NOT NULL,
    current    INTEGER NOT NULL,
    newest     INTEGER,
    -- The head, as JSON.
    record     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE rule_sets (
    version TEXT PRIMARY KEY,
    record  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE schedules (
    id         TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    is_paused  INTEGER NOT NULL,
    next       INTEGER,
    last       INTEGER,
    record     TEXT NOT NULL
) STRICT;
-- What has no next run comes last.
CREATE INDEX schedules_by_time ON schedules (coalesce(next, 9223372036854775807), id);
CREATE INDEX schedules_of_repository ON schedules (repository);

CREATE TABLE agents (
    key    TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Alerts and skipped hooks, as long as their events are kept.
CREATE TABLE alerts (
    place      INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    -- unknown-commits or hook-skipped.
    kind       TEXT NOT NULL,
    repository TEXT NOT NULL,
    record     TEXT NOT NULL
) STRICT;
CREATE INDEX alerts_by_time ON alerts (at, place);

-- What people did.
CREATE TABLE audit (
    place      INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    who        TEXT NOT NULL,
    action     TEXT NOT NULL,
    repository TEXT NOT NULL,
    record     TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_who ON audit (who, place);
CREATE INDEX audit_by_action ON audit (action, place);

-- What the lists of the dashboard show, as far as they sort and filter by it. The rest is read from the buckets, one record at
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
    fingerprint  TEXT NOT NULL,
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
CREATE UNIQUE INDEX findings_by_key ON findings (repository, fingerprint);
CREATE INDEX findings_by_severity ON findings (is_open, severity, first_seen, tie);
CREATE INDEX findings_of_repository ON findings (repository, is_open, severity, first_seen, tie);
CREATE INDEX findings_of_rule ON findings (rule, is_open, severity, first_seen, tie);
CREATE INDEX findings_of_author ON findings (email, is_open, severity, first_seen, tie);
CREATE INDEX findings_of_secret ON findings (repository, secret);
CREATE INDEX findings_by_hash ON findings (hash, is_open, severity, first_seen, tie);
-- Few are decided about, or gone.
CREATE INDEX findings_by_triage ON findings (triage, is_open, severity, first_seen, tie) WHERE triage <> 'open';
CREATE INDEX findings_by_standing ON findings (standing, is_open, severity, first_seen, tie) WHERE standing <> 'open';
CREATE INDEX findings_that_expire ON findings (expires) WHERE expires IS NOT NULL;

-- Which paths contain three characters in a row, to find those that contain a text.
CREATE VIRTUAL TABLE finding_paths
USING fts5(path, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram');
CREATE TRIGGER path_added AFTER INSERT ON findings BEGIN
    INSERT INTO finding_paths (rowid, path) VALUES (NEW.id, NEW.path);
END;
CREATE TRIGGER path_removed AFTER DELETE ON findings BEGIN
    DELETE FROM finding_paths WHERE rowid = OLD.id;
END;
CREATE TRIGGER path_changed AFTER UPDATE OF path ON findings WHEN OLD.path <> NEW.path BEGIN
    DELETE FROM finding_paths WHERE rowid = OLD.id;
    INSERT INTO finding_paths (rowid, path) VALUES (NEW.id, NEW.path);
END;

-- How many findings there are of each kind: counting a million of them takes longer than a page may.
CREATE TABLE finding_counts (
    repository TEXT NOT NULL,
    rule       TEXT NOT NULL,
    severity   INTEGER NOT NULL,
    standing   TEXT NOT NULL,
    triage     TEXT NOT NULL,
    is_open    INTEGER NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (repository, rule, severity, standing, triage, is_open)
) STRICT, WITHOUT ROWID;
CREATE INDEX finding_counts_of_rule ON finding_counts (rule);
CREATE TRIGGER finding_added AFTER INSERT ON findings BEGIN
    INSERT INTO finding_counts
    VALUES (NEW.repository, NEW.rule, NEW.severity, NEW.standing, NEW.triage, NEW.is_open, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER finding_removed AFTER DELETE ON findings BEGIN
    UPDATE finding_counts SET count = count - 1
    WHERE repository = OLD.repository AND rule = OLD.rule AND severity = OLD.severity
      AND standing = OLD.standing AND triage = OLD.triage AND is_open = OLD.is_open;
END;
CREATE TRIGGER finding_changed AFTER UPDATE OF rule, severity, standing, triage, is_open ON findings
WHEN (OLD.rule, OLD.severity, OLD.standing, OLD.triage, OLD.is_open)
  IS NOT (NEW.rule, NEW.severity, NEW.standing, NEW.triage, NEW.is_open) BEGIN
    UPDATE finding_counts SET count = count - 1
    WHERE repository = OLD.repository AND rule = OLD.rule AND severity = OLD.severity
      AND standing = OLD.standing AND triage = OLD.triage AND is_open = OLD.is_open;
    INSERT INTO finding_counts
    VALUES (NEW.repository, NEW.rule, NEW.severity, NEW.standing, NEW.triage, NEW.is_open, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

-- The same over all rules, of each repository, and of all of them together: of the repository ''.
CREATE TABLE finding_totals (
    repository TEXT NOT NULL,
    severity   INTEGER NOT NULL,
    standing   TEXT NOT NULL,
    triage     TEXT NOT NULL,
    is_open    INTEGER NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (repository, severity, standing, triage, is_open)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER finding_kind_counted AFTER INSERT ON finding_counts BEGIN
    INSERT INTO finding_totals
    VALUES (NEW.repository, NEW.severity, NEW.standing, NEW.triage, NEW.is_open, NEW.count),
        ('', NEW.severity, NEW.standing, NEW.triage, NEW.is_open, NEW.count)
    ON CONFLICT DO UPDATE SET count = count + excluded.count;
END;
CREATE TRIGGER finding_kind_recounted AFTER UPDATE OF count ON finding_counts BEGIN
    UPDATE finding_totals SET count = count + NEW.count - OLD.count
    WHERE repository IN (NEW.repository, '') AND severity = NEW.severity AND standing = NEW.standing
      AND triage = NEW.triage AND is_open = NEW.is_open;
END;

-- How many findings were opened and closed on each day (days since the Unix epoch), by severity and repository.
CREATE TABLE finding_days (
    repository TEXT NOT NULL,
    day        INTEGER NOT NULL,
    severity   INTEGER NOT NULL,
    opened     INTEGER NOT NULL,
    closed     INTEGER NOT NULL,
    PRIMARY KEY (day, repository, severity)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER finding_opened AFTER INSERT ON findings BEGIN
    INSERT INTO finding_days VALUES (NEW.repository, NEW.first_seen / 86400000, NEW.severity, 1, 0)
    ON CONFLICT DO UPDATE SET opened = opened + 1;
    INSERT INTO finding_days
    SELECT NEW.repository, max(NEW.first_seen, coalesce(NEW.decided, NEW.since)) / 86400000, NEW.severity, 0, 1
    WHERE NOT NEW.is_open
    ON CONFLICT DO UPDATE SET closed = closed + 1;
END;
CREATE TRIGGER finding_unopened AFTER DELETE ON findings BEGIN
    UPDATE finding_days SET opened = opened - 1
    WHERE repository = OLD.repository AND day = OLD.first_seen / 86400000 AND severity = OLD.severity;
    UPDATE finding_days SET closed = closed - 1
    WHERE NOT OLD.is_open AND repository = OLD.repository AND severity = OLD.severity
      AND day = max(OLD.first_seen, coalesce(OLD.decided, OLD.since)) / 86400000;
END;
CREATE TRIGGER finding_reopened AFTER UPDATE OF severity, first_seen, since, decided, is_open ON findings
WHEN (OLD.severity, OLD.first_seen, OLD.since, OLD.decided, OLD.is_open)
  IS NOT (NEW.severity, NEW.first_seen, NEW.since, NEW.decided, NEW.is_open) BEGIN
    UPDATE finding_days SET opened = opened - 1
    WHERE repository = OLD.repository AND day = OLD.first_seen / 86400000 AND severity = OLD.severity;
    UPDATE finding_days SET closed = closed - 1
    WHERE NOT OLD.is_open AND repository = OLD.repository AND severity = OLD.severity
      AND day = max(OLD.first_seen, coalesce(OLD.decided, OLD.since)) / 86400000;
    INSERT INTO finding_days VALUES (NEW.repository, NEW.first_seen / 86400000, NEW.severity, 1, 0)
    ON CONFLICT DO UPDATE SET opened = opened + 1;
    INSERT INTO finding_days
    SELECT NEW.repository, max(NEW.first_seen, coalesce(NEW.decided, NEW.since)) / 86400000, NEW.severity, 0, 1
    WHERE NOT NEW.is_open
    ON CONFLICT DO UPDATE SET closed = closed + 1;
END;

-- In which repositories a secret has open findings, by its keyed hash, and in how many.
CREATE TABLE secret_places (
    hash       TEXT NOT NULL,
    repository TEXT NOT NULL,
    open       INTEGER NOT NULL,
    PRIMARY KEY (hash, repository)
) STRICT, WITHOUT ROWID;
CREATE TABLE secrets (
    hash         TEXT PRIMARY KEY,
    repositories INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_shared ON secrets (repositories, hash) WHERE repositories > 1;
CREATE TRIGGER secret_appears AFTER INSERT ON findings WHEN NEW.is_open BEGIN
    INSERT INTO secret_places VALUES (NEW.hash, NEW.repository, 1) ON CONFLICT DO UPDATE SET open = open + 1;
END;
CREATE TRIGGER secret_goes AFTER DELETE ON findings WHEN OLD.is_open BEGIN
    UPDATE secret_places SET open = open - 1 WHERE hash = OLD.hash AND repository = OLD.repository;
    DELETE FROM secret_places WHERE hash = OLD.hash AND repository = OLD.repository AND open = 0;
END;
CREATE TRIGGER secret_closes AFTER UPDATE OF hash, is_open ON findings
WHEN OLD.is_open AND (NOT NEW.is_open OR NEW.hash <> OLD.hash) BEGIN
    UPDATE secret_places SET open = open - 1 WHERE hash = OLD.hash AND repository = OLD.repository;
    DELETE FROM secret_places WHERE hash = OLD.hash AND repository = OLD.repository AND open = 0;
END;
CREATE TRIGGER secret_opens AFTER UPDATE OF hash, is_open ON findings
WHEN NEW.is_open AND (NOT OLD.is_open OR NEW.hash <> OLD.hash) BEGIN
    INSERT INTO secret_places VALUES (NEW.hash, NEW.repository, 1) ON CONFLICT DO UPDATE SET open = open + 1;
END;
CREATE TRIGGER secret_place_added AFTER INSERT ON secret_places BEGIN
    INSERT INTO secrets VALUES (NEW.hash, 1) ON CONFLICT DO UPDATE SET repositories = repositories + 1;
END;
CREATE TRIGGER secret_place_gone AFTER DELETE ON secret_places BEGIN
    UPDATE secrets SET repositories = repositories - 1 WHERE hash = OLD.hash;
    DELETE FROM secrets WHERE hash = OLD.hash AND repositories = 0;
END;

-- What looks at all refs said of a finding, as JSON, and which requests looked.
CREATE TABLE standings (
    repository  TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    record      TEXT NOT NULL,
    PRIMARY KEY (repository, fingerprint)
) STRICT, WITHOUT ROWID;
CREATE TABLE standing_requests (
    request     TEXT NOT NULL,
    repository  TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (request, repository, fingerprint)
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

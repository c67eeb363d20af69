-- What follows from findings, made when all of them are known: sorting them once is far less than finding a place for each. From
-- then on triggers keep it.

CREATE INDEX findings_by_severity ON findings (is_open, severity, first_seen, tie);
CREATE INDEX findings_of_repository ON findings (repository, is_open, severity, first_seen, tie);
CREATE INDEX findings_of_rule ON findings (rule, is_open, severity, first_seen, tie);
CREATE INDEX findings_of_author ON findings (email, is_open, severity, first_seen, tie);
CREATE INDEX findings_by_hash ON findings (hash, is_open, severity, first_seen, tie);
-- Few are decided about, or gone.
CREATE INDEX findings_by_triage ON findings (triage, is_open, severity, first_seen, tie) WHERE triage <> 'open';
CREATE INDEX findings_by_standing ON findings (standing, is_open, severity, first_seen, tie) WHERE standing <> 'open';

-- Which paths contain three characters in a row, to find those that contain a text.
CREATE VIRTUAL TABLE finding_paths
USING fts5(path, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram');
INSERT INTO finding_paths (rowid, path) SELECT id, path FROM findings;
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
INSERT INTO finding_counts
SELECT repository, rule, severity, standing, triage, is_open, count(*) FROM findings GROUP BY 1, 2, 3, 4, 5, 6;
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
INSERT INTO finding_totals
SELECT repository, severity, standing, triage, is_open, sum(count) FROM finding_counts GROUP BY 1, 2, 3, 4, 5;
INSERT INTO finding_totals
SELECT '', severity, standing, triage, is_open, sum(count) FROM finding_counts GROUP BY 2, 3, 4, 5;
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

-- How many findings were opened and closed on each day (days since the Unix epoch), by severity and repository, and of all
-- repositories together: of the repository ''.
CREATE TABLE finding_days (
    repository TEXT NOT NULL,
    day        INTEGER NOT NULL,
    severity   INTEGER NOT NULL,
    opened     INTEGER NOT NULL,
    closed     INTEGER NOT NULL,
    PRIMARY KEY (repository, day, severity)
) STRICT, WITHOUT ROWID;
INSERT INTO finding_days
SELECT repository, day, severity, sum(opened), sum(closed) FROM (
    SELECT repository, first_seen / 86400000 AS day, severity, 1 AS opened, 0 AS closed FROM findings
    UNION ALL
    SELECT repository, max(first_seen, coalesce(decided, since)) / 86400000, severity, 0, 1 FROM findings WHERE NOT is_open
) GROUP BY 1, 2, 3;
INSERT INTO finding_days SELECT '', day, severity, sum(opened), sum(closed) FROM finding_days GROUP BY 2, 3;
CREATE TRIGGER finding_opened AFTER INSERT ON findings BEGIN
    INSERT INTO finding_days
    SELECT value, NEW.first_seen / 86400000, NEW.severity, 1, 0 FROM json_each(json_array(NEW.repository, '')) WHERE true
    ON CONFLICT DO UPDATE SET opened = opened + 1;
    INSERT INTO finding_days
    SELECT value, max(NEW.first_seen, coalesce(NEW.decided, NEW.since)) / 86400000, NEW.severity, 0, 1
    FROM json_each(json_array(NEW.repository, '')) WHERE NOT NEW.is_open
    ON CONFLICT DO UPDATE SET closed = closed + 1;
END;
CREATE TRIGGER finding_unopened AFTER DELETE ON findings BEGIN
    UPDATE finding_days SET opened = opened - 1
    WHERE repository IN (OLD.repository, '') AND day = OLD.first_seen / 86400000 AND severity = OLD.severity;
    UPDATE finding_days SET closed = closed - 1
    WHERE NOT OLD.is_open AND repository IN (OLD.repository, '') AND severity = OLD.severity
      AND day = max(OLD.first_seen, coalesce(OLD.decided, OLD.since)) / 86400000;
END;
CREATE TRIGGER finding_reopened AFTER UPDATE OF severity, first_seen, since, decided, is_open ON findings
WHEN (OLD.severity, OLD.first_seen, OLD.since, OLD.decided, OLD.is_open)
  IS NOT (NEW.severity, NEW.first_seen, NEW.since, NEW.decided, NEW.is_open) BEGIN
    UPDATE finding_days SET opened = opened - 1
    WHERE repository IN (OLD.repository, '') AND day = OLD.first_seen / 86400000 AND severity = OLD.severity;
    UPDATE finding_days SET closed = closed - 1
    WHERE NOT OLD.is_open AND repository IN (OLD.repository, '') AND severity = OLD.severity
      AND day = max(OLD.first_seen, coalesce(OLD.decided, OLD.since)) / 86400000;
    INSERT INTO finding_days
    SELECT value, NEW.first_seen / 86400000, NEW.severity, 1, 0 FROM json_each(json_array(NEW.repository, '')) WHERE true
    ON CONFLICT DO UPDATE SET opened = opened + 1;
    INSERT INTO finding_days
    SELECT value, max(NEW.first_seen, coalesce(NEW.decided, NEW.since)) / 86400000, NEW.severity, 0, 1
    FROM json_each(json_array(NEW.repository, '')) WHERE NOT NEW.is_open
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
INSERT INTO secret_places SELECT hash, repository, count(*) FROM findings WHERE is_open GROUP BY 1, 2;
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

INSERT INTO secrets SELECT hash, count(*) FROM secret_places GROUP BY 1;
CREATE INDEX secrets_shared ON secrets (repositories, hash) WHERE repositories > 1;
CREATE TRIGGER secret_place_added AFTER INSERT ON secret_places BEGIN
    INSERT INTO secrets VALUES (NEW.hash, 1) ON CONFLICT DO UPDATE SET repositories = repositories + 1;
END;
CREATE TRIGGER secret_place_gone AFTER DELETE ON secret_places BEGIN
    UPDATE secrets SET repositories = repositories - 1 WHERE hash = OLD.hash;
    DELETE FROM secrets WHERE hash = OLD.hash AND repositories = 0;
END;

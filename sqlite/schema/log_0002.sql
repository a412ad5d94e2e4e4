-- A log. PRAGMA application_id and user_version are set by the program.

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The leaves of n entries from idx on: their exact bytes, separated by line
-- feeds. A row has as many as one transaction adds and one page holds.
CREATE TABLE entries (
  idx    INTEGER PRIMARY KEY,
  n      INTEGER NOT NULL CHECK (n BETWEEN 1 AND 64),
  leaves BLOB NOT NULL
) STRICT;

-- The same with a row for each entry, for people and other programs.
CREATE VIEW leaves AS
SELECT e.idx + j.key AS idx, j.value AS leaf
FROM entries e, json_each('[' || replace(CAST(e.leaves AS TEXT), char(10), ',') || ']') j;

-- What makes an id unique: see attestlog.IDKey.
CREATE TABLE keys (
  key BLOB PRIMARY KEY,
  idx INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The values of sealed fields. Erasing one deletes its row. id is idx * 2048 plus
-- the position of the seal in its leaf, which holds fewer. A key that is a number
-- is twice as fast as one with the pointer.
CREATE TABLE disclosures (
  id      INTEGER PRIMARY KEY,
  pointer TEXT NOT NULL,
  salt    BLOB NOT NULL CHECK (length(salt) = 16),
  value   BLOB NOT NULL,
  idx     INTEGER NOT NULL AS (id >> 11)
) STRICT;

-- Full tiles of 256 hashes. id is level * 2^52 + n.
CREATE TABLE tiles (
  id     INTEGER PRIMARY KEY,
  hashes BLOB NOT NULL CHECK (length(hashes) = 8192)
) STRICT;

-- The state of the tree: one row.
CREATE TABLE tree (
  one         INTEGER PRIMARY KEY CHECK (one = 1),
  size        INTEGER NOT NULL CHECK (size >= 0),
  root        BLOB NOT NULL CHECK (length(root) = 32),
  peaks       BLOB NOT NULL CHECK (length(peaks) % 32 = 0),
  tail        BLOB NOT NULL CHECK (length(tail) = 32 * (size % 256)),
  logged_time INTEGER NOT NULL -- microseconds since 1970
) STRICT;

-- Signed checkpoints, about one a minute.
CREATE TABLE checkpoints (
  size INTEGER PRIMARY KEY,
  time INTEGER NOT NULL, -- microseconds since 1970
  note BLOB NOT NULL
) STRICT;

-- What a server keeps about its access tokens: JSON, with a hash of the secret.
CREATE TABLE tokens (
  id     TEXT PRIMARY KEY,
  record BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- INSERT OR REPLACE does not fire the triggers on UPDATE and DELETE, so the tables
-- also refuse to insert a row that is there. New rows belong to new entries. A
-- refusal ends the whole transaction; ROLLBACK rather than ABORT also spares
-- SQLite a savepoint for each row. Keys are the exception, because the check
-- would cost a tenth of an append: verify finds a key that was replaced.

-- A connection may turn CHECK off, so n is bounded here again.
CREATE TRIGGER entries_insert BEFORE INSERT ON entries
WHEN NEW.n NOT BETWEEN 1 AND 64 OR NEW.idx IS NOT coalesce((SELECT idx + n FROM entries ORDER BY idx DESC LIMIT 1), 0)
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: entries are append-only'); END;
CREATE TRIGGER entries_update BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: entries are append-only'); END;
CREATE TRIGGER entries_delete BEFORE DELETE ON entries
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: entries are append-only'); END;

CREATE TRIGGER keys_update BEFORE UPDATE ON keys
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: keys are append-only'); END;
CREATE TRIGGER keys_delete BEFORE DELETE ON keys
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: keys are append-only'); END;

CREATE TRIGGER disclosures_insert BEFORE INSERT ON disclosures
WHEN NEW.id < (SELECT size FROM tree) << 11
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: disclosures are append-only'); END;
CREATE TRIGGER disclosures_update BEFORE UPDATE ON disclosures
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: disclosures are append-only'); END;
CREATE TRIGGER disclosures_delete BEFORE DELETE ON disclosures
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: disclosures are append-only'); END;

CREATE TRIGGER tiles_insert BEFORE INSERT ON tiles
WHEN EXISTS (SELECT 1 FROM tiles WHERE id = NEW.id)
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: tiles are append-only'); END;
CREATE TRIGGER tiles_update BEFORE UPDATE ON tiles
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: tiles are append-only'); END;
CREATE TRIGGER tiles_delete BEFORE DELETE ON tiles
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: tiles are append-only'); END;

CREATE TRIGGER tree_update BEFORE UPDATE ON tree
WHEN NEW.size <= OLD.size OR NEW.logged_time < OLD.logged_time
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: the tree only grows'); END;
CREATE TRIGGER tree_delete BEFORE DELETE ON tree
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: the tree only grows'); END;

CREATE TRIGGER checkpoints_insert BEFORE INSERT ON checkpoints
WHEN NEW.size <= (SELECT max(size) FROM checkpoints)
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: checkpoints are append-only'); END;
CREATE TRIGGER checkpoints_update BEFORE UPDATE ON checkpoints
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: checkpoints are append-only'); END;
CREATE TRIGGER checkpoints_delete BEFORE DELETE ON checkpoints
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: checkpoints are append-only'); END;

-- A token that was given out can be revoked, not forgotten.
CREATE TRIGGER tokens_delete BEFORE DELETE ON tokens
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: tokens are revoked, not deleted'); END;

INSERT INTO tree (one, size, root, peaks, tail, logged_time)
VALUES (1, 0, x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', x'', x'', 0);

-- Made only once the row is there. INSERT OR REPLACE does not fire the others.
CREATE TRIGGER tree_insert BEFORE INSERT ON tree
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: the tree only grows'); END;

-- The key of the hashes that the search index holds instead of terms.
INSERT INTO meta (name, value) VALUES ('index_key', randomblob(16));

CREATE TRIGGER meta_insert BEFORE INSERT ON meta
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: meta does not change'); END;
CREATE TRIGGER meta_update BEFORE UPDATE ON meta
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: meta does not change'); END;
CREATE TRIGGER meta_delete BEFORE DELETE ON meta
BEGIN SELECT RAISE(ROLLBACK, 'attestlog: meta does not change'); END;

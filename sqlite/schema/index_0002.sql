-- The search index: a projection of the entries, in a file of its own. It can
-- be deleted while no process has the log open, and is then filled again.

CREATE TABLE state (
  one   INTEGER PRIMARY KEY CHECK (one = 1),
  log   BLOB NOT NULL,    -- SHA-256 of the log's index key
  terms INTEGER NOT NULL, -- attestlog.TermsVersion
  last  BLOB NOT NULL     -- leaf hash of the last entry that is indexed
) STRICT;

-- A segment is about the entries lo ≤ idx < hi; segments adjoin, and small ones
-- are merged into larger ones. Times are nanoseconds since 1970; spans are the
-- earliest and latest time of each run of 1,024 entries, 16 bytes a run.
CREATE TABLE segments (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  live     INTEGER NOT NULL CHECK (live IN (0, 1)), -- 0: being written, or merged into another
  lo       INTEGER NOT NULL CHECK (lo >= 0),
  hi       INTEGER NOT NULL CHECK (hi > lo),
  earliest INTEGER NOT NULL,
  latest   INTEGER NOT NULL,
  spans    BLOB NOT NULL
) STRICT;

-- A segment's sorted pairs, a few hundred in a row, which stands under the
-- first of them: of kind 0 the keyed hash of a term and the index of an entry
-- that has it, of kind 1 an entry's time and index.
CREATE TABLE runs (
  id      INTEGER PRIMARY KEY,
  segment INTEGER NOT NULL,
  kind    INTEGER NOT NULL,
  a       INTEGER NOT NULL,
  b       INTEGER NOT NULL,
  data    BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX runs_order ON runs (segment, kind, a, b);

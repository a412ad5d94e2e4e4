-- The search index, in a file of its own. All of it follows from the entries: it
-- can be deleted while no process has the log open, and is then built again.

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

-- A segment's sorted pairs, a few hundred in a row, which is stored under the
-- first of them (a, b). Pairs of kind 0 are the keyed hash of a term and the
-- index of an entry that has it, pairs of kind 1 an entry's time and its index.
-- Package internal/inverted describes the data.
CREATE TABLE runs (
  id      INTEGER PRIMARY KEY,
  segment INTEGER NOT NULL,
  kind    INTEGER NOT NULL,
  a       INTEGER NOT NULL,
  b       INTEGER NOT NULL,
  data    BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX runs_order ON runs (segment, kind, a, b);

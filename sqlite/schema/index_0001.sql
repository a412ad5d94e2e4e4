-- The search index: a projection of the entries, in a file of its own. It can
-- be deleted at any time, and is then filled again.

CREATE TABLE state (
  one   INTEGER PRIMARY KEY CHECK (one = 1),
  log   BLOB NOT NULL,   -- SHA-256 of the log's index key
  terms INTEGER NOT NULL, -- attestlog.TermsVersion
  size  INTEGER NOT NULL, -- entries indexed: the watermark
  last  BLOB NOT NULL     -- leaf hash of the last of them
) STRICT;

-- One document an entry, its rowid the entry's index: the keyed hashes of its
-- terms, nine bytes each.
CREATE VIRTUAL TABLE terms USING fts5 (
  t, content = '', columnsize = 0, detail = none, tokenize = 'ascii'
);

-- Entries by time, nanoseconds since 1970.
CREATE TABLE times (
  time INTEGER NOT NULL,
  idx  INTEGER NOT NULL,
  PRIMARY KEY (time, idx)
) STRICT, WITHOUT ROWID;

-- The first and last time in each run of 1,024 entries.
CREATE TABLE blocks (
  n  INTEGER PRIMARY KEY,
  lo INTEGER NOT NULL,
  hi INTEGER NOT NULL
) STRICT;

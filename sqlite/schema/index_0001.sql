-- The search index: a projection of the entries, in a file of its own. It can
-- be deleted at any time, and is then filled again.

CREATE TABLE state (
  one   INTEGER PRIMARY KEY CHECK (one = 1),
  log   BLOB NOT NULL,    -- SHA-256 of the log's index key
  terms INTEGER NOT NULL, -- attestlog.TermsVersion
  size  INTEGER NOT NULL, -- entries indexed: the watermark
  last  BLOB NOT NULL,    -- leaf hash of the last of them
  high  INTEGER NOT NULL  -- their latest time
) STRICT;

-- One document an entry, its rowid the entry's index: the keyed hashes of its
-- terms, nine bytes each.
CREATE VIRTUAL TABLE terms USING fts5 (
  t, content = '', columnsize = 0, detail = none, tokenize = 'ascii'
);

-- Times are nanoseconds since 1970. An entry whose time is before that of some
-- entry before it is late; only late entries are listed by time. The others,
-- the spine, have times that never go back, so blocks are enough to find them.
CREATE TABLE late (
  time INTEGER NOT NULL,
  idx  INTEGER NOT NULL,
  PRIMARY KEY (time, idx)
) STRICT, WITHOUT ROWID;

-- Runs of 1,024 entries.
CREATE TABLE blocks (
  n     INTEGER PRIMARY KEY,
  lo    INTEGER NOT NULL, -- earliest time
  hi    INTEGER NOT NULL, -- latest time
  high  INTEGER NOT NULL, -- latest time of all entries before the block
  spine INTEGER NOT NULL  -- how many of its entries are not late
) STRICT;

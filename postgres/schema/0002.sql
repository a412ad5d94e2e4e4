-- A log: a schema of its own. @ stands for the schema's quoted name.

CREATE TABLE @.meta (
  name  text PRIMARY KEY,
  value bytea NOT NULL
);
COMMENT ON SCHEMA @ IS 'attestlog: an append-only log';

-- The leaves of n entries from idx on, as their exact bytes, on lines of their
-- own: as many as one transaction adds and one page holds. Partitions of 2^19
-- entries are named entries_0, entries_1, … and each is guarded by triggers of its
-- own, because those of the parent do not see what is done to a partition directly.
CREATE TABLE @.entries (
  idx    bigint NOT NULL,
  n      smallint NOT NULL CHECK (n BETWEEN 1 AND 64),
  leaves bytea NOT NULL,
  PRIMARY KEY (idx)
) PARTITION BY RANGE (idx);
ALTER TABLE @.entries ALTER COLUMN leaves SET STORAGE EXTERNAL;

-- The same with a row for each entry, for people and other programs.
CREATE VIEW @.leaves AS
SELECT e.idx + l.place - 1 AS idx, l.leaf
FROM @.entries e, string_to_table(convert_from(e.leaves, 'UTF8'), chr(10)) WITH ORDINALITY l(leaf, place);

-- What makes an id unique. A key cannot span partitions, so it has a table.
CREATE TABLE @.keys (
  key uuid PRIMARY KEY,
  idx bigint NOT NULL
);

-- The values of sealed fields. Erasing one deletes its row.
CREATE TABLE @.disclosures (
  idx     bigint NOT NULL,
  place   smallint NOT NULL CHECK (place >= 0), -- of the seal in its leaf
  pointer text NOT NULL,
  salt    bytea NOT NULL CHECK (length(salt) = 16),
  value   bytea NOT NULL,
  PRIMARY KEY (idx, place)
);

-- Full tiles of 256 hashes.
CREATE TABLE @.tiles (
  level  smallint NOT NULL,
  n      bigint NOT NULL,
  hashes bytea NOT NULL CHECK (length(hashes) = 8192),
  PRIMARY KEY (level, n)
);
ALTER TABLE @.tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- The state of the tree: one row, which a writer locks for one batch. tail and recent
-- are the hashes of the open tile: those of whole sixteens, and the others. An update
-- that leaves tail alone does not write it again, and it is long.
CREATE TABLE @.tree (
  one         boolean PRIMARY KEY DEFAULT true CHECK (one),
  size        bigint NOT NULL CHECK (size >= 0),
  root        bytea NOT NULL CHECK (length(root) = 32),
  peaks       bytea NOT NULL CHECK (length(peaks) % 32 = 0),
  tail        bytea NOT NULL CHECK (length(tail) = 32 * (size % 256 - size % 16)),
  recent      bytea NOT NULL CHECK (length(recent) = 32 * (size % 16)),
  logged_time bigint NOT NULL -- microseconds since 1970
) WITH (fillfactor = 10, toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000);
ALTER TABLE @.tree ALTER COLUMN tail SET STORAGE EXTERNAL;

-- Signed checkpoints, about one a minute.
CREATE TABLE @.checkpoints (
  size bigint PRIMARY KEY,
  time bigint NOT NULL, -- microseconds since 1970
  note bytea NOT NULL
);

-- The search index: a projection of the entries that can be filled again. A
-- segment is about the entries lo ≤ idx < hi; segments adjoin, and small ones
-- are merged into larger ones. Times are nanoseconds since 1970; spans are the
-- earliest and latest time of each run of 1,024 entries, 16 bytes a run.
CREATE TABLE @.segments (
  id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  lo       bigint NOT NULL CHECK (lo >= 0),
  hi       bigint NOT NULL CHECK (hi > lo),
  earliest bigint NOT NULL,
  latest   bigint NOT NULL,
  terms    integer NOT NULL, -- version of the terms
  spans    bytea NOT NULL
);
ALTER TABLE @.segments ALTER COLUMN spans SET STORAGE EXTERNAL;

-- A segment's sorted pairs, a few hundred in a row, of which a and b are the
-- first: of kind 0 the keyed hash of a term and the index of an entry
-- that has it, of kind 1 an entry's time and index.
CREATE TABLE @.runs (
  segment bigint NOT NULL,
  kind    smallint NOT NULL,
  a       bigint NOT NULL,
  b       bigint NOT NULL CHECK (b >= 0),
  data    bytea NOT NULL,
  PRIMARY KEY (segment, kind, a, b)
);
ALTER TABLE @.runs ALTER COLUMN data SET STORAGE PLAIN;

-- Events that were committed with the transactions of applications, and that
-- wait to be moved into the log in the order of their ids. A role that may only
-- append this way is granted INSERT of event. The largest event, with an original
-- of 1 MiB that is all escapes, is 6 MiB.
CREATE TABLE @.outbox (
  id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at    bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000, -- nanoseconds since 1970
  event text NOT NULL CHECK (octet_length(event) <= 8388608) -- JSON, with an id
);

-- Those of them that the log does not take.
CREATE TABLE @.refused (
  id     bigint PRIMARY KEY,
  at     bigint NOT NULL,
  event  text NOT NULL,
  reason text NOT NULL
);

-- What a server keeps about its access tokens: JSON, with a hash of the secret.
CREATE TABLE @.tokens (
  id     text PRIMARY KEY,
  record bytea NOT NULL
);

-- The log's keys and its newest signed checkpoint, if they are kept here and not in
-- files: name is key (the signing key), verifiers (one a line, oldest first) or
-- checkpoint. Who may read it can sign.
CREATE TABLE @.home (
  name  text PRIMARY KEY CHECK (name IN ('key', 'verifiers', 'checkpoint')),
  value text NOT NULL
);

-- How far a process has come in what it reads elsewhere, by the name of that. Who
-- goes on from there locks the row.
CREATE TABLE @.positions (
  name     text PRIMARY KEY,
  position bigint NOT NULL
);

-- What one process does at a time: it locks the row, FOR UPDATE, while it adds to
-- the search index (0), merges its segments (1), empties the outbox (2) or makes
-- a partition (3).
CREATE TABLE @.locks (
  work smallint PRIMARY KEY
);
INSERT INTO @.locks VALUES (0), (1), (2), (3);

INSERT INTO @.tree (size, root, peaks, tail, recent, logged_time)
VALUES (0, E'\\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', '', '', '', 0);

CREATE FUNCTION @.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'attestlog: % is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

-- Rows are only added at the table's end, since a row within the range of another
-- would be read in its place. Each row must begin where the one before it ends:
-- there are no gaps then, so the only such place is the end.
CREATE FUNCTION @.entries_follow() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (
    SELECT 1 FROM (
      SELECT a.idx, coalesce(lag(a.idx + a.n) OVER (ORDER BY a.idx),
        (SELECT e.idx + e.n FROM @.entries e WHERE e.idx < a.idx AND e.idx >= a.idx - 64 ORDER BY e.idx DESC LIMIT 1),
        0) AS behind
      FROM added a
    ) x WHERE x.idx <> x.behind
  ) THEN
    RAISE EXCEPTION 'attestlog: % is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION @.tree_grows() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.size <= OLD.size OR NEW.logged_time < OLD.logged_time THEN
    RAISE EXCEPTION 'attestlog: the tree only grows' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;

CREATE FUNCTION @.checkpoints_grow() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM @.checkpoints WHERE size >= NEW.size) THEN
    RAISE EXCEPTION 'attestlog: checkpoints are append-only' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON @.meta FOR EACH STATEMENT EXECUTE FUNCTION @.refuse();
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON @.entries FOR EACH STATEMENT EXECUTE FUNCTION @.refuse();
CREATE TRIGGER follow AFTER INSERT ON @.entries REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION @.entries_follow();
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON @.keys FOR EACH STATEMENT EXECUTE FUNCTION @.refuse();
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON @.disclosures FOR EACH STATEMENT EXECUTE FUNCTION @.refuse();
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON @.tiles FOR EACH STATEMENT EXECUTE FUNCTION @.refuse();
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON @.checkpoints FOR EACH STATEMENT EXECUTE FUNCTION @.refuse();
CREATE TRIGGER grows BEFORE INSERT ON @.checkpoints FOR EACH ROW EXECUTE FUNCTION @.checkpoints_grow();
CREATE TRIGGER refuse BEFORE INSERT OR DELETE OR TRUNCATE ON @.tree FOR EACH STATEMENT EXECUTE FUNCTION @.refuse();
CREATE TRIGGER grows BEFORE UPDATE ON @.tree FOR EACH ROW EXECUTE FUNCTION @.tree_grows();
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON @.locks FOR EACH STATEMENT EXECUTE FUNCTION @.refuse();
CREATE TRIGGER refuse BEFORE DELETE OR TRUNCATE ON @.home FOR EACH STATEMENT EXECUTE FUNCTION @.refuse();
CREATE TRIGGER refuse BEFORE DELETE OR TRUNCATE ON @.tokens FOR EACH STATEMENT EXECUTE FUNCTION @.refuse();
CREATE TRIGGER refuse BEFORE UPDATE OR TRUNCATE ON @.outbox FOR EACH STATEMENT EXECUTE FUNCTION @.refuse();

-- ALWAYS: session_replication_role does not switch them off.
ALTER TABLE @.meta ENABLE ALWAYS TRIGGER refuse;
ALTER TABLE @.entries ENABLE ALWAYS TRIGGER refuse;
ALTER TABLE @.entries ENABLE ALWAYS TRIGGER follow;
ALTER TABLE @.keys ENABLE ALWAYS TRIGGER refuse;
ALTER TABLE @.disclosures ENABLE ALWAYS TRIGGER refuse;
ALTER TABLE @.tiles ENABLE ALWAYS TRIGGER refuse;
ALTER TABLE @.checkpoints ENABLE ALWAYS TRIGGER refuse;
ALTER TABLE @.checkpoints ENABLE ALWAYS TRIGGER grows;
ALTER TABLE @.tree ENABLE ALWAYS TRIGGER refuse;
ALTER TABLE @.tree ENABLE ALWAYS TRIGGER grows;
ALTER TABLE @.locks ENABLE ALWAYS TRIGGER refuse;
ALTER TABLE @.home ENABLE ALWAYS TRIGGER refuse;
ALTER TABLE @.tokens ENABLE ALWAYS TRIGGER refuse;
ALTER TABLE @.outbox ENABLE ALWAYS TRIGGER refuse;

-- Makes the partitions with a number, unless they are there. They are attached
-- rather than created in place, which would wait for every reader and writer.
-- Writers may call it, and nothing else of what the owner may do.
CREATE FUNCTION @.make_partition(n bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  lo bigint := n << 19;
  hi bigint := (n + 1) << 19;
  role record;
BEGIN
  -- One at a time, and not far ahead of the log.
  IF n < 0 OR n > ((SELECT size FROM @.tree) >> 19) + 2 THEN
    RAISE EXCEPTION 'attestlog: partition % is too far ahead of the log', n;
  END IF;
  PERFORM 1 FROM @.locks WHERE work = 3 FOR UPDATE;
  IF to_regclass('@.entries_' || n) IS NULL THEN
    EXECUTE format('CREATE TABLE @.entries_%s (LIKE @.entries INCLUDING ALL, CHECK (idx >= %s AND idx < %s)) WITH (toast_tuple_target = 8160)', n, lo, hi);
    EXECUTE format('CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON @.entries_%s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()', n);
    EXECUTE format('ALTER TABLE @.entries_%s ENABLE ALWAYS TRIGGER refuse', n);
    EXECUTE format('CREATE TRIGGER follow AFTER INSERT ON @.entries_%s REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION @.entries_follow()', n);
    EXECUTE format('ALTER TABLE @.entries_%s ENABLE ALWAYS TRIGGER follow', n);
    EXECUTE format('ALTER TABLE @.entries ATTACH PARTITION @.entries_%s FOR VALUES FROM (%s) TO (%s)', n, lo, hi);
  END IF;
  -- Partitions are read and written by name, so they carry their parent's
  -- grants.
  FOR role IN
    SELECT pg_get_userbyid(a.grantee) AS grantee, a.privilege_type
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.oid = '@.entries'::regclass AND a.grantee <> c.relowner AND a.grantee <> 0
  LOOP
    EXECUTE format('GRANT %s ON @.entries_%s TO %I', role.privilege_type, n, role.grantee);
  END LOOP;
END $$;
REVOKE ALL ON FUNCTION @.make_partition(bigint) FROM PUBLIC;
REVOKE ALL ON SCHEMA @ FROM PUBLIC;

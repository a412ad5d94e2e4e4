package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
)

// A relation is what the server's catalog says of a name in the log's schema.
type relation struct {
	name, kind, owner string
	hides             bool   // it has rules, or row security
	isPermanent       bool   // neither unlogged nor temporary
	isPartition       bool   // it is attached to a partitioned table
	indexes           string // those that are not valid
}

// kindNames has the names of kinds of relations, by pg_class.relkind.
var kindNames = map[string]string{
	"r": "a table",
	"p": "a partitioned table",
	"v": "a view",
	"m": "a materialized view",
	"f": "a foreign table",
	"S": "a sequence",
	"i": "an index",
	"I": "a partitioned index",
	"c": "a type",
}

// relations looks for tables that are missing, that are something else, that belong
// to somebody else, or that were given what hides or changes rows. Optional tables are
// read by no answer, and may have been made by an administrator.
func (c *schemaCheck) relations(ctx context.Context) error {
	found, owner, err := c.loadRelations(ctx)
	if err != nil {
		return err
	}

	for _, name := range c.names {
		t, ours := tableNamed(name)
		if !ours {
			continue
		}
		r, ok := found[name]
		if !ok {
			return c.about(name, "table %s is missing", name)
		}
		isPartition := partitionName.MatchString(name)
		wantKind := "r"
		if name == "entries" {
			wantKind = "p"
		}

		switch {
		case r.kind != wantKind:
			return c.about(name, "%s is %s, want %s", name, kindNames[r.kind], kindNames[wantKind])
		case r.hides:
			return c.about(name, "table %s was given rules or row security", name)
		case !r.isPermanent:
			return c.about(name, "table %s is unlogged or temporary: what it holds may be gone after a crash", name)
		case !t.optional && r.owner != owner && owner != "": // without a tree, that is reported
			return c.about(name, "table %s is owned by %s, and the log's tree by %s: "+
				"if that is wanted, give all of the log's tables and partitions to one role", name, r.owner, owner)
		case r.indexes != "":
			return c.about(name, "index %s of table %s is not valid, so that rows may not be found by it: "+
				"REINDEX INDEX builds it again", r.indexes, name)
		case isPartition && !r.isPartition:
			return c.about(name, "table %s is not attached to entries", name)
		case !isPartition && r.isPartition:
			return c.about(name, "table %s was attached to another table", name)
		}
	}
	return nil
}

// loadRelations returns what there is of the tables that are checked, by name, and the
// owner of the table tree.
func (c *schemaCheck) loadRelations(ctx context.Context) (found map[string]relation, owner string, err error) {
	rows, err := c.tx.Query(ctx, `SELECT c.relname, c.relkind::text, pg_get_userbyid(c.relowner),
			c.relrowsecurity OR c.relforcerowsecurity OR EXISTS (SELECT 1 FROM pg_rewrite r WHERE r.ev_class = c.oid)
				AND c.relkind IN ('r', 'p'),
			c.relpersistence = 'p', c.relispartition,
			coalesce((SELECT min(x.indexrelid::regclass::text) FROM pg_index x
				WHERE x.indrelid = c.oid AND x.indisprimary AND NOT (x.indisvalid AND x.indisready AND x.indislive)), ''),
			(SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass($1 || '.tree'))
		FROM pg_class c
		WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY($2)`, c.s.schema, c.names)
	if err != nil {
		return nil, "", err
	}

	found = map[string]relation{}
	var r relation
	var treeOwner *string
	_, err = pgx.ForEachRow(rows, []any{
		&r.name, &r.kind, &r.owner, &r.hides, &r.isPermanent, &r.isPartition, &r.indexes, &treeOwner,
	}, func() error {
		found[r.name] = r
		if treeOwner != nil {
			owner = *treeOwner
		}
		return nil
	})
	return found, owner, err
}

// children looks for partitions that hold other entries than their names say, and for
// tables that add rows to one of the log's or that it adds rows to.
func (c *schemaCheck) children(ctx context.Context) error {
	rows, err := c.tx.Query(ctx, `SELECT p.relname, k.relname,
			p.relnamespace = $1::regnamespace, k.relnamespace = $1::regnamespace,
			coalesce(pg_get_expr(k.relpartbound, k.oid), ''), i.inhdetachpending
		FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class k ON k.oid = i.inhrelid
		WHERE p.relkind IN ('r', 'p') AND ((p.relnamespace = $1::regnamespace AND p.relname = ANY($2))
			OR (k.relnamespace = $1::regnamespace AND k.relname = ANY($2)))
		ORDER BY k.relname`, c.s.schema, c.names)
	if err != nil {
		return err
	}

	var parent, child, bound string
	var parentOurs, childOurs, isBeingDetached bool
	_, err = pgx.ForEachRow(rows, []any{&parent, &child, &parentOurs, &childOurs, &bound, &isBeingDetached}, func() error {
		isOfLog := func(name string, inSchema bool) bool {
			_, ours := tableNamed(name)
			return inSchema && ours
		}
		if !isOfLog(parent, parentOurs) && !isOfLog(child, childOurs) {
			return nil
		}

		isPartition := childOurs && partitionName.MatchString(child)
		if !(parent == "entries" && parentOurs && isPartition) {
			return c.corrupt("table %s is a child of %s, and so adds rows to it", child, parent)
		}
		want := boundOf(child)
		if bound != want || isBeingDetached {
			return c.about(child, "table %s is attached %s, want %s", child, bound, want)
		}
		return nil
	})
	return err
}

// boundOf returns which entries a partition holds, as the server writes it.
func boundOf(partition string) string {
	n := partitionNumber(partition)
	return fmt.Sprintf("FOR VALUES FROM ('%d') TO ('%d')", n*partitionWidth, (n+1)*partitionWidth)
}

// partitionNumber returns the number in the name of a partition.
func partitionNumber(name string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimPrefix(name, "entries_"), 10, 40)
	return n
}

// about returns the error of a table. That of a partition names its first entry, if the
// log has it.
func (c *schemaCheck) about(table, format string, args ...any) error {
	index := c.size
	if partitionName.MatchString(table) {
		index = min(index, partitionNumber(table)*partitionWidth)
	}
	return &attestlog.CorruptError{Index: index, Where: "schema", Err: fmt.Errorf(format, args...)}
}

// columns compares the tables' columns: their types, whether they may be NULL, and
// what is put in them where nothing is said. That of the outbox's time is left out: its
// text depends on the server's version, and it is of no entry.
func (c *schemaCheck) columns(ctx context.Context) error {
	stored, err := c.pairs(ctx, `SELECT c.relname::text, string_agg(format('%s %s%s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
			CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || a.attcollation::regcollation END,
			CASE WHEN a.attnotnull THEN ' NOT NULL' END,
			CASE a.attidentity WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY' WHEN 'd' THEN ' GENERATED BY DEFAULT AS IDENTITY' END,
			CASE WHEN a.attgenerated <> '' THEN ' GENERATED ALWAYS AS ' || pg_get_expr(d.adbin, d.adrelid)
				WHEN c.relname = 'outbox' AND a.attname = 'at' AND d.oid IS NOT NULL THEN ' DEFAULT'
				WHEN d.oid IS NOT NULL THEN ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END
			), ', ' ORDER BY a.attname COLLATE "C")
		FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		JOIN pg_type t ON t.oid = a.atttypid
		LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY($2)
		GROUP BY c.relname`, c.names)
	if err != nil {
		return err
	}

	for _, name := range c.names {
		t, _ := tableNamed(name)
		if t.columns != "" && stored[name] != t.columns {
			return c.about(name, "the columns of %s were changed: they are %q, want %q", name, stored[name], t.columns)
		}
	}
	return nil
}

// namesFor returns the tables that a verifier reads for entries of some partitions.
func namesFor(partitions []string) []string { return slices.Concat(verifiedTables, partitions) }

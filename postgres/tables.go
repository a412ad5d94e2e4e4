package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
)

// A table is one of those that a log consists of, and what protects it.
type table struct {
	name string
	// triggers are the triggers that refuse what must not happen, by name. A
	// definition has %s in place of the table and @ in place of the schema.
	triggers map[string]string
	// rights are what a role other than the owner may be granted.
	rights   []string
	columns  string // as the query of columns writes them; empty if they are not checked
	secret   bool   // readers are not granted anything
	optional bool   // it is not in the schema of every log
	// constraints are those without which a trigger, or reading, does not hold.
	constraints []string
}

var tables = []table{
	{
		name:     "meta",
		columns:  "name text NOT NULL, value bytea NOT NULL",
		triggers: map[string]string{"refuse": refuseChanges},
		rights:   []string{"SELECT"},
	},
	{
		name:    "entries",
		columns: "idx bigint NOT NULL, leaves bytea NOT NULL, n smallint NOT NULL",
		triggers: map[string]string{
			"refuse": refuseChanges,
			"follow": "AFTER INSERT ON %s REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION @.entries_follow()",
		},
		rights:      []string{"SELECT", "INSERT"},
		constraints: []string{"PRIMARY KEY (idx)", "CHECK (((n >= 1) AND (n <= 64)))"},
	},
	{
		name:        "keys",
		columns:     "idx bigint NOT NULL, key uuid NOT NULL",
		triggers:    map[string]string{"refuse": refuseChanges},
		rights:      []string{"SELECT", "INSERT"},
		constraints: []string{"PRIMARY KEY (key)"},
	},
	{
		name:        "disclosures",
		columns:     "idx bigint NOT NULL, place smallint NOT NULL, pointer text NOT NULL, salt bytea NOT NULL, value bytea NOT NULL",
		triggers:    map[string]string{"refuse": refuseChanges},
		rights:      []string{"SELECT", "INSERT"},
		constraints: []string{"PRIMARY KEY (idx, place)"},
	},
	{
		name:        "tiles",
		columns:     "hashes bytea NOT NULL, level smallint NOT NULL, n bigint NOT NULL",
		triggers:    map[string]string{"refuse": refuseChanges},
		rights:      []string{"SELECT", "INSERT"},
		constraints: []string{"PRIMARY KEY (level, n)"},
	},
	{
		name:    "checkpoints",
		columns: "note bytea NOT NULL, size bigint NOT NULL, time bigint NOT NULL",
		triggers: map[string]string{
			"refuse": refuseChanges,
			"grows":  "BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION @.checkpoints_grow()",
		},
		rights: []string{"SELECT", "INSERT"},
	},
	{
		name:    "tree",
		columns: "logged_time bigint NOT NULL, one boolean NOT NULL DEFAULT true, peaks bytea NOT NULL, recent bytea NOT NULL, root bytea NOT NULL, size bigint NOT NULL, tail bytea NOT NULL",
		triggers: map[string]string{
			"refuse": "BEFORE INSERT OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
			"grows":  "BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION @.tree_grows()",
		},
		rights: []string{"SELECT", "UPDATE"},
	},
	{
		name:    "outbox",
		columns: "at bigint NOT NULL DEFAULT, event text NOT NULL, id bigint NOT NULL GENERATED ALWAYS AS IDENTITY",
		triggers: map[string]string{
			"refuse": "BEFORE UPDATE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
		},
		rights: []string{"SELECT", "INSERT", "DELETE"},
	},
	{
		name:    "locks",
		columns: "work smallint NOT NULL",
		triggers: map[string]string{
			"refuse": "BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
		},
		rights: []string{"SELECT", "UPDATE"},
	},
	{
		name:    "tokens",
		columns: "id text NOT NULL, record bytea NOT NULL",
		triggers: map[string]string{
			"refuse": "BEFORE DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
		},
		rights: []string{"SELECT", "INSERT", "UPDATE"},
	},
	{
		name:    "home",
		columns: "name text NOT NULL, value text NOT NULL",
		triggers: map[string]string{
			"refuse": "BEFORE DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
		},
		rights: []string{"SELECT", "INSERT", "UPDATE"},
		secret: true,
	},
	{
		name:    "positions",
		columns: "name text NOT NULL, position bigint NOT NULL",
		rights:  []string{"SELECT", "INSERT", "UPDATE"},
	},
	// Made by package internal/auditview: what a view in place of an old table reads.
	{name: "audit_log_rows", rights: []string{"SELECT", "INSERT"}, optional: true},
	{
		name:    "refused",
		columns: "at bigint NOT NULL, event text NOT NULL, id bigint NOT NULL, reason text NOT NULL",
		rights:  []string{"SELECT", "INSERT", "DELETE"},
	},
	{
		name:    "segments",
		columns: "earliest bigint NOT NULL, hi bigint NOT NULL, id bigint NOT NULL GENERATED ALWAYS AS IDENTITY, latest bigint NOT NULL, lo bigint NOT NULL, spans bytea NOT NULL, terms integer NOT NULL",
		rights:  []string{"SELECT", "INSERT", "DELETE"},
	},
	{
		name:    "runs",
		columns: "a bigint NOT NULL, b bigint NOT NULL, data bytea NOT NULL, kind smallint NOT NULL, segment bigint NOT NULL",
		rights:  []string{"SELECT", "INSERT", "DELETE"},
	},
}

const refuseChanges = "BEFORE DELETE OR UPDATE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()"

var partitionName = regexp.MustCompile(`^entries_[0-9]+$`)

// tableNamed returns the log's table of that name. A partition is like its
// parent.
func tableNamed(name string) (t table, ours bool) {
	if partitionName.MatchString(name) {
		name = "entries"
	}
	i := slices.IndexFunc(tables, func(t table) bool { return t.name == name })
	if i < 0 {
		return table{}, false
	}
	return tables[i], true
}

// tableNames returns the names of the schema's tables, also of those that are
// not the log's.
func (s *Store) tableNames(ctx context.Context, db queryer) ([]string, error) {
	rows, err := db.Query(ctx, `SELECT relname::text FROM pg_class
		WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p')`, s.schema)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// A schemaCheck compares what protects the log's tables with what was
// installed.
type schemaCheck struct {
	s     *Store
	tx    pgx.Tx
	size  uint64   // of the log
	names []string // of the tables that are checked; those of others are passed over
}

// checkSchema looks at everything that protects the log's tables, and at what is
// read in their names, for a log of size entries.
func (s *Store) checkSchema(ctx context.Context, tx pgx.Tx, size uint64) error {
	names, err := s.tableNames(ctx, tx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if !t.optional && !slices.Contains(names, t.name) {
			names = append(names, t.name)
		}
	}
	for n := range partitionsOf(size) {
		name := partitionTable(n)
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return s.checkTables(ctx, tx, size, names)
}

// checkTables is checkSchema for some of the log's tables and partitions, by name.
// Each of them must be there.
func (s *Store) checkTables(ctx context.Context, tx pgx.Tx, size uint64, names []string) error {
	c := &schemaCheck{s, tx, size, names}
	for _, check := range []func(context.Context) error{
		c.relations, c.children, c.columns, c.triggers, c.functions, c.constraints, c.grants,
	} {
		err := check(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *schemaCheck) corrupt(format string, args ...any) error {
	return &attestlog.CorruptError{Index: c.size, Where: "schema", Err: fmt.Errorf(format, args...)}
}

// pairs returns the result of a query with two columns of text. Its $1 is the
// schema; args are the others.
func (c *schemaCheck) pairs(ctx context.Context, sql string, args ...any) (map[string]string, error) {
	rows, err := c.tx.Query(ctx, sql, append([]any{c.s.schema}, args...)...)
	if err != nil {
		return nil, err
	}

	out := map[string]string{}
	var key, value string
	_, err = pgx.ForEachRow(rows, []any{&key, &value}, func() error {
		out[key] = value
		return nil
	})
	return out, err
}

// triggers looks for triggers that are missing, disabled, changed or new.
func (c *schemaCheck) triggers(ctx context.Context) error {
	stored, err := c.pairs(ctx, `SELECT c.relname || ' ' || t.tgname, t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid)
		FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
		WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY($2) AND NOT t.tgisinternal`, c.names)
	if err != nil {
		return err
	}

	for _, name := range c.names {
		t, ours := tableNamed(name)
		if !ours {
			continue
		}
		for trigger, def := range t.triggers {
			want := fmt.Sprintf("A CREATE TRIGGER %s "+def, trigger, c.s.cfg.Log+"."+name) // A: enabled always
			want = strings.ReplaceAll(want, "@", c.s.cfg.Log)
			got := stored[name+" "+trigger]
			if got != want {
				return c.corrupt("trigger %s of %s is missing, disabled or was changed, "+
					"so the database no longer refuses what it should: it is %q, want %q", trigger, name, got, want)
			}
			delete(stored, name+" "+trigger)
		}
		for added := range stored {
			if strings.HasPrefix(added, name+" ") {
				return c.corrupt("trigger %s was added", added)
			}
		}
	}
	return nil
}

// functionText finds the functions of the embedded schema: name and arguments,
// attributes, and body.
var functionText = regexp.MustCompile(`(?s)CREATE FUNCTION @\.(\w+\([^)]*\)) ([^$]*)AS \$\$(.*?)\$\$;`)

// functions compares the functions with the embedded schema: their texts, where
// they look for names, and with whose rights they run.
func (c *schemaCheck) functions(ctx context.Context) error {
	stored, err := c.pairs(ctx, `SELECT format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)),
		format('%s %s %s %s %s%s', l.lanname, p.provolatile, p.prosecdef,
			p.proowner = n.nspowner OR p.proowner = (SELECT relowner FROM pg_class WHERE oid = to_regclass($1 || '.meta')),
			replace(array_to_string(p.proconfig, ';'), '"', ''), p.prosrc)
		FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE p.pronamespace = $1::regnamespace`)
	if err != nil {
		return err
	}

	for v := firstVersion; v <= schemaVersion; v++ {
		text, err := schemaText(v)
		if err != nil {
			return err
		}
		for _, m := range functionText.FindAllStringSubmatch(text, -1) {
			name, attributes, body := m[1], m[2], m[3]
			want := describeFunction(attributes, strings.ReplaceAll(body, "@", c.s.schema))
			if stored[name] != want {
				return c.corrupt("function %s is missing or was changed", name)
			}
		}
	}
	return nil
}

// describeFunction writes a function of the embedded schema as the query of
// functions does: its language, volatility, whether it has its owner's rights,
// whether that is the log's owner, and its search path and body.
func describeFunction(attributes, body string) string {
	definer := "f"
	if strings.Contains(attributes, "SECURITY DEFINER") {
		definer = "t"
	}
	path := ""
	if _, names, ok := strings.Cut(attributes, "SET search_path = "); ok {
		path = "search_path=" + strings.TrimSpace(names)
	}
	return fmt.Sprintf("plpgsql v %s t %s%s", definer, path, body)
}

// constraints looks for constraints that are missing or changed.
func (c *schemaCheck) constraints(ctx context.Context) error {
	stored, err := c.pairs(ctx, `SELECT c.relname || ' ' || pg_get_constraintdef(k.oid), k.convalidated::text
		FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
		WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY($2)`, c.names)
	if err != nil {
		return err
	}

	for _, name := range c.names {
		t, _ := tableNamed(name)
		for _, def := range t.constraints {
			if stored[name+" "+def] != "true" {
				return c.corrupt("%s of %s is missing or was changed", def, name)
			}
		}
	}
	return nil
}

// grants looks for rights that a role other than the owner should not have.
func (c *schemaCheck) grants(ctx context.Context) error {
	rows, err := c.tx.Query(ctx, `SELECT c.relname,
			CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END, a.privilege_type
		FROM pg_class c, LATERAL (
			SELECT * FROM aclexplode(c.relacl)
			UNION ALL SELECT x.* FROM pg_attribute t, aclexplode(t.attacl) x WHERE t.attrelid = c.oid
		) a
		WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY($2) AND c.relkind IN ('r', 'p')
		AND a.grantee <> c.relowner`, c.s.schema, c.names)
	if err != nil {
		return err
	}

	var name, role, right string
	_, err = pgx.ForEachRow(rows, []any{&name, &role, &right}, func() error {
		t, ours := tableNamed(name)
		if ours && !slices.Contains(t.rights, right) {
			return c.corrupt("role %s was granted %s on %s", role, right, name)
		}
		return nil
	})
	return err
}

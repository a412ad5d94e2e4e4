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
	secret   bool // readers are not granted anything
	optional bool // it is not in the schema of every log
	// constraints are those without which a trigger, or reading, does not hold.
	constraints []string
}

var tables = []table{
	{
		name:     "meta",
		triggers: map[string]string{"refuse": refuseChanges},
		rights:   []string{"SELECT"},
	},
	{
		name: "entries",
		triggers: map[string]string{
			"refuse": refuseChanges,
			"follow": "AFTER INSERT ON %s REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION @.entries_follow()",
		},
		rights:      []string{"SELECT", "INSERT"},
		constraints: []string{"PRIMARY KEY (idx)", "CHECK (((n >= 1) AND (n <= 64)))"},
	},
	{
		name:        "keys",
		triggers:    map[string]string{"refuse": refuseChanges},
		rights:      []string{"SELECT", "INSERT"},
		constraints: []string{"PRIMARY KEY (key)"},
	},
	{
		name:        "disclosures",
		triggers:    map[string]string{"refuse": refuseChanges},
		rights:      []string{"SELECT", "INSERT"},
		constraints: []string{"PRIMARY KEY (idx, place)"},
	},
	{
		name:        "tiles",
		triggers:    map[string]string{"refuse": refuseChanges},
		rights:      []string{"SELECT", "INSERT"},
		constraints: []string{"PRIMARY KEY (level, n)"},
	},
	{
		name: "checkpoints",
		triggers: map[string]string{
			"refuse": refuseChanges,
			"grows":  "BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION @.checkpoints_grow()",
		},
		rights: []string{"SELECT", "INSERT"},
	},
	{
		name: "tree",
		triggers: map[string]string{
			"refuse": "BEFORE INSERT OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
			"grows":  "BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION @.tree_grows()",
		},
		rights: []string{"SELECT", "UPDATE"},
	},
	{
		name: "outbox",
		triggers: map[string]string{
			"refuse": "BEFORE UPDATE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
		},
		rights: []string{"SELECT", "INSERT", "DELETE"},
	},
	{
		name: "locks",
		triggers: map[string]string{
			"refuse": "BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
		},
		rights: []string{"SELECT", "UPDATE"},
	},
	{
		name: "tokens",
		triggers: map[string]string{
			"refuse": "BEFORE DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
		},
		rights: []string{"SELECT", "INSERT", "UPDATE"},
	},
	{
		name: "home",
		triggers: map[string]string{
			"refuse": "BEFORE DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
		},
		rights: []string{"SELECT", "INSERT", "UPDATE"},
		secret: true,
	},
	{name: "positions", rights: []string{"SELECT", "INSERT", "UPDATE"}},
	// Made by package internal/auditview: what a view in place of an old table reads.
	{name: "audit_log_rows", rights: []string{"SELECT", "INSERT"}, optional: true},
	{name: "refused", rights: []string{"SELECT", "INSERT", "DELETE"}},
	{name: "segments", rights: []string{"SELECT", "INSERT", "DELETE"}},
	{name: "runs", rights: []string{"SELECT", "INSERT", "DELETE"}},
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
// not the log's. It fails if one of the log's was given what could hide or
// change rows.
func (s *Store) tableNames(ctx context.Context, tx pgx.Tx) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT c.relname, c.relrowsecurity OR c.relhasrules FROM pg_class c
		WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p')`, s.schema)
	if err != nil {
		return nil, err
	}

	var out []string
	var name string
	var hides bool
	_, err = pgx.ForEachRow(rows, []any{&name, &hides}, func() error {
		if _, ours := tableNamed(name); ours && hides {
			return &attestlog.CorruptError{Where: "schema", Err: fmt.Errorf("table %s was given rules or row security", name)}
		}
		out = append(out, name)
		return nil
	})
	return out, err
}

// A schemaCheck compares what protects the log's tables with what was
// installed.
type schemaCheck struct {
	s     *Store
	tx    pgx.Tx
	size  uint64   // of the log
	names []string // of the schema's tables
}

// checkSchema looks at everything that protects the log's tables.
func (s *Store) checkSchema(ctx context.Context, tx pgx.Tx, size uint64) error {
	names, err := s.tableNames(ctx, tx)
	if err != nil {
		return err
	}

	c := &schemaCheck{s, tx, size, names}
	for _, t := range tables {
		if !t.optional && !slices.Contains(names, t.name) {
			return c.corrupt("table %s is missing", t.name)
		}
	}
	for _, check := range []func(context.Context) error{c.triggers, c.functions, c.constraints, c.grants} {
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
// schema.
func (c *schemaCheck) pairs(ctx context.Context, sql string) (map[string]string, error) {
	rows, err := c.tx.Query(ctx, sql, c.s.schema)
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
		WHERE c.relnamespace = $1::regnamespace AND NOT t.tgisinternal`)
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
		FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = $1::regnamespace`)
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
		WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p') AND a.grantee <> c.relowner`, c.s.schema)
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

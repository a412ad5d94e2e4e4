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

type guard struct {
	table    string
	triggers map[string]string // definitions by name, with @ for the schema
	grants   []string

	constraints []string
}

// guarded are the tables that a log consists of, with the triggers that guard
// them, and what a role other than the owner may be granted on them.
var guarded = []guard{
	{"meta", map[string]string{"refuse": refuseChanges}, []string{"SELECT"}, nil},
	{"entries", map[string]string{
		"refuse": refuseChanges,
		"follow": "AFTER INSERT ON %s REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION @.entries_follow()",
	}, []string{"SELECT", "INSERT"}, []string{"PRIMARY KEY (idx)", "CHECK (((n >= 1) AND (n <= 64)))"}},
	{"keys", map[string]string{"refuse": refuseChanges}, []string{"SELECT", "INSERT"}, []string{"PRIMARY KEY (key)"}},
	{"disclosures", map[string]string{"refuse": refuseChanges}, []string{"SELECT", "INSERT"}, []string{"PRIMARY KEY (idx, place)"}},
	{"tiles", map[string]string{"refuse": refuseChanges}, []string{"SELECT", "INSERT"}, []string{"PRIMARY KEY (level, n)"}},
	{"checkpoints", map[string]string{
		"refuse": refuseChanges,
		"grows":  "BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION @.checkpoints_grow()",
	}, []string{"SELECT", "INSERT"}, nil},
	{"tree", map[string]string{
		"refuse": "BEFORE INSERT OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
		"grows":  "BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION @.tree_grows()",
	}, []string{"SELECT", "UPDATE"}, nil},
	{"outbox", map[string]string{
		"refuse": "BEFORE UPDATE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
	}, []string{"SELECT", "INSERT", "DELETE"}, nil},
	{"locks", map[string]string{
		"refuse": "BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
	}, []string{"SELECT", "UPDATE"}, nil},
	{"tokens", map[string]string{
		"refuse": "BEFORE DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()",
	}, []string{"SELECT", "INSERT", "UPDATE"}, nil},
	{"refused", nil, []string{"SELECT", "INSERT", "DELETE"}, nil},
	{"segments", nil, []string{"SELECT", "INSERT", "DELETE"}, nil},
	{"runs", nil, []string{"SELECT", "INSERT", "DELETE"}, nil},
}

const refuseChanges = "BEFORE DELETE OR UPDATE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION @.refuse()"

var partitionName = regexp.MustCompile(`^entries_[0-9]+$`)

// checkGuards compares what guards the tables with what was installed.
func (s *Store) checkGuards(ctx context.Context, tx pgx.Tx, size uint64) error {
	tables, err := s.tables(ctx, tx)
	if err != nil {
		return err
	}
	triggers, err := s.pairs(ctx, tx, `SELECT c.relname || ' ' || t.tgname, t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid)
		FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
		WHERE c.relnamespace = $1::regnamespace AND NOT t.tgisinternal`)
	if err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return &attestlog.CorruptError{Index: size, Where: "schema", Err: fmt.Errorf(format, args...)}
	}
	for _, g := range guarded {
		if !slices.Contains(tables, g.table) {
			return bad("table %s is missing", g.table)
		}
	}
	for _, table := range tables {
		g, ok := guardOf(table)
		if !ok {
			continue // not ours
		}
		for name, def := range g.triggers {
			want := fmt.Sprintf("A CREATE TRIGGER %s "+def, name, s.cfg.Log+"."+table)
			want = strings.ReplaceAll(want, "@", s.cfg.Log)
			if got := triggers[table+" "+name]; got != want {
				return bad("trigger %s of %s is missing, disabled or was changed, so the database no longer refuses what it should: it is %q, want %q", name, table, got, want)
			}
			delete(triggers, table+" "+name)
		}
		for added := range triggers {
			if strings.HasPrefix(added, table+" ") {
				return bad("trigger %s was added", added)
			}
		}
	}
	if err := s.checkFunctions(ctx, tx, bad); err != nil {
		return err
	}
	if err := s.checkConstraints(ctx, tx, tables, bad); err != nil {
		return err
	}
	return s.checkGrants(ctx, tx, bad)
}

// guardOf returns the guard of a table, for a partition its parent's.
func guardOf(table string) (g guard, ours bool) {
	parent := table
	if partitionName.MatchString(table) {
		parent, _, _ = strings.Cut(table, "_")
	}
	i := slices.IndexFunc(guarded, func(g guard) bool { return g.table == parent })
	if i < 0 {
		return guard{}, false
	}
	return guarded[i], true
}

// tables returns the names of the schema's tables, and fails on what could
// hide or change rows in one of the log's.
func (s *Store) tables(ctx context.Context, tx pgx.Tx) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT c.relname, c.relrowsecurity OR c.relhasrules FROM pg_class c
		WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p')`, s.schema)
	if err != nil {
		return nil, err
	}
	var out []string
	var name string
	var odd bool
	_, err = pgx.ForEachRow(rows, []any{&name, &odd}, func() error {
		if _, ours := guardOf(name); ours && odd {
			return &attestlog.CorruptError{Where: "schema", Err: fmt.Errorf("table %s was given rules or row security", name)}
		}
		out = append(out, name)
		return nil
	})
	return out, err
}

func (s *Store) pairs(ctx context.Context, tx pgx.Tx, sql string) (map[string]string, error) {
	rows, err := tx.Query(ctx, sql, s.schema)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	var key, value string
	_, err = pgx.ForEachRow(rows, []any{&key, &value}, func() error { out[key] = value; return nil })
	return out, err
}

var functionText = regexp.MustCompile(`(?s)CREATE FUNCTION @\.(\w+\([^)]*\)) ([^$]*)AS \$\$(.*?)\$\$;`)

// checkFunctions compares the functions with the embedded schema: their texts, where
// they look for names, and with whose rights they run.
func (s *Store) checkFunctions(ctx context.Context, tx pgx.Tx, bad func(string, ...any) error) error {
	stored, err := s.pairs(ctx, tx, `SELECT format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)),
		format('%s %s %s %s %s%s', l.lanname, p.provolatile, p.prosecdef, p.proowner = n.nspowner OR p.proowner = (SELECT relowner FROM pg_class WHERE oid = to_regclass($1 || '.meta')),
			replace(array_to_string(p.proconfig, ';'), '"', ''), p.prosrc)
		FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.pronamespace = $1::regnamespace`)
	if err != nil {
		return err
	}
	for v := firstVersion; v <= schemaVersion; v++ {
		text, err := schemas.ReadFile(fmt.Sprintf("schema/%04d.sql", v))
		if err != nil {
			return err
		}
		for _, m := range functionText.FindAllStringSubmatch(string(text), -1) {
			definer, path := "f", ""
			if strings.Contains(m[2], "SECURITY DEFINER") {
				definer = "t"
			}
			if _, names, ok := strings.Cut(m[2], "SET search_path = "); ok {
				path = "search_path=" + strings.TrimSpace(names)
			}
			want := fmt.Sprintf("plpgsql v %s t %s%s", definer, path, strings.ReplaceAll(m[3], "@", s.schema))
			if stored[m[1]] != want {
				return bad("function %s is missing or was changed", m[1])
			}
		}
	}
	return nil
}

// checkConstraints looks for the constraints without which a trigger, or reading,
// does not hold.
func (s *Store) checkConstraints(ctx context.Context, tx pgx.Tx, tables []string, bad func(string, ...any) error) error {
	stored, err := s.pairs(ctx, tx, `SELECT c.relname || ' ' || pg_get_constraintdef(k.oid), k.convalidated::text
		FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = $1::regnamespace`)
	if err != nil {
		return err
	}
	for _, table := range tables {
		g, _ := guardOf(table)
		for _, def := range g.constraints {
			if stored[table+" "+def] != "true" {
				return bad("%s of %s is missing or was changed", def, table)
			}
		}
	}
	return nil
}

// checkGrants looks for privileges that a role other than the owner should not
// have.
func (s *Store) checkGrants(ctx context.Context, tx pgx.Tx, bad func(string, ...any) error) error {
	rows, err := tx.Query(ctx, `SELECT c.relname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END, a.privilege_type
		FROM pg_class c, LATERAL (
			SELECT * FROM aclexplode(c.relacl)
			UNION ALL SELECT x.* FROM pg_attribute t, aclexplode(t.attacl) x WHERE t.attrelid = c.oid
		) a
		WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p') AND a.grantee <> c.relowner`, s.schema)
	if err != nil {
		return err
	}
	var table, role, privilege string
	_, err = pgx.ForEachRow(rows, []any{&table, &role, &privilege}, func() error {
		if g, ours := guardOf(table); ours && !slices.Contains(g.grants, privilege) {
			return bad("role %s was granted %s on %s", role, privilege, table)
		}
		return nil
	})
	return err
}

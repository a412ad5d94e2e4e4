package attestlog_test

import (
	"flag"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/attestlog/attestlog"

var update = flag.Bool("update-architecture", false, "write the picture in ARCHITECTURE.md anew")

// A layer is a floor of the house. Imports lead down: a package imports those of
// lower layers, and of its own only what its rule names.
type layer struct {
	name  string
	about string
	rules []rule
}

// A rule says what some packages may import, and why no more.
type rule struct {
	packages string   // one, or those below a folder: "convert/*"
	imports  []string // packages of this module, besides the mechanisms
	modules  []string // prefixes of foreign packages, besides those of what is imported
	why      string
}

// Foreign packages that come with the root.
var rootModules = []string{"golang.org/x/mod/sumdb/", "golang.org/x/mod/internal/", "github.com/google/uuid"}

// layers are the floors, the top one first.
var layers = []layer{
	{"program", "what people run", []rule{
		{"cmd/attestlog", []string{
			".", "query", "verify", "client", "convert", "convert/*", "internal/auditview", "internal/bench", "internal/field", "internal/home",
			"jsonl", "postgres", "server", "sqlite", "witness",
		}, []string{""}, "the program puts everything together, and nothing imports it"},
		{"internal/bench", []string{".", "query", "verify", "postgres", "sqlite"}, []string{
			"golang.org/x/sys/", "github.com/jackc/pgx/", "zombiezen.com/go/sqlite",
		}, "measuring needs the stores, and their bare drivers for the floors"},
	}},
	{"server", "logs over HTTP", []rule{
		{"server", []string{
			".", "query", "verify", "audithttp", "auditpolicy", "convert", "convert/cloudevents", "convert/csv", "convert/kubernetes",
			"convert/opa", "convert/otel", "convert/syslog", "fit", "internal/field", "internal/otlp", "witness",
		}, []string{
			"github.com/danielgtaylor/huma/v2", "github.com/prometheus/", "github.com/beorn7/perks", "github.com/cespare/xxhash",
			"github.com/munnerz/goautoneg", "go.yaml.in/yaml", "google.golang.org/protobuf/", "golang.org/x/",
			"github.com/coreos/go-oidc", "github.com/go-jose/go-jose", "github.com/felixge/httpsnoop",
		}, "a server is given logs: it compiles no store and no command line"},
	}},
	{"drop-ins", "the APIs of two audit logs that services wrote for themselves", []rule{
		{"compat/auditlog", []string{".", "query", "fit", "convert/auditlog", "internal/oldlog", "sqlite"}, nil,
			"a program that replaces the SQLite log must not compile PostgreSQL"},
		{"compat/audit", []string{".", "query", "fit", "convert/audit", "internal/auditview", "internal/oldlog", "postgres", "spool", "witness"}, nil,
			"a program that replaces the PostgreSQL log must not compile SQLite"},
		{"internal/auditview", []string{".", "query", "convert/audit", "internal/oldlog"}, nil,
			"a view of the old name reads a log, whatever writes it"},
		{"internal/oldlog", []string{".", "query"}, nil, "taking over a table is events and a log, whatever the database"},
	}},
	{"in front of a log", "what a service does, as events", []rule{
		{"audithttp", []string{".", "query", "fit", "internal/auditdraft"}, nil,
			"a service that records its requests compiles the standard library, and no framework"},
		{"auditslog", []string{".", "fit", "internal/field"}, nil, "a service that logs compiles the standard library alone"},
		{"auditpolicy", []string{".", "diff", "fit", "internal/field"}, nil, "a policy in front of a log compiles the standard library alone"},
		{"auditrpc", []string{".", "fit", "audithttp", "internal/auditdraft"}, nil, "what the interceptors share compiles neither framework"},
		{"internal/auditdraft", []string{"."}, nil, "an event in the making is an event and a lock"},
		{"auditgrpc", []string{".", "auditrpc"}, []string{"google.golang.org/", "golang.org/x/"}, "a gRPC server compiles gRPC alone"},
		{"auditconnect", []string{".", "auditrpc"}, []string{"connectrpc.com/connect", "google.golang.org/protobuf/"},
			"a Connect server compiles Connect alone"},
	}},
	{"foreign records", "other people's formats, in and out", []rule{
		{"convert/audit", []string{".", "fit", "convert"}, []string{"github.com/jackc/", "golang.org/x/text/", "golang.org/x/sync/"},
			"the old table is in PostgreSQL, and read with its driver alone"},
		{"convert/auditlog", []string{".", "fit", "convert"}, sqliteModules, "the old table is in SQLite, and read with its driver alone"},
		{"convert/syslog", []string{".", "fit", "convert"}, []string{"github.com/leodido/"}, "a reader needs no store; parsing RFC 5424 is a library's"},
		{"convert/*", []string{".", "fit", "convert", "internal/field", "internal/loosejson"}, nil,
			"a converter needs no store and no library of its format"},
		{"convert", []string{".", "fit", "internal/field", "internal/loosejson"}, nil, "what readers share knows no format"},
		{"internal/otlp", nil, []string{"go.opentelemetry.io/proto/otlp/", "google.golang.org/protobuf/"},
			"decoding the logs of others needs neither an exporter nor gRPC"},
	}},
	{"stores and copies", "where a log is kept, copied to and asked from", []rule{
		{"sqlite", []string{".", "query", "verify", "internal/home", "internal/inverted", "internal/leafrow", "internal/merkle"}, sqliteModules,
			"a program that embeds the SQLite log must not compile a PostgreSQL driver, a web framework or metrics"},
		{"postgres", []string{".", "query", "verify", "internal/home", "internal/inverted", "internal/leafrow", "internal/merkle"},
			[]string{"github.com/jackc/", "golang.org/x/text/", "golang.org/x/sync/"},
			"a program that keeps the log in PostgreSQL must not compile SQLite, a web framework or metrics"},
		{"jsonl", []string{".", "verify"}, []string{"golang.org/x/sys/"}, "a follower knows the log, not the stores"},
		{"spool", []string{"."}, []string{"go.etcd.io/bbolt", "golang.org/x/sys/"}, "a service that only spools needs no store"},
		{"witness", []string{"."}, nil, "a witness knows checkpoints and proofs, no store, and asking one compiles nothing else"},
		{"client", []string{".", "query", "verify"}, nil, "a program that only sends to a server compiles neither stores nor the server"},
		{"internal/inverted", []string{".", "query", "internal/unindexed"}, []string{"github.com/dchest/siphash", "golang.org/x/sys/"},
			"the search index of both stores knows entries, no database"},
		{"internal/unindexed", []string{"."}, nil, "what waits for the index is batches, in memory"},
		{"internal/leafrow", []string{"."}, nil, "a row of leaves is bytes, whatever the database"},
		{"internal/home", []string{"."}, nil, "keys and kept checkpoints are plain files"},
	}},
	{"around the log", "what is done with events and entries", []rule{
		{"verify", []string{".", "internal/canon", "internal/idkey", "internal/merkle"}, nil,
			"the one verifier reads what it is given, and an auditor compiles no store"},
		{"diff", []string{".", "internal/canon"}, nil, "comparing two values needs the form of a change, and nothing of the log"},
		{"fit", []string{".", "internal/field", "internal/loosejson"}, nil, "fitting an event into the rules needs the rules alone"},
		{"internal/loosejson", []string{"."}, nil, "reading JSON as others write it needs the bounds of an event alone"},
	}},
	{"the log", "events, leaves, entries, and the log at work", []rule{
		{".", []string{"query", "internal/canon", "internal/field", "internal/idkey", "internal/merkle", "internal/term"}, rootModules,
			"a program that embeds the library gets no database, no server and no command line"},
	}},
	{"the query language", "what selects entries", []rule{
		{"query", []string{"internal/canon", "internal/field", "internal/idkey", "internal/term"}, nil,
			"a query is about names and values; it compares what it is shown, and never reads a log"},
	}},
	{"the format", "bytes, hashes, names", []rule{
		{"internal/canon", nil, nil, "canonical JSON is the ground of everything"},
		{"internal/merkle", nil, []string{"golang.org/x/mod/sumdb/"}, "a tree has hashes, and knows nothing of what is hashed"},
		{"internal/idkey", []string{"internal/canon"}, nil, "a key follows from an id's bytes alone"},
		{"internal/field", nil, nil, "the table of an event's fields is names"},
		{"internal/term", nil, nil, "a word is the same for a leaf and for a query"},
	}},
	{mechanisms, "one mechanism each, which every package may use", []rule{
		{"internal/wake", nil, nil, "waiting needs the standard library"},
		{"internal/retry", nil, nil, "trying again needs the standard library"},
		{"internal/lasting", nil, nil, "logging a state needs the standard library"},
		{"internal/durable", nil, nil, "writing a file needs the standard library"},
		{"internal/filelock", nil, []string{"golang.org/x/sys/"}, "locking a file needs the system's calls"},
		{"internal/jsonpointer", nil, nil, "RFC 6901 needs the standard library"},
		{"internal/pattern", nil, nil, "a pattern of names needs the standard library"},
		{"internal/halve", nil, nil, "halving a batch needs the standard library"},
		{"internal/multiset", nil, nil, "a hash of a set needs the standard library"},
	}},
	{tests, "what only tests use", []rule{
		{"internal/storetest", []string{".", "query", "verify", "spool", "internal/testlog", "internal/testwait"},
			[]string{"github.com/google/go-cmp", "pgregory.net/rapid"}, "the suite for every store compiles none"},
		{"internal/testlog", []string{".", "query", "verify", "internal/field", "internal/testwait"}, nil,
			"the tests of one store compile no other"},
		{"internal/sqlitetest", []string{".", "query", "verify", "sqlite", "internal/testlog", "internal/testwait"}, nil,
			"a test that needs any log gets the one without a server"},
		{"internal/servertest", []string{".", "server", "sqlite", "internal/sqlitetest", "internal/testlog", "internal/testwait"}, nil,
			"a test of a client gets a real server"},
		{"internal/pgtest", []string{"internal/testwait"}, nil, "a test that needs PostgreSQL may bring its own driver, or none"},
		{"internal/testwait", nil, nil, "the tests of any package may wait"},
		{"internal/crashtest", nil, nil, "kills and faults are tests, of programs"},
	}},
}

const (
	mechanisms = "mechanisms"
	tests      = "tests"
)

var sqliteModules = []string{
	"zombiezen.com/go/sqlite", "modernc.org/", "golang.org/x/sys/", "golang.org/x/exp/", "github.com/dustin/go-humanize",
	"github.com/mattn/go-isatty", "github.com/ncruces/go-strftime", "github.com/remyoudompheng/bigfft",
}

// A listed package is one that go list found.
type listed struct {
	name    string   // below the module, "." for the root
	imports []string // of this module, as names
	deps    []string // all of this module that it compiles in, as names
	foreign []string // all foreign packages that it compiles in
}

func listPackages(t *testing.T) []listed {
	const form = `{{.ImportPath}};{{join .Imports " "}};{{join .Deps " "}}`
	out, err := exec.Command("go", "list", "-f", form, "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}

	var all []listed
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), ";")
		p := listed{name: nameOf(fields[0])}
		for dep := range strings.FieldsSeq(fields[1]) {
			if isOwn(dep) {
				p.imports = append(p.imports, nameOf(dep))
			}
		}
		for dep := range strings.FieldsSeq(fields[2]) {
			domain, _, _ := strings.Cut(dep, "/")
			if isOwn(dep) {
				p.deps = append(p.deps, nameOf(dep))
			} else if strings.Contains(domain, ".") {
				p.foreign = append(p.foreign, dep)
			}
		}
		all = append(all, p)
	}
	return all
}

func isOwn(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

func nameOf(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// find returns the layer and the rule of a package: the one with its name, or
// else that of its folder.
func find(name string) (*layer, *rule) {
	for _, wanted := range []string{name, path.Dir(name) + "/*"} {
		for i := range layers {
			for k := range layers[i].rules {
				if layers[i].rules[k].packages == wanted {
					return &layers[i], &layers[i].rules[k]
				}
			}
		}
	}
	return nil, nil
}

// allowedModules returns the foreign packages that come with a package's imports,
// and its own.
func (r *rule) allowedModules(seen map[*rule]bool) []string {
	if seen[r] {
		return nil
	}
	seen[r] = true

	allowed := r.modules
	for _, name := range r.imports {
		_, imported := find(name)
		if imported == nil {
			continue // "convert/*": each is checked by itself
		}
		allowed = append(slices.Clone(allowed), imported.allowedModules(seen)...)
	}
	return allowed
}

func TestImportArrowsRunOneWay(t *testing.T) {
	for _, p := range listPackages(t) {
		in, r := find(p.name)
		if r == nil {
			t.Errorf("%s has no rule: give it one, with a reason, in the layer where it belongs", p.name)
			continue
		}

		for _, dep := range p.imports {
			to, _ := find(dep)
			if to == nil || to.name == mechanisms {
				continue
			}
			if !slices.Contains(r.imports, dep) && !slices.Contains(r.imports, path.Dir(dep)+"/*") {
				t.Errorf("%s (%s) imports %s (%s): %s", p.name, in.name, dep, to.name, r.why)
			}
		}

		allowed := slices.Clone(r.allowedModules(map[*rule]bool{}))
		for _, dep := range p.deps {
			in, mechanism := find(dep)
			if in != nil && in.name == mechanisms {
				allowed = append(allowed, mechanism.modules...)
			}
		}
		for _, dep := range p.foreign {
			if !slices.ContainsFunc(allowed, func(prefix string) bool { return strings.HasPrefix(dep, prefix) }) {
				t.Errorf("%s (%s) compiles in %s: %s", p.name, in.name, dep, r.why)
			}
		}
	}
}

// Rules must themselves lead down.
func TestRulesLeadDown(t *testing.T) {
	depth := map[string]int{}
	for i := range layers {
		for _, r := range layers[i].rules {
			depth[r.packages] = i
		}
	}
	for i := range layers {
		for _, r := range layers[i].rules {
			for _, name := range r.imports {
				to, ok := depth[name]
				if ok && to < i && layers[i].name != tests {
					t.Errorf("the rule of %s allows %s, which is in a higher layer", r.packages, name)
				}
			}
		}
	}
}

const (
	pictureBegin = "<!-- layers: made by go test -run TestArchitecture -update-architecture -->\n```\n"
	pictureEnd   = "```\n<!-- end of layers -->\n"
)

// TestArchitecture compares the picture in ARCHITECTURE.md with the packages that
// are there.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), pictureBegin)
	have, after, ends := strings.Cut(rest, pictureEnd)
	if !begins || !ends {
		t.Fatalf("ARCHITECTURE.md has no picture between %q and %q", pictureBegin, pictureEnd)
	}

	want := picture(listPackages(t))
	if *update {
		text := before + pictureBegin + want + pictureEnd + after
		if err := os.WriteFile("ARCHITECTURE.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != want {
		t.Errorf("the picture in ARCHITECTURE.md is out of date; make it again with\n\n\tgo test -run TestArchitecture . -update-architecture\n\nwant:\n%s", want)
	}
}

// picture draws the layers, each a box with its packages.
func picture(packages []listed) string {
	const width = 74
	var b strings.Builder
	for i := range layers {
		l := &layers[i]
		if i > 0 && l.name != tests {
			b.WriteString(strings.Repeat(" ", width/2) + "│\n")
		}

		title := "─ " + l.name + ": " + l.about + " "
		b.WriteString("┌" + title + strings.Repeat("─", width-len([]rune(title))) + "┐\n")
		line := ""
		flush := func() {
			b.WriteString("│ " + line + strings.Repeat(" ", width-1-len([]rune(line))) + "│\n")
			line = ""
		}
		for _, p := range packages {
			in, _ := find(p.name)
			if in != l {
				continue
			}
			name := p.name
			if name == "." {
				name = "attestlog"
			}
			if len(line)+len(name)+2 > width-2 {
				flush()
			}
			line += name + "  "
		}
		flush()
		b.WriteString("└" + strings.Repeat("─", width) + "┘\n")
	}
	return b.String()
}

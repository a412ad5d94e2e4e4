package attestlog_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/attestlog/attestlog"

// arrows says which of the module's packages, and which modules, a package may
// compile in, and why it is kept so.
var arrows = []struct {
	pkg, why string
	own      []string // packages of this module
	modules  []string // prefixes of foreign packages
}{
	{
		module, "who embeds the library gets no database, no server and no command line",
		nil,
		[]string{"golang.org/x/mod/sumdb/", "golang.org/x/mod/internal/", "github.com/google/uuid"},
	},
	{
		module + "/internal/home", "the files beside a log are plain files",
		[]string{module},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/internal/inverted", "the search index of both stores knows entries, no database",
		[]string{module, module + "/internal/multiset", module + "/internal/unindexed"},
		[]string{"golang.org/x/mod/", "golang.org/x/sys/", "github.com/google/uuid", "github.com/dchest/siphash"},
	},
	{
		module + "/sqlite", "who embeds the SQLite log must not compile a PostgreSQL driver, a web framework or metrics",
		[]string{module, module + "/internal/home", module + "/internal/inverted", module + "/internal/leafrow", module + "/internal/multiset", module + "/internal/unindexed"},
		[]string{
			"golang.org/x/mod/", "github.com/google/uuid", "github.com/dchest/siphash", "zombiezen.com/go/sqlite", "modernc.org/",
			"golang.org/x/sys/", "github.com/dustin/go-humanize", "github.com/mattn/go-isatty", "github.com/ncruces/go-strftime",
			"github.com/remyoudompheng/bigfft", "golang.org/x/exp/",
		},
	},
	{
		module + "/postgres", "who keeps the log in PostgreSQL must not compile SQLite, a web framework or metrics",
		[]string{module, module + "/internal/home", module + "/internal/inverted", module + "/internal/leafrow", module + "/internal/multiset", module + "/internal/unindexed"},
		[]string{
			"golang.org/x/mod/", "github.com/google/uuid", "github.com/dchest/siphash", "github.com/jackc/", "golang.org/x/text/", "golang.org/x/sync/",
		},
	},
	{
		module + "/jsonl", "a follower knows the log, not the stores",
		[]string{module},
		[]string{"golang.org/x/mod/", "golang.org/x/sys/", "github.com/google/uuid"},
	},
	{
		module + "/spool", "a service that only spools needs no store",
		[]string{module},
		[]string{"golang.org/x/mod/", "golang.org/x/sys/", "github.com/google/uuid", "go.etcd.io/bbolt"},
	},
	{
		module + "/witness", "a witness knows checkpoints and proofs, no store; who asks one compiles nothing else",
		[]string{module},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/audithttp", "a service that records its requests compiles the standard library, and no framework",
		[]string{module, module + "/fit", module + "/internal/loosejson"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/auditpolicy", "what stands in front of a log compiles the standard library alone",
		[]string{module, module + "/fit", module + "/internal/loosejson"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/auditrpc", "what the interceptors share compiles neither framework",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert", module + "/audithttp"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/auditgrpc", "a gRPC server compiles gRPC alone",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert", module + "/audithttp", module + "/auditrpc"},
		[]string{"golang.org/x/", "github.com/google/uuid", "google.golang.org/"},
	},
	{
		module + "/auditconnect", "a Connect server compiles Connect alone",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert", module + "/audithttp", module + "/auditrpc"},
		[]string{"golang.org/x/", "github.com/google/uuid", "google.golang.org/protobuf/", "connectrpc.com/connect"},
	},
	{
		module + "/auditslog", "a service that logs compiles the standard library alone",
		[]string{module, module + "/fit", module + "/internal/loosejson"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/client", "who only sends to a server compiles neither stores nor the server",
		[]string{module},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/server", "a server is given logs: it compiles no store and no command line",
		[]string{
			module, module + "/audithttp", module + "/auditpolicy", module + "/fit", module + "/internal/loosejson", module + "/convert", module + "/convert/cloudevents", module + "/convert/csv",
			module + "/convert/kubernetes", module + "/convert/opa", module + "/convert/otel", module + "/convert/syslog", module + "/internal/otlp", module + "/witness",
		},
		[]string{
			"golang.org/x/", "github.com/google/uuid", "github.com/danielgtaylor/huma/v2", "github.com/prometheus/", "github.com/beorn7/perks", "github.com/cespare/xxhash",
			"github.com/munnerz/goautoneg", "go.yaml.in/yaml", "google.golang.org/protobuf/", "go.opentelemetry.io/proto/otlp", "github.com/leodido/", "github.com/coreos/go-oidc",
			"github.com/go-jose/go-jose",
		},
	},
	{
		module + "/convert/cloudtrail", "an importer needs no store",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/convert/cef", "a converter needs no store and no library of its format",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/convert/cloudevents", "a converter needs no store and no library of its format",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/convert/csv", "a converter needs no store and no library of its format",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/convert/ecs", "a converter needs no store and no library of its format",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/convert/kubernetes", "a converter needs no store and no library of its format",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/convert/ocsf", "a converter needs no store and no library of its format",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/convert/opa", "a converter needs no store and no library of its format",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/convert/otel", "a converter needs no store and no library of its format",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/convert/syslog", "a converter needs no store",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid", "github.com/leodido/go-syslog/v4"},
	},
	{
		module + "/internal/otlp", "who decodes the logs of others needs neither an exporter nor gRPC",
		nil,
		[]string{"go.opentelemetry.io/proto/otlp/", "google.golang.org/protobuf/"},
	},
	{
		module + "/convert/jsonlines", "an importer needs no store",
		[]string{module, module + "/fit", module + "/internal/loosejson", module + "/convert"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/internal/testwait", "any package's tests may wait",
		nil,
		nil,
	},
	{
		module + "/internal/testlog", "the tests of one store compile no other",
		[]string{module, module + "/internal/testwait"},
		[]string{"golang.org/x/mod/", "github.com/google/uuid"},
	},
	{
		module + "/internal/storetest", "the tests of one store compile no other",
		[]string{module, module + "/internal/testlog", module + "/internal/testwait", module + "/spool"},
		[]string{
			"golang.org/x/mod/", "golang.org/x/sys/", "github.com/google/uuid", "github.com/google/go-cmp/",
			"go.etcd.io/bbolt", "pgregory.net/rapid",
		},
	},
	{
		module + "/internal/pgtest", "a test that needs a PostgreSQL server may bring its own driver, or none",
		[]string{module + "/internal/testwait"},
		nil,
	},
}

func TestImportArrowsRunOneWay(t *testing.T) {
	for _, a := range arrows {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", a.pkg).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", a.pkg, err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			own := dep == a.pkg || slices.Contains(a.own, dep)
			foreign := !strings.HasPrefix(dep, module) && slices.ContainsFunc(a.modules, func(p string) bool { return strings.HasPrefix(dep, p) })
			if !own && !foreign {
				t.Errorf("%s compiles in %s: %s", a.pkg, dep, a.why)
			}
		}
	}
}

package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

const repository = "../.."

// documents returns the Markdown files of the repository.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md"} {
		found, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	if len(names) < 10 {
		t.Fatalf("only the documents %q were found", names)
	}
	return names
}

func readDocument(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#+ (.*)$`)
	codeBlock = regexp.MustCompile("(?ms)^```.*?^```")
)

func TestLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	for _, name := range documents(t) {
		for _, match := range link.FindAllStringSubmatch(readDocument(t, name), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}

			path, anchor, _ := strings.Cut(match[1], "#")
			target := name
			if path != "" {
				target = filepath.Join(filepath.Dir(name), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s leads nowhere", name, match[1])
				continue
			}
			if anchor != "" && !anchors(readDocument(t, target))[anchor] {
				t.Errorf("%s: the link %s leads to no heading", name, match[1])
			}
		}
	}
}

// anchors returns the names that GitHub gives the headings of a document.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	text = codeBlock.ReplaceAllString(text, "")
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		names[strings.Map(func(r rune) rune {
			switch {
			case r == ' ' || r == '-':
				return '-'
			case r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, match[1])] = true
	}
	return names
}

func TestEveryDecisionIsInTheIndex(t *testing.T) {
	folder := filepath.Join(repository, "docs", "decisions")
	index := readDocument(t, filepath.Join(folder, "README.md"))

	names, err := filepath.Glob(filepath.Join(folder, "0*.md"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no decisions: %v", err)
	}
	for i, name := range names {
		base := filepath.Base(name)
		number := i + 1
		if !strings.HasPrefix(base, fmt.Sprintf("%04d-", number)) {
			t.Fatalf("%s is the decision number %d", base, number)
		}

		text := readDocument(t, name)
		first, _, _ := strings.Cut(text, "\n")
		title, ok := strings.CutPrefix(first, fmt.Sprintf("# %d. ", number))
		if !ok {
			t.Errorf("%s begins with %q, want its number and title", base, first)
		}

		line := fmt.Sprintf("| %d | [%s](%s) | accepted |", number, title, base)
		if strings.Contains(text, "\nSuperseded by ") {
			line = fmt.Sprintf("| %d | [%s](%s) | superseded by [", number, title, base)
		}
		if !strings.Contains(index, line) {
			t.Errorf("docs/decisions/README.md has no line that begins with %s", line)
		}
	}
}

// What the documents' pieces of Go use and do not declare.
const sampleStart = `package main

import (
	"context"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/audithttp"
	"github.com/attestlog/attestlog/jsonl"
	"github.com/attestlog/attestlog/postgres"
	"github.com/attestlog/attestlog/query"
	"github.com/attestlog/attestlog/spool"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
	"github.com/attestlog/attestlog/witness"
)

var (
	ctx          context.Context
	store        attestlog.Store
	log          *attestlog.Log
	event        attestlog.Event
	tx           pgx.Tx
	mux          *http.ServeMux
	addr         string
	currentUser  func(*http.Request) attestlog.Actor
	authenticate func(http.Handler) http.Handler

	_ = time.Second
	_ = audithttp.New
	_ = jsonl.Open
	_ = postgres.Open
	_ = query.Parse
	_ = spool.Open
	_ = sqlite.Open
	_ = verify.Log
	_ = witness.NewVerifier
)

func main() {}
`

// The documents' pieces of Go compile, apart from variables that they declare
// and leave to the reader.
func TestGoOfTheDocumentsCompiles(t *testing.T) {
	source := sampleStart
	pieces := 0
	for _, name := range documents(t) {
		for i, text := range strings.Split(readDocument(t, name), "\n```go\n")[1:] {
			piece, _, _ := strings.Cut(text, "\n```")
			source += fmt.Sprintf("\nfunc _() error {\n//line %s.go:%d\n%s\nreturn nil\n}\n", filepath.Base(name), i+1, piece)
			pieces++
		}
	}
	if pieces < 5 {
		t.Fatalf("only %d pieces of Go were found", pieces)
	}

	file := filepath.Join(t.TempDir(), "samples.go")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "build", "-gcflags=-e", "-o", os.DevNull, file).CombinedOutput()
	if err == nil {
		return
	}
	for line := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		if !strings.HasPrefix(line, "#") && !strings.Contains(line, "declared and not used") {
			t.Error(line)
		}
	}
}

var messageRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// Who looks for a message in the document finds it as it is logged. An ellipsis
// stands for a part that differs, or for the rest.
func TestMessagesOfTheDocumentsAreLogged(t *testing.T) {
	text := readDocument(t, filepath.Join(repository, "docs", "operations.md"))
	_, section, _ := strings.Cut(text, "\n### Log messages\n")
	section, _, found := strings.Cut(section, "\n## ")
	rows := messageRow.FindAllStringSubmatch(section, -1)
	if !found || len(rows) < 20 {
		t.Fatalf("only %d messages were found", len(rows))
	}

	var sources strings.Builder
	err := filepath.WalkDir(repository, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go") {
			sources.WriteString(readDocument(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for part := range strings.SplitSeq(row[1], "…") {
			if !strings.Contains(sources.String(), strings.TrimSpace(part)) {
				t.Errorf("operations.md: nothing logs %q of the message %q", part, row[1])
			}
		}
	}
}

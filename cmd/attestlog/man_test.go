package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Each command that --help lists has a page, and each page is one that groff
// has nothing to say about.
func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	code := run(t.Context(), []string{"man", dir}, nil, io.Discard, io.Discard)
	if code != exitYes {
		t.Fatalf("attestlog man: exit code %d", code)
	}

	var help bytes.Buffer
	run(t.Context(), []string{"--help"}, nil, &help, io.Discard)
	_, list, _ := strings.Cut(help.String(), "Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	names := []string{"attestlog.1", "attestlog-key.1"}
	for line := range strings.Lines(list) {
		path, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		names = append(names, "attestlog-"+strings.ReplaceAll(path, " ", "-")+".1")
	}
	if len(names) < 20 {
		t.Fatalf("--help lists %q", names)
	}

	for _, name := range names {
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Contains(page, []byte("\n.SH OPTIONS\n")) {
			t.Errorf("%s has no options", name)
		}
		if groff, err := exec.LookPath("groff"); err == nil {
			out, err := exec.Command(groff, "-man", "-Kutf8", "-Tutf8", "-ww", "-z", filepath.Join(dir, name)).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("groff of %s: %v, %s", name, err, out)
			}
		}
	}

	if _, err := os.Stat(filepath.Join(dir, "attestlog-man.1")); err == nil {
		t.Error("a hidden command has a page")
	}
	page, err := os.ReadFile(filepath.Join(dir, "attestlog-token-create.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		".TH ATTESTLOG-TOKEN-CREATE 1 ",
		".SH NAME\nattestlog\\-token\\-create \\- create a token, and print it once\n",
		".SH SYNOPSIS\n.B attestlog token create\n\\-\\-scope=SCOPE",
		".TP\n.B <NOTE>\nWho or what it is for.\n",
		".SH EXAMPLES\n.PP\n.RS 4\n.EX\nattestlog token create \\(aqwebmail, production\\(aq \\-\\-scope append\n",
		".SH SEE ALSO\n.B attestlog\\-token(1)\n",
	} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
}

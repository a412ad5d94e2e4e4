package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestQueryArgs(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"query -outcome:failure", "query|NOT outcome:failure"},
		{"tail -f -n5 -ofile -o:x", "tail|-f|-n5|-ofile|NOT o:x"},
		{"query -- -outcome:failure", "query|--|-outcome:failure"},
		{"append -x:y", "append|-x:y"},
		{"--log query show -x:y", "--log|query|show|-x:y"},
		{"--config flags.json --log sqlite:x query -x:y", "--config|flags.json|--log|sqlite:x|query|NOT x:y"},
		{"--log=sqlite:x export --query -x:y", "--log=sqlite:x|export|--query|NOT x:y"},
	} {
		args := strings.Fields(c.args)
		got := queryArgs(slices.Clone(args))
		if strings.Join(got, "|") != c.want {
			t.Errorf("queryArgs(%q) = %q, want %s", args, got, c.want)
		}
	}
}

func TestVersionFlag(t *testing.T) {
	var out bytes.Buffer
	code := run(t.Context(), []string{"--version"}, nil, &out, io.Discard)
	if code != exitYes || out.String() != version()+"\n" {
		t.Errorf("attestlog --version = %d, %q, want 0 and %q", code, &out, version())
	}
}

func TestATokenInTheURLIsNotShown(t *testing.T) {
	t.Setenv(tokenVariable, "")
	var said bytes.Buffer
	code := run(t.Context(), []string{"--log", "https://u:hunter2@localhost/log", "query"}, nil, io.Discard, &said)
	if code != exitError || strings.Contains(said.String(), "hunter2") || !strings.Contains(said.String(), "holds a password") {
		t.Errorf("a URL with a password = %d, %q", code, &said)
	}
}

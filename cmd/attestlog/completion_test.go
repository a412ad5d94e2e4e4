package main

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Bash completes commands, flags, the values of flags and arguments, and files.
func TestBashCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is needed")
	}
	var script bytes.Buffer
	run(t.Context(), []string{"completion", "bash"}, nil, &script, io.Discard)

	for _, c := range []struct {
		line string   // its last word is completed
		want []string // some of the completions
		not  string   // none of them
	}{
		{"attestlog ", []string{"append", "key", "--log", "--version"}, "man"},
		{"attestlog ver", []string{"verify"}, "query"},
		{"attestlog key ", []string{"create", "rotate", "show", "--log"}, "append"},
		{"attestlog token ", []string{"create", "list", "revoke"}, "append"},
		{"attestlog token create --", []string{"--scope", "--expires", "--log"}, "--origin"},
		{"attestlog key create --", []string{"--origin"}, "--scope"},
		{"attestlog query --format ", []string{"csv", "table"}, "--all"},
		{"attestlog query --format = oc", []string{"ocsf"}, "otlp"},
		{"attestlog query --format =", []string{"ocsf"}, "--all"},
		{"attestlog --log sqlite : audit.db export --format ", []string{"tiles"}, "ocsf"},
		{"attestlog completion ", []string{"bash", "fish", "zsh"}, "append"},
		{"attestlog append completion_t", []string{"completion_test.go"}, "append"},
	} {
		words := strings.Split(c.line, " ")
		driver := fmt.Sprintf("%s\nCOMP_WORDS=(%s)\nCOMP_CWORD=%d\n_attestlog\nprintf '%%s\\n' \"${COMPREPLY[@]}\"\n",
			&script, "'"+strings.Join(words, "' '")+"'", len(words)-1)
		out, err := exec.Command(bash, "-c", driver).CombinedOutput()
		got := strings.Fields(string(out))
		if err != nil {
			t.Errorf("%q: %v, %s", c.line, err, out)
		}
		for _, want := range c.want {
			if !slices.Contains(got, want) {
				t.Errorf("%q is completed by %q, not by %s", c.line, got, want)
			}
		}
		if slices.Contains(got, c.not) {
			t.Errorf("%q is completed by %s", c.line, c.not)
		}
	}
}

func TestFishCompletion(t *testing.T) {
	var script bytes.Buffer
	run(t.Context(), []string{"completion", "fish"}, nil, &script, io.Discard)
	for _, want := range []string{
		`complete -c attestlog -n '__fish_use_subcommand' -f -a verify -d 'Verify the whole log.'`,
		`complete -c attestlog -n '__fish_seen_subcommand_from key; and not __fish_seen_subcommand_from show create rotate' -f -a rotate`,
		`complete -c attestlog -n '__fish_seen_subcommand_from key; and __fish_seen_subcommand_from create' -l origin`,
		`complete -c attestlog -n '__fish_seen_subcommand_from export' -l format -d 'jsonl, csv or tiles. Defaults to jsonl.' -x -a 'jsonl csv tiles'`,
		`complete -c attestlog -n 'true' -l log -d 'The log\'s URL:`,
	} {
		if !strings.Contains(script.String(), want) {
			t.Errorf("the script has no %q", want)
		}
	}
}

package main

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" help:"bash, zsh or fish." enum:"bash,zsh,fish" name:"SHELL"`
}

func (completionCmd) Help() string {
	return `Examples:
  attestlog completion bash > /etc/bash_completion.d/attestlog
  attestlog completion zsh > "${fpath[1]}/_attestlog"
  attestlog completion fish > ~/.config/fish/completions/attestlog.fish`
}

// command is what a completion script must know of one command.
type command struct {
	path  []string
	help  string
	flags []*kong.Flag
	subs  []string
	enums map[string][]string // by "--flag"
}

func (c *completionCmd) Run(a *app, k *kong.Context) error {
	commands := collect(k.Model.Node, nil, nil)
	switch c.Shell {
	case "bash":
		bashCompletion(a.stdout, commands)
	case "zsh":
		fmt.Fprintln(a.stdout, "#compdef attestlog\nautoload -U +X bashcompinit && bashcompinit")
		bashCompletion(a.stdout, commands)
	case "fish":
		fishCompletion(a.stdout, commands)
	}
	return nil
}

func collect(n *kong.Node, path []string, inherited []*kong.Flag) []command {
	flags := append(append([]*kong.Flag(nil), inherited...), n.Flags...)
	c := command{path: path, help: n.Help, flags: flags, enums: map[string][]string{}}
	for _, f := range flags {
		if f.Enum != "" {
			c.enums["--"+f.Name] = strings.Split(f.Enum, ",")
		}
	}
	var out []command
	for _, kid := range n.Children {
		if kid.Type == kong.CommandNode {
			c.subs = append(c.subs, kid.Name)
			out = append(out, collect(kid, append(append([]string(nil), path...), kid.Name), flags)...)
		}
	}
	for _, p := range n.Positional {
		if p.Enum != "" {
			c.subs = append(c.subs, strings.Split(p.Enum, ",")...)
		}
	}
	return append([]command{c}, out...)
}

func (c *command) words() []string {
	words := append([]string(nil), c.subs...)
	for _, f := range c.flags {
		words = append(words, "--"+f.Name)
	}
	sort.Strings(words)
	return words
}

func bashCompletion(w io.Writer, commands []command) {
	fmt.Fprint(w, `_attestlog() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" path="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${COMP_WORDS[i]}" in
      --log) ((i++)) ;;
      -*) ;;
      *) path="$path ${COMP_WORDS[i]}"; [[ "$path" == " key" ]] || break ;;
    esac
  done
  case "$path $prev" in
`)
	for _, c := range commands {
		for flag, values := range c.enums {
			fmt.Fprintf(w, "    %q) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", joinPath(c.path)+" "+flag, strings.Join(values, " "))
		}
	}
	fmt.Fprintln(w, "  esac\n  case \"$path\" in")
	for _, c := range commands {
		fmt.Fprintf(w, "    %q) COMPREPLY=($(compgen -W %q -- \"$cur\")) ;;\n", joinPath(c.path), strings.Join(c.words(), " "))
	}
	fmt.Fprint(w, `  esac
  [[ ${#COMPREPLY[@]} -gt 0 ]] || COMPREPLY=($(compgen -f -- "$cur"))
}
complete -o filenames -F _attestlog attestlog
`)
}

func joinPath(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return " " + strings.Join(path, " ")
}

func fishCompletion(w io.Writer, commands []command) {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }
	for _, c := range commands {
		condition := "__fish_use_subcommand"
		if len(c.path) > 0 {
			condition = "__fish_seen_subcommand_from " + c.path[len(c.path)-1]
		}
		for _, sub := range c.subs {
			fmt.Fprintf(w, "complete -c attestlog -n %s -a %s\n", quote(condition), sub)
		}
		for _, f := range c.flags {
			fmt.Fprintf(w, "complete -c attestlog -n %s -l %s -d %s", quote(condition), f.Name, quote(f.Help))
			if f.Enum != "" {
				fmt.Fprintf(w, " -x -a %s", quote(strings.ReplaceAll(f.Enum, ",", " ")))
			}
			fmt.Fprintln(w)
		}
	}
}

package main

import (
	"fmt"
	"io"
	"slices"
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

// The scripts are our own: those of kongplete and kong-completion run the
// program at each key press, complete no file names and, in fish, show no
// descriptions; they need three more modules, too.
func (c *completionCmd) Run(a *app, k *kong.Context) error {
	commands := listCommands(k.Model.Node, nil, nil)
	switch c.Shell {
	case "bash":
		writeBashCompletion(a.stdout, commands)
	case "zsh":
		fmt.Fprintln(a.stdout, "#compdef attestlog\nautoload -U +X bashcompinit && bashcompinit")
		writeBashCompletion(a.stdout, commands)
	case "fish":
		writeFishCompletion(a.stdout, commands)
	}
	return nil
}

// A completedCommand is what a script must know of one command, or of the
// program before a command is given.
type completedCommand struct {
	path      []string // such as key, create
	own       []*kong.Flag
	inherited []*kong.Flag
	subs      []*kong.Node
	values    []string // of its argument
}

// listCommands returns node and the commands below it.
func listCommands(node *kong.Node, path []string, inherited []*kong.Flag) []completedCommand {
	c := completedCommand{path: path, inherited: inherited}
	for _, f := range node.Flags {
		if !f.Hidden {
			c.own = append(c.own, f)
		}
	}
	for _, p := range node.Positional {
		if p.Enum != "" {
			c.values = append(c.values, p.EnumSlice()...)
		}
	}

	var below []completedCommand
	flags := slices.Concat(inherited, c.own)
	for _, sub := range node.Children {
		if sub.Type == kong.CommandNode && !sub.Hidden {
			c.subs = append(c.subs, sub)
			below = append(below, listCommands(sub, slices.Concat(path, []string{sub.Name}), flags)...)
		}
	}
	return append([]completedCommand{c}, below...)
}

// flags returns all flags that may be given with the command.
func (c *completedCommand) flags() []*kong.Flag { return slices.Concat(c.inherited, c.own) }

func (c *completedCommand) subNames() []string {
	var names []string
	for _, sub := range c.subs {
		names = append(names, sub.Name)
	}
	return names
}

// words returns all that can be completed next, sorted.
func (c *completedCommand) words() []string {
	words := slices.Concat(c.subNames(), c.values)
	for _, f := range c.flags() {
		words = append(words, "--"+f.Name)
	}
	slices.Sort(words)
	return words
}

// bashPath returns the command's path as the script has it: a space before each
// word.
func (c *completedCommand) bashPath() string {
	if len(c.path) == 0 {
		return ""
	}
	return " " + strings.Join(c.path, " ")
}

func writeBashCompletion(out io.Writer, commands []completedCommand) {
	// Bash makes a word of each = and :, so that a flag's value may be several
	// words. Words that do not go on with a command's path are passed over.
	fmt.Fprint(out, `_attestlog() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" path="" i
  if [[ "$cur" == "=" ]]; then
    cur=""
  elif [[ "$prev" == "=" ]]; then
    prev="${COMP_WORDS[COMP_CWORD-2]}"
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$path ${COMP_WORDS[i]}" in
`)

	// The path of the command so far, word by word.
	for _, c := range commands[1:] {
		fmt.Fprintf(out, "      %q) path=%q ;;\n", c.bashPath(), c.bashPath())
	}
	fmt.Fprint(out, `    esac
  done
  case "$path $prev" in
`)

	// The values of the flag before the cursor, if it has a list of them.
	for _, c := range commands {
		for _, f := range c.flags() {
			if f.Enum != "" {
				pattern := c.bashPath() + " --" + f.Name
				values := strings.Join(f.EnumSlice(), " ")
				fmt.Fprintf(out, "    %q) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", pattern, values)
			}
		}
	}
	fmt.Fprint(out, `  esac
  case "$path" in
`)

	// The command's own commands and flags, and files where there are none.
	for _, c := range commands {
		words := strings.Join(c.words(), " ")
		fmt.Fprintf(out, "    %q) COMPREPLY=($(compgen -W %q -- \"$cur\")) ;;\n", c.bashPath(), words)
	}
	fmt.Fprint(out, `  esac
  [[ ${#COMPREPLY[@]} -gt 0 ]] || COMPREPLY=($(compgen -f -- "$cur"))
}
complete -o filenames -F _attestlog attestlog
`)
}

func writeFishCompletion(out io.Writer, commands []completedCommand) {
	for _, c := range commands {
		given := c.fishCondition()
		next := given
		if len(c.path) == 0 {
			next = "__fish_use_subcommand"
		} else if len(c.subs) > 0 {
			next += "; and not __fish_seen_subcommand_from " + strings.Join(c.subNames(), " ")
		}

		for _, sub := range c.subs {
			fmt.Fprintf(out, "complete -c attestlog -n %s -f -a %s -d %s\n", fishQuote(next), sub.Name, fishQuote(sub.Help))
		}
		for _, value := range c.values {
			fmt.Fprintf(out, "complete -c attestlog -n %s -f -a %s\n", fishQuote(next), value)
		}
		for _, f := range c.own {
			fmt.Fprintf(out, "complete -c attestlog -n %s -l %s -d %s", fishQuote(given), f.Name, fishQuote(f.Help))
			switch {
			case f.Enum != "":
				fmt.Fprintf(out, " -x -a %s", fishQuote(strings.Join(f.EnumSlice(), " ")))
			case !f.IsBool():
				fmt.Fprint(out, " -r")
			}
			fmt.Fprintln(out)
		}
	}
}

// fishCondition holds once the command was given.
func (c *completedCommand) fishCondition() string {
	if len(c.path) == 0 {
		return "true"
	}
	return "__fish_seen_subcommand_from " + strings.Join(c.path, "; and __fish_seen_subcommand_from ")
}

func fishQuote(s string) string {
	s = strings.ReplaceAll(s, `\`, `\\`)
	return "'" + strings.ReplaceAll(s, "'", `\'`) + "'"
}

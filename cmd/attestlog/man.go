package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

type manCmd struct {
	Dir string `arg:"" help:"The folder to write to, created if it is missing." name:"DIR"`
}

func (manCmd) Help() string {
	return `Writes one page for the program and one for each command, such as attestlog.1 and
attestlog-key-create.1, with the texts of --help.

Examples:
  attestlog man /usr/local/share/man/man1`
}

func (c *manCmd) Run(k *kong.Context) error {
	err := os.MkdirAll(c.Dir, 0o755)
	if err != nil {
		return err
	}
	return writeManPages(c.Dir, k.Model.Node)
}

// writeManPages writes the page of a command and the pages of those below it.
func writeManPages(dir string, node *kong.Node) error {
	err := os.WriteFile(filepath.Join(dir, manName(node)+".1"), manPage(node), 0o644)
	if err != nil {
		return err
	}
	for _, sub := range node.Children {
		if sub.Hidden {
			continue
		}
		err := writeManPages(dir, sub)
		if err != nil {
			return err
		}
	}
	return nil
}

// manName returns the name of a command's page, such as attestlog-key-create.
func manName(node *kong.Node) string { return strings.ReplaceAll(node.FullPath(), " ", "-") }

// manPage returns a command's page in the form of man(7). It has no date, so
// that equal programs have equal pages.
func manPage(node *kong.Node) []byte {
	var p manWriter
	name := manName(node)
	version := cmp.Or(buildInfo().Main.Version, "(devel)")
	fmt.Fprintf(&p, ".TH %s 1 \"\" \"attestlog %s\"\n", strings.ToUpper(name), version)

	p.section("NAME")
	p.line(name + " - " + lowerFirst(strings.TrimSuffix(node.Help, ".")))
	p.section("SYNOPSIS")
	p.bold(node.FullPath())
	p.line(strings.TrimSpace(strings.TrimPrefix(node.Summary(), node.Path())))
	p.section("DESCRIPTION")
	p.line(node.Help)
	help, examples, _ := strings.Cut(node.Detail, "Examples:\n")
	p.detail(help)

	if len(node.Positional) > 0 {
		p.section("ARGUMENTS")
	}
	for _, arg := range node.Positional {
		p.item(arg.Summary(), arg.Help)
	}

	p.section("OPTIONS")
	for _, flags := range node.AllFlags(true) {
		for _, f := range flags {
			p.item(f.String(), kong.DefaultHelpValueFormatter(f.Value))
		}
	}

	commands := node.Leaves(true)
	if len(commands) > 0 {
		p.section("COMMANDS")
	}
	for _, c := range commands {
		p.item(manName(c)+"(1)", c.Help)
	}

	if examples != "" {
		p.section("EXAMPLES")
		p.detail(examples)
	}
	if node.Parent != nil {
		p.section("SEE ALSO")
		p.bold(manName(node.Parent) + "(1)")
	}
	return p.Bytes()
}

// A manWriter writes the macros of man(7), each on a line.
type manWriter struct{ bytes.Buffer }

func (p *manWriter) section(title string) { fmt.Fprintf(p, ".SH %s\n", title) }

func (p *manWriter) bold(text string) { fmt.Fprintf(p, ".B %s\n", manEscape(text)) }

// line writes a line of text, which is filled into a paragraph.
func (p *manWriter) line(text string) { fmt.Fprintln(p, manEscape(text)) }

// item writes a term and the text that explains it.
func (p *manWriter) item(term, text string) {
	fmt.Fprintln(p, ".TP")
	p.bold(term)
	p.line(text)
}

// detail writes a command's help as kong takes it: paragraphs have empty lines
// between them, and indented lines are shown as they are.
func (p *manWriter) detail(help string) {
	paragraph, verbatim := true, false
	for line := range strings.SplitSeq(help, "\n") {
		text := strings.TrimSpace(line)
		indented := text != "" && line[0] == ' '
		if verbatim && !indented {
			fmt.Fprint(p, ".EE\n.RE\n")
			paragraph = true
		}
		if !verbatim && indented {
			fmt.Fprint(p, ".PP\n.RS 4\n.EX\n")
		}
		verbatim = indented

		switch {
		case text == "":
			paragraph = true
		case verbatim:
			p.line(strings.TrimPrefix(line, "  "))
		default:
			if paragraph {
				fmt.Fprintln(p, ".PP")
			}
			paragraph = false
			p.line(text)
		}
	}
	if verbatim {
		fmt.Fprint(p, ".EE\n.RE\n")
	}
}

// manEscape keeps roff from interpreting text, and from replacing the ASCII
// characters that a shell needs as they are.
func manEscape(text string) string {
	text = strings.NewReplacer(`\`, `\(rs`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}

func lowerFirst(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[size:]
}

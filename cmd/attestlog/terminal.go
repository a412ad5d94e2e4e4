package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/rivo/uniseg"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// terminal returns the width of out, 0 if it is not a terminal, and whether
// colours are wanted.
func terminal(out io.Writer) (width int, color bool) {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}

	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		width = 80
	}
	return width, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// clean makes text safe for a terminal: control and formatting characters,
// which could move the cursor or reorder what is read, are shown as escapes.
// Only line ends stay.
func clean(s string) string {
	if !strings.ContainsFunc(s, isUnsafe) {
		return s
	}

	var b strings.Builder
	for _, r := range s {
		switch {
		case !isUnsafe(r):
			b.WriteRune(r)
		case r == '\t':
			b.WriteByte(' ')
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func isUnsafe(r rune) bool {
	if r == '\n' {
		return false
	}
	return r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}

// cleanLine is clean for text that goes into one line.
func cleanLine(s string) string { return strings.ReplaceAll(clean(s), "\n", `\n`) }

// shorten cuts text to a width in terminal cells.
func shorten(s string, width int) string {
	if uniseg.StringWidth(s) <= width {
		return s
	}

	var b strings.Builder
	used := 0
	for g := uniseg.NewGraphemes(s); g.Next(); {
		if used+g.Width() > width-1 {
			break
		}
		used += g.Width()
		b.WriteString(g.Str())
	}
	return b.String() + "…"
}

// A progress shows a bar on a terminal, and nothing elsewhere.
type progress struct {
	out   io.Writer // nil: not a terminal
	title string
	bar   *progressbar.ProgressBar
}

func newProgress(a *app, title string) *progress {
	p := &progress{title: title}
	if width, _ := terminal(a.stderr); width > 0 {
		p.out = a.stderr
	}
	return p
}

func (p *progress) set(done, total uint64) {
	if p.out == nil {
		return
	}

	if p.bar == nil || p.bar.GetMax64() != int64(total) {
		p.bar = progressbar.NewOptions64(int64(total),
			progressbar.OptionSetWriter(p.out),
			progressbar.OptionSetDescription(p.title),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionFullWidth())
	}
	p.bar.Set64(int64(done)) // fails only if the terminal does
}

// finish removes the bar.
func (p *progress) finish() {
	if p.bar != nil {
		p.bar.Finish()
		p.bar = nil
	}
}

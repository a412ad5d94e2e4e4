// Command attestlog keeps, searches, proves and verifies an audit log.
//
// Results go to standard output, everything else to standard error. The exit
// code is 0 for yes, 1 for a look that found a no (the log was tampered with,
// some lines were refused), and 2 for what could not be done, usage included.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitYes   = 0
	exitNo    = 1
	exitError = 2
)

// memoryLimit is from how many bytes on the garbage collector works harder, so
// that no command takes 200 MB: what SQLite and the program itself take comes on
// top. A server's memory grows with its clients; it and GOMEMLIMIT know better.
const memoryLimit = 128 << 20

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// errNo ends a command with exit code 1, after it has said why.
var errNo = errors.New("no")

// A hinted error carries a second line that says what to do.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// app is what every command is given.
type app struct {
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	url    string
	logger *slog.Logger
}

// cli is the command line.
type cli struct {
	Config kong.ConfigFlag `help:"Read flags from a file with one JSON object." placeholder:"FILE"`
	Log    string          `help:"The log's URL: sqlite:FILE, postgres://HOST/DATABASE?log=NAME, or https://SERVER/LOG with a token in ATTESTLOG_TOKEN. Defaults to sqlite:attestlog.db." default:"sqlite:attestlog.db" env:"ATTESTLOG_LOG" placeholder:"URL"`

	Append     appendCmd     `cmd:"" help:"Store events given as JSON lines."`
	Import     importCmd     `cmd:"" help:"Store foreign records."`
	Query      queryCmd      `cmd:"" help:"Search the log, newest first."`
	Tail       tailCmd       `cmd:"" help:"Show the last entries, and new ones as they come."`
	Show       showCmd       `cmd:"" help:"Show one entry in full."`
	Stats      statsCmd      `cmd:"" help:"Show the log's figures."`
	Verify     verifyCmd     `cmd:"" help:"Verify the whole log."`
	Prove      proveCmd      `cmd:"" help:"Write an inclusion proof of one entry."`
	Check      checkCmd      `cmd:"" help:"Check an inclusion proof offline."`
	Checkpoint checkpointCmd `cmd:"" help:"Print the newest signed checkpoint."`
	Key        keyCmd        `cmd:"" help:"Print, create or rotate the log's keys."`
	Export     exportCmd     `cmd:"" help:"Write the log in another form."`
	Backup     backupCmd     `cmd:"" help:"Copy the log while it is in use."`
	Restore    restoreCmd    `cmd:"" help:"Accept a database that was put back to an earlier state."`
	Reindex    reindexCmd    `cmd:"" help:"Build the search index again."`
	Migrate    migrateCmd    `cmd:"" help:"Make or update the schema of a log in PostgreSQL."`
	Grant      grantCmd      `cmd:"" help:"Let roles append to, or read, a log in PostgreSQL."`
	Serve      serveCmd      `cmd:"" help:"Serve logs to other machines: API, ingest, live tail, tiles."`
	Token      tokenCmd      `cmd:"" help:"Make, list and revoke the tokens of a served log."`
	Witness    witnessCmd    `cmd:"" help:"Cosign the checkpoints of other people's logs."`
	Bench      benchCmd      `cmd:"" help:"Measure on this machine's disk."`
	Completion completionCmd `cmd:"" help:"Print a completion script for a shell."`
}

// exited carries an exit code out of kong, which would end the process.
type exited int

// run is main without the process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(exited)
			if !ok {
				panic(r)
			}
			code = int(e)
		}
	}()
	var c cli
	parser, err := newParser(&c, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "attestlog: %v\n", err)
		return exitError
	}
	kctx, err := parser.Parse(queryArgs(args))
	if err != nil {
		fmt.Fprintf(stderr, "attestlog: %v\n", err)
		fmt.Fprintf(stderr, "hint: attestlog %s--help shows how\n", commandOf(args))
		return exitError
	}
	if !strings.HasPrefix(kctx.Command(), "serve") && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	a := &app{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, url: c.Log,
		logger: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	return a.finish(kctx.Run(a))
}

func newParser(c *cli, stdout, stderr io.Writer) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("attestlog"),
		kong.Description("An audit log that can prove itself."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.Configuration(readConfig),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
}

// finish reports err and returns the exit code.
func (a *app) finish(err error) int {
	switch {
	case err == nil:
		return exitYes
	case errors.Is(err, errNo):
		return exitNo
	case errors.Is(err, syscall.EPIPE):
		return exitYes // the reader has seen enough
	case errors.Is(err, context.Canceled) && a.ctx.Err() != nil:
		fmt.Fprintln(a.stderr, "attestlog: interrupted")
		return exitError
	}
	fmt.Fprintf(a.stderr, "attestlog: %s\n", clean(err.Error()))
	var h hinted
	if errors.As(err, &h) {
		fmt.Fprintf(a.stderr, "hint: %s\n", h.hint)
	}
	return exitError
}

func (a *app) say(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }

// queryArgs lets a query's terms begin with a minus, without a "--" before
// them: in the commands that take a query, "-outcome:failure" is a term and
// "-f" a flag.
func queryArgs(args []string) []string {
	out := make([]string, 0, len(args)+1)
	command := ""
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		if command == "" && !strings.HasPrefix(arg, "-") && (i == 0 || args[i-1] != "--log") {
			command = arg
		}
		takesQuery := command == "query" || command == "tail" || command == "export"
		if takesQuery && len(arg) > 2 && arg[0] == '-' && arg[1] != '-' && !isShortFlag(arg) {
			arg = "NOT " + arg[1:]
		}
		out = append(out, arg)
	}
	return out
}

// isShortFlag reports whether arg is one of the flags -o FILE, -n N or -f with
// the value attached.
func isShortFlag(arg string) bool {
	switch arg[1] {
	case 'n':
		return strings.Trim(arg[2:], "0123456789") == ""
	case 'o':
		return !strings.Contains(arg, ":")
	}
	return false
}

func commandOf(args []string) string {
	for i, arg := range args {
		if !strings.HasPrefix(arg, "-") && (i == 0 || args[i-1] != "--log") {
			return arg + " "
		}
	}
	return ""
}

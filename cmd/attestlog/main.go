// Command attestlog keeps, searches, proves and verifies an audit log.
//
// Results go to standard output, everything else to standard error. The exit
// code is 0 for yes, 1 for no (the log was tampered with, an entry was not
// found, some lines were refused), and 2 if the command could not be carried
// out, which includes wrong usage.
//
// # Adding a command
//
// Each family of commands has a file that is named after it: token.go has
// "token create", "token list" and "token revoke". In the file, in this order:
//
//   - a struct, such as tokenCreateCmd, whose fields are the flags and
//     arguments, with their help texts in the tags;
//   - its method Help, which says what the tags do not and ends in examples;
//   - its method Run, which is given the app and does the work;
//   - what only this family needs.
//
// A new command is such a struct, a field of the struct cli below, and a script
// in testdata/script that runs it. Its help, the completions of shells and its
// man page are all made from the struct.
//
// The app opens the log: reading and openWriter for one that may be at a
// server, open and readingHere for one that must be here. A command that is
// done and has found a no prints why and returns errNo. An error that the user
// can do something about is a hinted error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line: flags that all commands have, and the commands.
type cli struct {
	Config  kong.ConfigFlag  `help:"Read flags from a file with one JSON object." placeholder:"FILE"`
	Log     string           `help:"The log's URL: sqlite:FILE, postgres://HOST/DATABASE?log=NAME, or https://SERVER/LOG with a token in ATTESTLOG_TOKEN. Defaults to sqlite:attestlog.db." default:"sqlite:attestlog.db" env:"ATTESTLOG_LOG" placeholder:"URL"`
	Version kong.VersionFlag `help:"Print the program's version."`

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
	Migrate    migrateCmd    `cmd:"" help:"Create or update the schema of a log in PostgreSQL."`
	Grant      grantCmd      `cmd:"" help:"Let roles append to, or read, a log in PostgreSQL."`
	View       viewCmd       `cmd:"" help:"Show a log in PostgreSQL to reports that read the table of an old log."`
	Serve      serveCmd      `cmd:"" help:"Serve logs to other machines: API, ingest, live tail, tiles."`
	Token      tokenCmd      `cmd:"" help:"Create, list and revoke the tokens of a served log."`
	Witness    witnessCmd    `cmd:"" help:"Cosign the checkpoints of other people's logs."`
	Bench      benchCmd      `cmd:"" help:"Measure the log's speed on this machine's disk."`
	Completion completionCmd `cmd:"" help:"Print a completion script for a shell."`
	Man        manCmd        `cmd:"" help:"Write the man pages." hidden:""`
}

func (cli) Help() string {
	return `Results go to standard output, everything else to standard error.

Exit code: 0 yes; 1 no: the log was tampered with, something was not found, or some
lines were refused; 2 the command could not be carried out.`
}

// app is what every command is given.
type app struct {
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	url    string // of the log, as in --log
	logger *slog.Logger
}

// Exit codes.
const (
	exitYes   = 0
	exitNo    = 1
	exitError = 2
)

// errNo ends a command with exit code 1, after the command has said why.
var errNo = errors.New("no")

// A hinted error has a second line that says what to do.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// memoryLimit is the size, in bytes, from which the garbage collector works
// harder. SQLite and the program itself need memory besides, and no command
// should need more than 200 MB in all.
const memoryLimit = 128 << 20

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)

	stop()
	os.Exit(code)
}

// exited carries an exit code out of kong, which would end the process.
type exited int

// run is main without the process: it returns the exit code.
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
	parsed, err := parser.Parse(queryArgs(args))
	if err != nil {
		fmt.Fprintf(stderr, "attestlog: %v\n", err)
		fmt.Fprintf(stderr, "hint: attestlog %s--help shows how\n", commandOf(args))
		return exitError
	}

	// A server's memory grows with its clients, so only its operator can set a
	// limit, by GOMEMLIMIT.
	if !strings.HasPrefix(parsed.Command(), "serve") && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}

	a := &app{
		ctx:    ctx,
		stdin:  stdin,
		stdout: stdout,
		stderr: stderr,
		url:    c.Log,
		logger: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	return a.report(parsed.Run(a))
}

func newParser(c *cli, stdout, stderr io.Writer) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("attestlog"),
		kong.Description("An audit log that can prove itself."),
		kong.Vars{"version": version()},
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.Configuration(readConfig),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
}

// report prints a command's error, with its hint, and returns the exit code.
func (a *app) report(err error) int {
	switch {
	case err == nil:
		return exitYes
	case errors.Is(err, errNo):
		return exitNo
	case a.readerLeft(err):
		return exitYes // it has seen enough
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

// readerLeft reports whether a command ended because nobody reads its standard
// output any more. A connection to a database or a server that breaks is EPIPE
// too, and says nothing of the kind.
func (a *app) readerLeft(err error) bool {
	// Of joined errors the first is the cause of the others.
	for {
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) == 0 {
			break
		}
		err = joined.Unwrap()[0]
	}

	out, isFile := a.stdout.(*os.File)
	var failed *fs.PathError
	return isFile && errors.As(err, &failed) && failed.Path == out.Name() && errors.Is(failed.Err, syscall.EPIPE)
}

// say prints a line to standard error.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }

// findCommand returns the position of the command in args, or len(args).
func findCommand(args []string) int {
	for i, arg := range args {
		isValue := i > 0 && (args[i-1] == "--log" || args[i-1] == "--config")
		if !isValue && !strings.HasPrefix(arg, "-") {
			return i
		}
	}
	return len(args)
}

// commandOf returns the command in args with a space after it, or "".
func commandOf(args []string) string {
	i := findCommand(args)
	if i == len(args) {
		return ""
	}
	return args[i] + " "
}

// queryArgs lets a query's terms begin with a minus, without a "--" before
// them: in the commands that take a query, "-outcome:failure" is a term and
// "-f" a flag.
func queryArgs(args []string) []string {
	command := findCommand(args)
	if command == len(args) || !slices.Contains([]string{"query", "tail", "export"}, args[command]) {
		return args
	}

	args = slices.Clone(args)
	for i := command + 1; i < len(args) && args[i] != "--"; i++ {
		arg := args[i]
		isShort := len(arg) > 2 && arg[0] == '-' && arg[1] != '-'
		if isShort && !isShortFlag(arg) {
			args[i] = "NOT " + arg[1:]
		}
	}
	return args
}

// isShortFlag reports whether arg is one of the flags -o FILE and -n N with the
// value attached.
func isShortFlag(arg string) bool {
	switch arg[1] {
	case 'n':
		return strings.Trim(arg[2:], "0123456789") == ""
	case 'o':
		return !strings.Contains(arg, ":")
	}
	return false
}

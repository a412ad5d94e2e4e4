// Package witness cosigns the checkpoints of logs, and has them cosigned: a
// Witness is the server, a Client asks one, a Quorum asks several.
//
// A witness remembers the newest checkpoint of each log that it cosigned, and
// cosigns another only with a proof that it extends that one. Anyone who demands
// the witness's cosignature cannot be shown a log that was forked or rolled back.
// The protocol is c2sp.org/tlog-witness@v1.0.0; the signatures are the Ed25519
// ones of c2sp.org/tlog-cosignature, type 0x04. The address for monitors and the
// rule for trees of size zero are from the drafts after v1.0.0.
//
// # Requests
//
// A log sends the size that the witness knows, a consistency proof from there
// (RFC 6962, Section 2.1.2; at most 63 hashes, none if the size is zero), an
// empty line and its signed checkpoint:
//
//	POST /add-checkpoint
//
//	old 1
//	V+s1YV1H807HFMrN9f10YIpejhAnJOgLJLKHwMJ7ajE=
//
//	example.com/log
//	2
//	sTeYX/SE+2ANuTEHx3sDZcgNePW0Kd7Q/Zc2HQd5mes=
//
//	— example.com/log h+1bO65Rl1X0h8sMXUPbCLMAuBq5JsOunLvRiIa7O0PeIDEBGhsiUgLkiTvrzjS0Id8WFT8QmCyF5NDTHdGf/PNo/gc=
//
// and gets a line to put under it:
//
//	— witness.example/w1 dzpsEgAAAABpIYmgacf81xOc8wsT/zKZBOTLu5IWVdGn/yxT+7uUOuqdxubU6L9Qb2fNs01dNf+hlZEcCfWI+XxwQX1vwRcLdRbyAA==
//
// The signature is eight bytes of Unix time, big-endian, and an Ed25519
// signature of
//
//	cosignature/v1
//	time 1763805600
//	example.com/log
//	2
//	sTeYX/SE+2ANuTEHx3sDZcgNePW0Kd7Q/Zc2HQd5mes=
//
// A refusal has one of these statuses:
//
//	400  the request cannot be read, or its old size is beyond the checkpoint's
//	403  no key of the log signed the checkpoint
//	404  the log is unknown
//	409  the old size is not the one that the witness knows, or the witness knows
//	     another tree of that size; the body is the size that it knows, as
//	     text/x.tlog.size
//	413  the body is over 128 KiB
//	422  the proof does not hold
//
// 500 says that the state could not be read or written, 503 that another process
// holds it.
//
// # State
//
// The folder of a witness holds two files. "state" has the newest cosigned note
// of each log, after a SHA-256 of everything that follows its line:
//
//	attestlog witness state v1
//	sum 9f0c3c…
//	note 274
//	example.com/log
//	2
//	…
//
// "state.lock" is locked from before the state is read until its successor is
// durable. A crash may also leave a file like state.c5rjbbyk6mjh3yw4.new, which
// the next process to take the lock removes.
package witness

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Config configures a Witness.
type Config struct {
	// Signer makes the cosignatures. It is required.
	Signer *Signer
	// Logs has the keys that sign the checkpoints of each log, by its origin.
	// A log with several keys, as after a rotation, may sign with any of them.
	// The witness also remembers the logs that are no longer here. At least one
	// log is required, with at least one key each.
	Logs map[string][]note.Verifier
	// Dir is the folder of the state, on a local file system, and of nothing
	// else. Several processes may share it on Linux, macOS, the BSDs and Windows.
	// Required.
	Dir string
	// Create makes the folder and an empty state where there is none. Set it
	// when the key of Signer is new, and never again: a witness that lost its
	// state would cosign a second history. Defaults to false: New returns
	// ErrNoState.
	Create bool
	// Clock tells the time of cosignatures. Defaults to time.Now.
	Clock func() time.Time
	// Logger gets a line for each cosignature and each refusal. If a signed
	// checkpoint does not extend the cosigned one, the line has both notes, which
	// may prove that the log forked. Defaults to slog.Default().
	Logger *slog.Logger
}

// ErrNoState is returned by New when Dir holds no state and Config.Create is not
// set.
var ErrNoState = errors.New("there is no state")

// A Witness is an http.Handler that cosigns checkpoints. It answers below any
// prefix:
//
//	POST …/add-checkpoint        cosigns a checkpoint
//	GET  …/ORIGIN/checkpoint     returns the newest cosigned note of the log whose
//	                             origin has the SHA-256 ORIGIN, in lower-case hex
//
// A cosignature is given only after the checkpoint is durable: the new file is
// synced and renamed over the last, and the folder is synced. While the state
// cannot be read, or is gone, every request fails with status 500.
//
// A Witness is safe for concurrent use. It bounds the bodies of requests; the
// http.Server that serves it must bound the time that clients take.
type Witness struct {
	cfg   Config
	state *state
}

// New returns a witness. It reads the state once, and returns a *CorruptError if
// it is damaged, or ErrNoState if there is none.
func New(cfg Config) (*Witness, error) {
	if cfg.Signer == nil {
		return nil, errors.New("witness: no signer")
	}
	if cfg.Dir == "" {
		return nil, errors.New("witness: no folder for the state")
	}
	if len(cfg.Logs) == 0 {
		return nil, errors.New("witness: no logs")
	}

	// A copy, since requests read it at any time and the caller may change its own.
	logs := make(map[string][]note.Verifier, len(cfg.Logs))
	for origin, keys := range cfg.Logs {
		err := checkKeys(keys)
		if err != nil {
			return nil, fmt.Errorf("witness: log %q: %v", origin, err)
		}
		logs[origin] = slices.Clone(keys)
	}
	cfg.Logs = logs

	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}

	s, err := openState(cfg.Dir, cfg.Create)
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	return &Witness{cfg, s}, nil
}

// checkKeys refuses keys that note.Open could not tell apart.
func checkKeys(keys []note.Verifier) error {
	if len(keys) == 0 {
		return errors.New("no key")
	}

	list := note.VerifierList(keys...)
	for _, k := range keys {
		_, err := list.Verifier(k.Name(), k.KeyHash())
		if err != nil {
			return fmt.Errorf("key %s+%08x is given twice", k.Name(), k.KeyHash())
		}
	}
	return nil
}

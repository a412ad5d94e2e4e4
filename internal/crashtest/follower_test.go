package crashtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/testwait"
	"github.com/attestlog/attestlog/jsonl"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

// followEnv makes the test's program a writer with a JSON Lines follower on
// the log that it names.
const followEnv = "ATTESTLOG_CRASHTEST_FOLLOW"

// followed is how the follower is set up: it rotates often.
func followed(path string) (*jsonl.Follower, error) {
	return jsonl.Open(path+".jsonl", jsonl.Config{MaxBytes: 100 << 10})
}

func openFollowed(ctx context.Context, path string) (*attestlog.Log, error) {
	f, err := followed(path)
	if err != nil {
		return nil, err
	}
	store, err := sqlite.Open(ctx, path, sqlite.Config{})
	if err != nil {
		return nil, err
	}
	log, err := attestlog.New(ctx, store, attestlog.Config{Followers: []attestlog.Follower{f}})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return log, nil
}

// follow appends the events that in has and prints receipts, like the program
// does. Every third event is recorded instead, and has no receipt. While the
// store fails, it asks again.
func follow(path string, in io.Reader, out io.Writer) (err error) {
	ctx := context.Background()
	log, err := openFollowed(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close(ctx)) }()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); n++ {
		e, err := attestlog.ParseEvent(lines.Bytes())
		if err != nil {
			return err
		}
		if n%3 == 2 {
			if err := log.Record(ctx, e); err != nil {
				return err
			}
			continue
		}
		receipts, err := log.Append(ctx, e)
		for deadline := testwait.Deadline(); errors.Is(err, attestlog.ErrUnavailable) && time.Now().Before(deadline); {
			receipts, err = log.Append(ctx, e)
		}
		if err != nil {
			return err
		}
		r := receipts[0]
		_, err = fmt.Fprintf(out, "{\"index\":%d,\"id\":%q,\"leaf_hash\":%q,\"logged_time\":%q}\n",
			r.Index, r.ID, r.LeafHash.String(), r.LoggedTime.Format(timeFormat))
		if err != nil {
			return err
		}
	}
	return errors.Join(lines.Err(), log.Flush(ctx))
}

// verifyFollowed lets the follower catch up and verifies what it wrote.
func verifyFollowed(t *testing.T, path string, size int) {
	t.Helper()
	log, err := openFollowed(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatalf("Close: %v", err)
	}
	pub, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewVerifier(string(pub[:len(pub)-1]))
	if err != nil {
		t.Fatal(err)
	}
	files, err := jsonl.Files(path + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	report, err := jsonl.Verify(t.Context(), verify.Options{Keys: []note.Verifier{key}}, files...)
	if err != nil || report.Size != uint64(size) || report.Signed != report.Size {
		t.Errorf("jsonl.Verify(%d files) = %d entries, %d signed, %v; want %d", len(files), report.Size, report.Signed, err, size)
	}
}

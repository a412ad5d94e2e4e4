package postgres_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/pgtest"
	"github.com/attestlog/attestlog/internal/storetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/postgres"
)

// cluster is what the package's tests share; each log is a schema of its own.
var cluster *pgtest.Cluster

func TestMain(m *testing.M) {
	// The tests mostly wait: for servers, and for timeouts to pass. So more of
	// them run at a time than there are processors, unless -parallel is given.
	flag.Set("test.parallel", "8")
	os.Exit(func() int {
		var err error
		if cluster, err = pgtest.Start("fsync=off"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer cluster.Remove()
		return m.Run()
	}())
}

var logs atomic.Int64

// newHome returns the path of the files of a new log: see postgres.Config.Home.
func newHome(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "home")
}

// newLog returns a place for a new log in the shared cluster.
func newLog(t *testing.T) opener {
	return opener{fmt.Sprintf("log_%d", logs.Add(1)), newHome(t)}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener { return newLog(t) })
}

// An opener opens the log in one schema.
type opener struct{ log, home string }

func (o opener) Open(ctx context.Context, opts storetest.Options) (attestlog.Store, error) {
	s, err := o.open(ctx, postgres.Config{ReadOnly: opts.ReadOnly, NoIndex: opts.NoIndex})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (o opener) open(ctx context.Context, cfg postgres.Config) (*postgres.Store, error) {
	cfg.Log, cfg.Home = o.log, o.home
	if cfg.Logger == nil {
		cfg.Logger = testlog.Quiet
	}
	return postgres.Open(ctx, cluster.DSN("postgres"), cfg)
}

func (o opener) Erase(ctx context.Context, index uint64, pointer string) error {
	return o.tamper(ctx, fmt.Sprintf("DELETE FROM disclosures WHERE idx = %d AND pointer = '%s'", index, pointer))
}

// tamper runs a script as superuser with the triggers out of the way, which
// are there again afterwards.
func (o opener) tamper(ctx context.Context, script string) error {
	conn, err := pgx.Connect(ctx, cluster.DSN("postgres", "search_path="+o.log))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	sql := "BEGIN; " + eachTrigger("DISABLE TRIGGER") + script + "; " + eachTrigger("ENABLE ALWAYS TRIGGER") + "COMMIT"
	_, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	return err
}

// eachTrigger returns the SQL that enables or disables every trigger of a log.
func eachTrigger(what string) string {
	return `
		DO $$ DECLARE t record; BEGIN
			FOR t IN
				SELECT tgrelid::regclass AS rel, tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
				WHERE c.relnamespace = current_schema()::regnamespace AND NOT tgisinternal
			LOOP
				EXECUTE format('ALTER TABLE %s ` + what + ` %I', t.rel, t.tgname);
			END LOOP;
		END $$;
	`
}

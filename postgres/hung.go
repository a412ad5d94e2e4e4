package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/attestlog/attestlog"
)

const defaultTimeout = 30 * time.Second

func timeoutOr(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultTimeout
	}
	return d
}

// limitConnecting bounds how long a pool waits for a new connection, for one
// that was idle to say that it still answers, and for a network that is gone.
func limitConnecting(pc *pgxpool.Config, d time.Duration) {
	pc.ConnConfig.DialFunc = dialer(timeoutOr(d)).DialContext
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = timeoutOr(d)
	}
	if pc.PingTimeout == 0 {
		pc.PingTimeout = timeoutOr(d)
	}
}

// limitLocks has the sessions of a pool wait no longer than that for a lock. A
// transaction of the log sets its own limit, but a statement that a session has
// not prepared yet takes its locks before.
func limitLocks(pc *pgxpool.Config, d time.Duration) {
	if d <= 0 {
		d = defaultLockTimeout
	}
	after := pc.AfterConnect
	pc.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "SELECT set_config('lock_timeout', $1, false)", milliseconds(d)); err != nil {
			return err
		}
		if after != nil {
			return after(ctx, conn)
		}
		return nil
	}
}

// limit is how long a step of a transaction may take.
func (s *Store) limit() time.Duration { return s.cfg.LockTimeout + s.cfg.Timeout }

// try is write, given up when a step of the transaction takes longer than the
// limit: what hangs is not told from what is slow by anything else. An answer
// that is lost so is like any other that is lost.
func (s *Store) try(ctx context.Context, fn func(attestlog.Tx) error) (fnErr, err error) {
	limited, giveUp := context.WithCancel(ctx)
	defer giveUp()
	watch := time.AfterFunc(s.limit(), giveUp)
	defer watch.Stop()
	fnErr, err = s.write(limited, func() { watch.Reset(s.limit()) }, fn)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %v: %v", s.limit(), err) // not %w: the caller's context has not ended
	}
	return fnErr, err
}

// release gives a connection back; one within a transaction is closed. One that
// was given up is cut off at once: pgx waits for what may still come, and it
// would keep its place in the pool for as long.
func release(conn *pgxpool.Conn) {
	if conn.Conn().IsClosed() {
		conn.Conn().PgConn().Conn().Close()
	}
	conn.Release()
}

// milliseconds writes a setting of at least one: zero would be none.
func milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", max(d.Milliseconds(), 1)) }

// endHung ends the sessions that hold the tree's row, for which err says that a
// transaction waited too long, and whose client has sent nothing of a COPY for
// Config.Timeout: the server's own timeouts do not look at a COPY. A role may
// end its own sessions. It reports whether there were any.
func (s *Store) endHung(ctx context.Context, err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "55P03" { // lock_not_available
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, s.limit())
	defer cancel()
	var ended int
	err = s.pool.QueryRow(ctx, s.sql(`SELECT count(*) FILTER (WHERE pg_terminate_backend(a.pid)) FROM pg_stat_activity a
		WHERE a.usename = current_user AND a.state = 'active' AND a.wait_event = 'ClientRead' AND a.query_start < now() - $1::interval
		AND EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.relation = '@.tree'::regclass AND l.database = a.datid AND l.mode = 'RowShareLock' AND l.granted)`),
		milliseconds(s.cfg.Timeout)).Scan(&ended)
	if err != nil {
		s.cfg.Logger.Warn("attestlog: whoever holds up the log could not be looked for", "log", s.cfg.Log, "err", err)
	}
	if ended > 0 {
		s.cfg.Logger.Warn("attestlog: sessions that hung and held up the log were ended", "log", s.cfg.Log, "sessions", ended)
	}
	return ended > 0
}

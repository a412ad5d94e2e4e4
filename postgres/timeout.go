package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	defaultLockTimeout = 10 * time.Second
	defaultRetry       = 5 * time.Second
	defaultTimeout     = 30 * time.Second
)

func timeoutOr(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultTimeout
	}
	return d
}

// limitConnecting bounds how long a pool waits for a new connection, for one
// that was idle to say that it still answers, and for a network that is gone.
func limitConnecting(pc *pgxpool.Config, timeout time.Duration) {
	timeout = timeoutOr(timeout)
	pc.ConnConfig.DialFunc = dialer(timeout).DialContext
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = timeout
	}
	if pc.PingTimeout == 0 {
		pc.PingTimeout = timeout
	}
}

// dialer connects so that a network which loses everything is noticed within
// about d, whatever is waited for: data that is not acknowledged by
// TCP_USER_TIMEOUT, where there is that, and an answer by keepalive probes.
// Without them that takes a quarter of an hour, and two minutes.
func dialer(d time.Duration) *net.Dialer {
	const probes = 3
	interval := max(d/(probes+1), time.Second)
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: interval, Interval: interval, Count: probes},
		Control:         userTimeout(d),
	}
}

// limitLocks has the sessions of a pool wait no longer than d for a lock. A
// transaction of the log sets its own limit, but a statement that a session has
// not prepared yet takes its locks before that.
func limitLocks(pc *pgxpool.Config, d time.Duration) {
	if d <= 0 {
		d = defaultLockTimeout
	}

	afterConnect := pc.AfterConnect
	pc.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT set_config('lock_timeout', $1, false)", milliseconds(d))
		if err == nil && afterConnect != nil {
			err = afterConnect(ctx, conn)
		}
		return err
	}
}

// milliseconds writes a setting of at least one: zero would be no limit.
func milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", max(d.Milliseconds(), 1)) }

// stepLimit is how long a step of a transaction may take.
func (s *Store) stepLimit() time.Duration { return s.cfg.LockTimeout + s.cfg.Timeout }

// A stepTimer ends the context of a transaction when one of its steps takes too
// long. It belongs to the goroutine that runs the transaction.
type stepTimer struct {
	ctx    context.Context
	cancel context.CancelFunc
	timer  *time.Timer
	limit  time.Duration
}

// newStepTimer returns a timer in its first step.
func newStepTimer(ctx context.Context, limit time.Duration) *stepTimer {
	ctx, cancel := context.WithCancel(ctx)
	return &stepTimer{ctx, cancel, time.AfterFunc(limit, cancel), limit}
}

// next begins the next step.
func (t *stepTimer) next() { t.timer.Reset(t.limit) }

func (t *stepTimer) stop() {
	t.timer.Stop()
	t.cancel()
}

// A stopSignal is given once, and stays given. Its methods are safe for
// concurrent use.
type stopSignal struct {
	ctx    context.Context // ends with the signal
	cancel context.CancelFunc
}

func newStopSignal() stopSignal {
	ctx, cancel := context.WithCancel(context.Background())
	return stopSignal{ctx, cancel}
}

func (s stopSignal) give() { s.cancel() }

func (s stopSignal) given() bool { return s.ctx.Err() != nil }

// with returns a context that ends with ctx or with the signal.
func (s stopSignal) with(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	detach := context.AfterFunc(s.ctx, cancel)
	return ctx, func() {
		detach()
		cancel()
	}
}

// release gives a connection back to its pool, which closes one that is in a
// transaction. One that was given up is cut off at once: pgx waits for what may
// still come, and the connection would keep its place in the pool for as long.
func release(conn *pgxpool.Conn) {
	if conn.Conn().IsClosed() {
		conn.Conn().PgConn().Conn().Close()
	}
	conn.Release()
}

// endHung is called with the error of a transaction. If the transaction waited
// too long for a lock, endHung ends the sessions that hold the tree's row and
// whose client has sent nothing more of a COPY, or of the statements of one round
// trip, for Config.Timeout: the server's own timeouts do not look at these. A role
// may end its own sessions. It reports whether there were any.
func (s *Store) endHung(ctx context.Context, err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "55P03" { // lock_not_available
		return false
	}

	ctx, cancel := context.WithTimeout(ctx, s.stepLimit())
	defer cancel()
	var ended int
	err = s.pool.QueryRow(ctx, s.sql(`SELECT count(*) FILTER (WHERE pg_terminate_backend(a.pid))
		FROM pg_stat_activity a
		WHERE a.usename = current_user AND a.state = 'active' AND a.wait_event = 'ClientRead'
		AND a.query_start < now() - $1::interval
		AND EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.relation = '@.tree'::regclass
			AND l.database = a.datid AND l.mode IN ('RowShareLock', 'RowExclusiveLock') AND l.granted)`),
		milliseconds(s.cfg.Timeout)).Scan(&ended)

	if err != nil {
		s.cfg.Logger.Warn("attestlog: the sessions that hold up the log could not be looked for",
			"log", s.cfg.Log, "err", err)
	}
	if ended > 0 {
		s.cfg.Logger.Warn("attestlog: sessions that hung and held up the log were ended",
			"log", s.cfg.Log, "sessions", ended)
	}
	return ended > 0
}

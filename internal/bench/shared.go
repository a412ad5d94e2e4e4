package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/postgres"
)

// shared measures what only a log in PostgreSQL does: several processes append
// to it, and applications do within their own transactions.
func (b *bench) shared() error {
	s, ok := b.backend.(*schemas)
	if !ok {
		return nil
	}
	return errors.Join(b.twoLogs(), b.transactions(s))
}

// twoLogs appends in bulk through two logs on one schema, as two processes do.
// The floor is the same through one log.
func (b *bench) twoLogs() error {
	n := min(b.opts.Events, 400_000)
	one, err := b.fillThrough(1, n)
	if err != nil {
		return err
	}
	two, err := b.fillThrough(2, n)
	if err != nil {
		return err
	}

	b.print(Figure{
		Name:    "append_bulk_two",
		Value:   two,
		Unit:    "events/s",
		Floor:   one,
		Events:  n,
		Writers: 2 * b.opts.Writers,
		Batch:   b.opts.Batch,
		Note:    "two logs on one schema; the floor is one",
	})
	return nil
}

// fillThrough appends n events in bulk through several logs on one schema, and
// returns the events a second.
func (b *bench) fillThrough(count, n int) (float64, error) {
	logs := make([]*attestlog.Log, count)
	for i := range logs {
		l, _, err := b.log(fmt.Sprintf("logs_%d", count))
		if err != nil {
			return 0, err
		}
		logs[i] = l
	}

	began := time.Now()
	err := parallel(count, func(i int) error {
		_, err := b.fill(logs[i], n/count, false)
		return err
	})
	perSecond := rate(n, began)

	for _, l := range logs {
		err = errors.Join(err, l.Close(b.ctx))
	}
	return perSecond, err
}

// transactions measures an application's transactions with an event in them,
// while the log moves the events out of the outbox.
func (b *bench) transactions(s *schemas) (err error) {
	l, _, err := b.log("transactions")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Flush(b.ctx), l.Close(b.ctx)) }()

	box, err := postgres.NewOutbox(s.prefix+"transactions", attestlog.Config{})
	if err != nil {
		return err
	}
	business := s.tableName("business").Sanitize()
	_, err = s.pool.Exec(b.ctx, "CREATE TABLE "+business+" (id bigserial PRIMARY KEY, content text NOT NULL)")
	if err != nil {
		return err
	}

	insert := func(ctx context.Context, tx pgx.Tx, content []byte) error {
		_, err := tx.Exec(ctx, "INSERT INTO "+business+" (content) VALUES ($1)", string(content))
		return err
	}
	row := func(ctx context.Context, tx pgx.Tx, _ int) error {
		return insert(ctx, tx, []byte("a row of the application's own"))
	}
	logged := func(ctx context.Context, tx pgx.Tx, i int) error {
		return box.AppendTx(ctx, tx, event(i, false))
	}
	rowAndLogged := func(ctx context.Context, tx pgx.Tx, i int) error {
		return errors.Join(row(ctx, tx, i), logged(ctx, tx, i))
	}
	sameBytes := func(ctx context.Context, tx pgx.Tx, i int) error {
		p, err := attestlog.Config{}.Prepare(event(i, false))
		if err != nil {
			return err
		}
		return insert(ctx, tx, p.Event)
	}

	err = b.transactionTime(s, rowAndLogged, row)
	if err != nil {
		return err
	}
	return b.transactionRate(s, logged, sameBytes)
}

// work is what is done within a transaction with a number.
type work func(ctx context.Context, tx pgx.Tx, i int) error

// transactionTime prints the median of transactions with an event, which one
// caller makes in turn with those of the floor.
func (b *bench) transactionTime(s *schemas, with, without work) error {
	const n = 1_000
	var times [2][]float64
	for i := range n {
		for k, do := range []work{with, without} {
			began := time.Now()
			err := pgx.BeginFunc(b.ctx, s.pool, func(tx pgx.Tx) error { return do(b.ctx, tx, i) })
			if err != nil {
				return err
			}
			times[k] = append(times[k], milliseconds(began))
		}
	}

	value, floor := median(times[0]), median(times[1])
	b.print(Figure{
		Name:    "append_tx_p50",
		Value:   value,
		Unit:    "ms",
		Floor:   floor,
		Events:  n,
		Writers: 1,
		Batch:   1,
		Note:    fmt.Sprintf("an event adds %.3f ms to a transaction", value-floor),
	})
	return nil
}

// transactionRate prints how many transactions with an event many callers make
// a second, in turn with as many of the floor.
func (b *bench) transactionRate(s *schemas, logged, sameBytes work) error {
	const callers, each, rounds = 32, 100, 5
	var rates [2][]float64
	for range rounds {
		for k, do := range []work{logged, sameBytes} {
			r, err := b.callers(s, callers, each, do)
			if err != nil {
				return err
			}
			rates[k] = append(rates[k], r)
		}
	}

	b.print(Figure{
		Name:    "append_tx_rate",
		Value:   median(rates[0]),
		Unit:    "tx/s",
		Floor:   median(rates[1]),
		Events:  callers * each,
		Writers: callers,
		Batch:   1,
		Note:    "the floor inserts the same bytes into a plain table",
	})
	return nil
}

// callers returns how many transactions a second so many callers make, each
// with a connection of its own.
func (b *bench) callers(s *schemas, callers, each int, do work) (float64, error) {
	began := time.Now()
	err := parallel(callers, func(int) error {
		conn, err := pgx.ConnectConfig(b.ctx, s.pool.Config().ConnConfig)
		if err != nil {
			return err
		}
		defer conn.Close(context.WithoutCancel(b.ctx))

		for i := range each {
			err = pgx.BeginFunc(b.ctx, conn, func(tx pgx.Tx) error { return do(b.ctx, tx, i) })
			if err != nil {
				return err
			}
		}
		return nil
	})
	return rate(callers*each, began), err
}

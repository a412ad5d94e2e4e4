package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/postgres"
)

// shared measures what only a log in PostgreSQL does: two processes' logs that
// append to one at a time, and events within an application's transactions.
func (b *bench) shared() error {
	s, ok := b.backend.(*schemas)
	if !ok {
		return nil
	}
	return errors.Join(b.twoLogs(), b.transactions(s))
}

// twoLogs appends in bulk through two logs on one schema, as two processes do,
// next to the same through one.
func (b *bench) twoLogs() error {
	n := min(b.opts.Events, 400_000)
	var rates [2]float64
	for i := range rates {
		var logs []*attestlog.Log
		for range i + 1 {
			l, _, err := b.log(fmt.Sprintf("logs_%d", i+1))
			if err != nil {
				return err
			}
			logs = append(logs, l)
		}
		began := time.Now()
		errs := make([]error, len(logs))
		var wg sync.WaitGroup
		for k, l := range logs {
			wg.Go(func() { _, errs[k] = b.fill(l, n/len(logs), false) })
		}
		wg.Wait()
		rates[i] = float64(n) / time.Since(began).Seconds()
		for _, l := range logs {
			errs = append(errs, l.Close(b.ctx))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	b.print(Figure{Name: "append_bulk_two", Value: rates[1], Unit: "events/s", Floor: rates[0], Events: n, Writers: 2 * b.opts.Writers, Batch: b.opts.Batch,
		Note: "two logs on one schema; the floor is one"})
	return nil
}

// transactions measures an application's transactions with an event in them,
// while the log moves the events: one caller's, which insert a row besides,
// next to those without the event; and many callers', next to as many that
// insert the same bytes into a plain table.
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
	table := s.table("business").Sanitize()
	if _, err := s.pool.Exec(b.ctx, "CREATE TABLE "+table+" (id bigserial PRIMARY KEY, content text NOT NULL)"); err != nil {
		return err
	}
	row := func(ctx context.Context, tx pgx.Tx, text []byte) error {
		_, err := tx.Exec(ctx, "INSERT INTO "+table+" (content) VALUES ($1)", string(text))
		return err
	}
	with := func(ctx context.Context, tx pgx.Tx, i int) error { return box.AppendTx(ctx, tx, event(i, false)) }
	plain := func(ctx context.Context, tx pgx.Tx, i int) error {
		p, err := attestlog.Config{}.Prepare(event(i, false))
		if err != nil {
			return err
		}
		return row(ctx, tx, p.Event)
	}
	small := []byte("a row of the application's own")
	both := func(ctx context.Context, tx pgx.Tx, i int) error {
		return errors.Join(row(ctx, tx, small), with(ctx, tx, i))
	}
	alone := func(ctx context.Context, tx pgx.Tx, _ int) error { return row(ctx, tx, small) }

	const each = 1_000
	withEvent, without, err := b.interleaved(s, each, both, alone)
	if err != nil {
		return err
	}
	b.print(Figure{Name: "append_tx_p50", Value: withEvent, Unit: "ms", Floor: without, Events: each, Writers: 1, Batch: 1,
		Note: fmt.Sprintf("an event adds %.3f ms to a transaction", withEvent-without)})
	const callers, rounds = 32, 5
	var rates [2][]float64
	for range rounds {
		for i, fn := range []func(context.Context, pgx.Tx, int) error{with, plain} {
			rate, err := b.callers(s, callers, 100, fn)
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], rate)
		}
	}
	slices.Sort(rates[0])
	slices.Sort(rates[1])
	b.print(Figure{Name: "append_tx_rate", Value: rates[0][rounds/2], Unit: "tx/s", Floor: rates[1][rounds/2], Events: callers * 100, Writers: callers, Batch: 1,
		Note: "the floor inserts the same bytes into a plain table"})
	return nil
}

type inTx func(ctx context.Context, tx pgx.Tx, i int) error

// interleaved returns the median milliseconds of two kinds of transactions
// that take turns.
func (b *bench) interleaved(s *schemas, n int, kinds ...inTx) (float64, float64, error) {
	var times [2][]float64
	for i := range n {
		for k, fn := range kinds {
			began := time.Now()
			if err := pgx.BeginFunc(b.ctx, s.pool, func(tx pgx.Tx) error { return fn(b.ctx, tx, i) }); err != nil {
				return 0, 0, err
			}
			times[k] = append(times[k], milliseconds(began))
		}
	}
	slices.Sort(times[0])
	slices.Sort(times[1])
	return times[0][n/2], times[1][n/2], nil
}

// callers returns how many transactions a second so many callers make.
func (b *bench) callers(s *schemas, callers, each int, fn inTx) (float64, error) {
	errs := make([]error, callers)
	var wg sync.WaitGroup
	began := time.Now()
	for c := range callers {
		wg.Go(func() {
			conn, err := pgx.ConnectConfig(b.ctx, s.pool.Config().ConnConfig)
			if err != nil {
				errs[c] = err
				return
			}
			defer conn.Close(context.WithoutCancel(b.ctx))
			for i := range each {
				if errs[c] = pgx.BeginFunc(b.ctx, conn, func(tx pgx.Tx) error { return fn(b.ctx, tx, i) }); errs[c] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(callers*each) / time.Since(began).Seconds(), errors.Join(errs...)
}

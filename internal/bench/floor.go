package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/attestlog/attestlog"
)

// A backend is a kind of store, with its bare driver.
type backend interface {
	// open opens a log, or creates it.
	open(ctx context.Context, name string) (attestlog.Store, error)
	// createTable creates a table with the bare driver.
	createTable(ctx context.Context, name string) (table, error)
	// openTable opens a table for reading.
	openTable(ctx context.Context, name string) (table, error)
	// close removes all that was made.
	close() error
}

// A table has rows of a number and a leaf: the least that a store could do.
type table interface {
	// insert inserts n rows from number first on, in one transaction. leaf
	// returns the leaf of a row.
	insert(ctx context.Context, first, n int, leaf func(number int) []byte) error
	// scan calls fn with every leaf, which is valid during the call.
	scan(ctx context.Context, fn func(leaf []byte)) error
	// read reads the leaves of the rows with these numbers.
	read(ctx context.Context, numbers []int64) error
	// bytes returns the table's size on disk.
	bytes(ctx context.Context) (int64, error)
	// index makes rows found by their number.
	index(ctx context.Context) error
	close() error
}

// bulkFloor is what the bare driver does with as many leaves as a log.
type bulkFloor struct {
	rate  float64 // rows inserted a second
	bytes float64 // on disk, a row, beyond the leaf
	scan  float64 // rows read and hashed a second
}

// floorTable is the table that floorBulk leaves for floorPage.
func floorTable(sealed bool) string {
	if sealed {
		return "plain_sealed"
	}
	return "plain"
}

// floorBulk inserts n rows in transactions of a batch. The same few thousand
// leaves come again and again: a driver neither knows nor cares.
func (b *bench) floorBulk(n int, sealed bool) (floor bulkFloor, err error) {
	leaves, err := b.leaves(min(n, 20_000), sealed)
	if err != nil {
		return floor, err
	}
	t, err := b.backend.createTable(b.ctx, floorTable(sealed))
	if err != nil {
		return floor, err
	}
	defer func() { err = errors.Join(err, t.close()) }()

	began := time.Now()
	for first := 0; first < n; first += b.opts.Batch {
		err = t.insert(b.ctx, first, min(n-first, b.opts.Batch), func(i int) []byte { return leaves[i%len(leaves)] })
		if err != nil {
			return floor, err
		}
	}
	floor.rate = rate(n, began)

	began = time.Now()
	content := 0
	err = t.scan(b.ctx, func(leaf []byte) {
		content += len(leaf)
		sha256.Sum256(leaf)
	})
	if err != nil {
		return floor, err
	}
	floor.scan = rate(n, began)

	size, err := t.bytes(b.ctx)
	if err != nil {
		return floor, err
	}
	floor.bytes = float64(size-int64(content)) / float64(n)
	return floor, t.index(b.ctx)
}

// floorSingle inserts n rows, one a transaction, and returns the median
// milliseconds.
func (b *bench) floorSingle(name string, n int) (ms float64, err error) {
	leaves, err := b.leaves(n, false)
	if err != nil {
		return 0, err
	}
	t, err := b.backend.createTable(b.ctx, name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	err = t.index(b.ctx)
	if err != nil {
		return 0, err
	}

	times := make([]float64, n)
	for i := range n {
		began := time.Now()
		err = t.insert(b.ctx, i, 1, func(i int) []byte { return leaves[i] })
		if err != nil {
			return 0, err
		}
		times[i] = milliseconds(began)
	}
	return median(times), nil
}

// floorPage reads 50 of the n rows of floorBulk by their numbers, and returns
// the median milliseconds.
func (b *bench) floorPage(n int) (ms float64, err error) {
	t, err := b.backend.openTable(b.ctx, floorTable(false))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, t.close()) }()

	times := make([]float64, 21)
	for round := range times {
		numbers := make([]int64, 50)
		for i := range numbers {
			numbers[i] = int64(spread(round*len(numbers)+i) % uint64(n))
		}
		began := time.Now()
		err = t.read(b.ctx, numbers)
		if err != nil {
			return 0, err
		}
		times[round] = milliseconds(began)
	}
	return median(times), nil
}

// leaves returns n leaves of the benchmark's event, as a log stores them.
func (b *bench) leaves(n int, sealed bool) ([][]byte, error) {
	name := "leaves"
	if sealed {
		name = "leaves_sealed"
	}
	l, store, err := b.log(name)
	if err != nil {
		return nil, err
	}

	// An earlier call may have appended some.
	size, err := l.Size(b.ctx)
	if err != nil {
		return nil, err
	}
	for i := int(size); i < n; i += 1000 {
		events := make([]attestlog.Event, 0, 1000)
		for k := i; k < min(n, i+1000); k++ {
			events = append(events, event(k, sealed))
		}
		_, err := l.Append(b.ctx, events...)
		if err != nil {
			return nil, err
		}
	}

	leaves := make([][]byte, 0, n)
	err = store.Scan(b.ctx, 0, uint64(n), func(r *attestlog.RawEntry) error {
		leaves = append(leaves, slices.Clone(r.Leaf))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return leaves, l.Close(b.ctx)
}

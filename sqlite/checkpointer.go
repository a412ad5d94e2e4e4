package sqlite

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
)

// walPages is about how many pages the write-ahead log takes in before they are
// copied to the database.
const walPages = 1000

// A checkpointer copies the write-ahead log to the database beside the commits.
// While commits go on it never gets to the log's end, which is what lets the
// log begin again, so the writer copies the little that is left.
type checkpointer struct {
	logger *slog.Logger

	mu    sync.Mutex
	conn  *sqlite.Conn // guarded by mu
	pages int          // owned by the writer: about how many since the last copy
	due   atomic.Bool  // the writer is to copy the rest

	wake  chan struct{}
	stop  context.Context
	end   context.CancelFunc
	ended chan struct{}
}

func openCheckpointer(path string, logger *slog.Logger) (*checkpointer, error) {
	conn, err := sqlite.OpenConn(fileURI(path, ""), sqlite.OpenReadWrite|sqlite.OpenURI)
	if err != nil {
		return nil, err
	}
	if err := pragmas(conn, "PRAGMA synchronous = FULL", "PRAGMA wal_autocheckpoint = 0", "PRAGMA cache_size = -64"); err != nil {
		conn.Close()
		return nil, err
	}
	c := &checkpointer{logger: logger, conn: conn, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	c.stop, c.end = context.WithCancel(context.Background())
	go c.run()
	return c, nil
}

func (c *checkpointer) run() {
	defer close(c.ended)
	for {
		select {
		case <-c.wake:
			c.copy(c.conn)
			c.due.Store(true)
		case <-c.stop.Done():
			return
		}
	}
}

// copy copies what it can without waiting for anybody. What fails is tried
// again later: nothing but space depends on it.
func (c *checkpointer) copy(conn *sqlite.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stmt, err := conn.Prepare("PRAGMA wal_checkpoint(PASSIVE)")
	if err == nil {
		err = rows(stmt, func() error { return nil })
	}
	if err != nil {
		c.logger.Warn("attestlog: the write-ahead log could not be copied to the database, and grows until it can", "err", err)
	}
}

// before is called with the writer's connection before a transaction.
func (c *checkpointer) before(conn *sqlite.Conn) {
	if c.due.CompareAndSwap(true, false) {
		c.copy(conn)
		c.pages = 0
	}
}

// after is called by the writer after a commit.
func (c *checkpointer) after(b *attestlog.Batch) {
	const overhead = 6 // pages that a commit changes whatever it adds
	bytes := 0
	for i := range b.Entries {
		bytes += len(b.Entries[i].Leaf)
		for k := range b.Entries[i].Disclosures {
			bytes += len(b.Entries[i].Disclosures[k].Value) + 64
		}
	}
	c.pages += overhead + bytes/(pageSize*7/8)
	if c.pages >= walPages {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

func (c *checkpointer) close() error {
	c.end()
	<-c.ended
	return c.conn.Close()
}

package sqlite

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"zombiezen.com/go/sqlite"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/lasting"
	"github.com/attestlog/attestlog/internal/wake"
)

// walPages is about how many pages the write-ahead log takes before they are
// copied to the database.
const walPages = 1000

// A checkpointer copies the write-ahead log to the database while commits go on.
//
// The commits keep it from ever reaching the end of the write-ahead log, and
// only from the end does SQLite begin the log again. So the writer copies the
// little that remains before its next transaction.
type checkpointer struct {
	logger *slog.Logger
	conn   *sqlite.Conn // owned by the goroutine, which run is

	copying sync.Mutex  // locked while either connection copies
	due     atomic.Bool // the goroutine has copied, and the writer has not since
	pages   int         // owned by the writer: about how many since it last copied
	failing lasting.State

	request wake.Bell     // rung by the writer to have the log copied
	stop    chan struct{} // closed to end the goroutine
	stopped chan struct{} // closed when it has ended
}

// openCheckpointer starts a checkpointer. Its close ends it.
func openCheckpointer(path string, logger *slog.Logger) (*checkpointer, error) {
	conn, err := sqlite.OpenConn(fileURI(path, ""), sqlite.OpenReadWrite|sqlite.OpenURI)
	if err != nil {
		return nil, err
	}
	err = pragmas(conn, "PRAGMA synchronous = FULL", "PRAGMA wal_autocheckpoint = 0", "PRAGMA cache_size = -64")
	if err != nil {
		conn.Close()
		return nil, err
	}

	c := &checkpointer{
		logger:  logger,
		conn:    conn,
		request: wake.NewBell(),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go c.run()
	return c, nil
}

func (c *checkpointer) run() {
	defer close(c.stopped)

	for {
		select {
		case <-c.request:
			c.copy(c.conn)
			c.due.Store(true)
		case <-c.stop:
			return
		}
	}
}

// copy copies what it can without waiting for readers or writers. An error is
// only logged, because nothing but space depends on it: the next copy tries
// again.
func (c *checkpointer) copy(conn *sqlite.Conn) {
	c.copying.Lock()
	defer c.copying.Unlock()

	stmt, err := conn.Prepare("PRAGMA wal_checkpoint(PASSIVE)")
	if err == nil {
		err = rows(stmt, func() error { return nil })
	}
	c.failing.Note(err, c.logger, slog.LevelWarn,
		"attestlog: the write-ahead log could not be copied to the database, and grows until it can",
		"attestlog: the write-ahead log is copied to the database again")
}

// beforeWrite is called by the writer, with its connection, before a
// transaction.
func (c *checkpointer) beforeWrite(conn *sqlite.Conn) {
	if c.due.CompareAndSwap(true, false) {
		c.copy(conn)
		c.pages = 0
	}
}

// afterCommit is called by the writer after the commit of a batch.
func (c *checkpointer) afterCommit(b *attestlog.Batch) {
	const (
		commitPages     = 6 // that a commit changes, whatever it adds
		disclosureBytes = 64
		usablePerPage   = pageSize * 7 / 8
	)

	bytes := 0
	for i := range b.Entries {
		entry := &b.Entries[i]
		bytes += len(entry.Leaf)
		for k := range entry.Disclosures {
			bytes += len(entry.Disclosures[k].Value) + disclosureBytes
		}
	}

	c.pages += commitPages + bytes/usablePerPage
	if c.pages >= walPages {
		c.request.Ring()
	}
}

func (c *checkpointer) close() error {
	close(c.stop)
	<-c.stopped
	return c.conn.Close()
}

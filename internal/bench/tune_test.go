package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/sqlite"
)

func TestTune(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("N"))
	if n == 0 {
		t.Skip()
	}
	ctx := context.Background()
	dir := t.TempDir()
	s, err := sqlite.Open(ctx, filepath.Join(dir, "a.db"), sqlite.Config{NoIndex: os.Getenv("NOINDEX") != ""})
	if err != nil {
		t.Fatal(err)
	}
	l, err := attestlog.New(ctx, s, attestlog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Append(ctx, event(0, false))
	e, _ := l.Entry(ctx, r[0].Index)
	fmt.Println(string(e.Leaf), len(e.Leaf), sample(e.Leaf))
	start := time.Now()
	var wg sync.WaitGroup
	batch := 1000
	per := n / 4
	for w := range 4 {
		wg.Go(func() {
			evs := make([]attestlog.Event, 0, batch)
			for i := 0; i < per; i += batch {
				evs = evs[:0]
				for k := range batch {
					evs = append(evs, event(w*per+i+k, false))
				}
				if _, err := l.Append(ctx, evs...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	durable := time.Since(start)
	if os.Getenv("NOINDEX") == "" {
		for {
			st, _ := l.Stats(ctx)
			if st.Store.IndexLag == 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	total := time.Since(start)
	st, _ := l.Stats(ctx)
	fmt.Printf("durable %.0f/s indexed %.0f/s; bytes/entry over leaf %.1f (index %.1f)\n", float64(n)/durable.Seconds(), float64(n)/total.Seconds(), float64(st.Store.Bytes)/float64(n)-413, float64(st.Store.IndexBytes)/float64(n))
	l.Close(ctx)
	for _, f := range []string{"a.db", "a.db.index"} {
		fi, _ := os.Stat(filepath.Join(dir, f))
		fmt.Println(f, float64(fi.Size())/float64(n))
	}
}

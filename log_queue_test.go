package attestlog

import (
	"runtime"
	"testing"
	"time"
)

func liveHeap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Events that wait in the queue share allocations, even in a program that
// collects its garbage more often than it records.
func TestTheQueueTakesTheMemoryThatItCounts(t *testing.T) {
	const events = 500
	enc := &encoder{}
	q := newQueue(events, 1<<20)

	before := liveHeap()
	for range events {
		runtime.GC()
		runtime.GC() // after a second one, a sync.Pool is empty

		e := benchEvent
		s := takeScratch()
		d, err := enc.encode(s, &e, time.Now())
		if err == nil {
			err = q.putRecord(t.Context(), d, Block)
		}
		s.free()
		if err != nil {
			t.Fatal(err)
		}
	}

	_, bytes := q.depth()
	got := liveHeap() - before
	if most := 4*bytes + 1<<20; got > most {
		t.Errorf("%d waiting bytes take %d, more than %d", bytes, got, most)
	}
	runtime.KeepAlive(q)
}

// While batches are stored, the next one needs no memory of its own.
func TestABatchIsGatheredInTheMemoryOfTheLast(t *testing.T) {
	in := &intake{queue: newQueue(10, 1<<20), life: newLifecycle()}
	next := func() []job {
		t.Helper()
		err := in.queue.putRecord(t.Context(), draft{node: []byte{0}}, Block)
		if err != nil {
			t.Fatal(err)
		}
		batch, ok := in.next()
		if !ok || len(batch) != 1 {
			t.Fatalf("next() = %d jobs, %v; want the one that was queued", len(batch), ok)
		}
		return batch
	}

	first := next()
	in.stored(first)
	in.queue.release(first)
	if second := next(); &second[0] != &first[0] {
		t.Error("the second batch is in other memory than the first")
	}
}

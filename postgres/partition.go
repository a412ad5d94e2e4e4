package postgres

import (
	"fmt"
	"slices"

	"github.com/attestlog/attestlog"
)

const (
	// partitionWidth is how many entries a partition of the table entries
	// holds: see make_partition in schema/0002.sql.
	partitionWidth = 1 << 19
	// partitionAhead is how many entries before the end of a partition the next
	// one is made.
	partitionAhead = partitionWidth / 8
)

// partitionTable returns the name of the n-th partition.
func partitionTable(n uint64) string { return fmt.Sprintf("entries_%d", n) }

// partitionsOf returns how many partitions hold the entries of a log.
func partitionsOf(size uint64) uint64 { return (size + partitionWidth - 1) / partitionWidth }

// lacksPartitions reports whether makePartitions has anything to make.
func (t *tx) lacksPartitions(size uint64) bool {
	return max(t.s.partitions.Load(), t.tree.Size/partitionWidth) <= (size+partitionAhead)/partitionWidth
}

// makePartitions makes the partitions that a log of size entries needs, and the
// one that it soon will. It returns how many there are.
func (t *tx) makePartitions(size uint64) (uint64, error) {
	n := max(t.s.partitions.Load(), t.tree.Size/partitionWidth)
	for ; n <= (size+partitionAhead)/partitionWidth; n++ {
		_, err := t.conn.Exec(t.timer.ctx, t.s.sql("SELECT @.make_partition($1)"), int64(n))
		if err != nil {
			return 0, fmt.Errorf("make partition %d: %w", n, err)
		}
	}
	return n, nil
}

// A partitionBatch is those entries of a batch that belong to one partition.
type partitionBatch struct {
	partition uint64
	entries   []attestlog.RawEntry
}

// splitBatch returns contiguous entries by the partition that they belong to.
func splitBatch(entries []attestlog.RawEntry) []partitionBatch {
	var out []partitionBatch
	for len(entries) > 0 {
		first := entries[0].Index
		partition := first / partitionWidth
		n := min(uint64(len(entries)), (partition+1)*partitionWidth-first)
		out = append(out, partitionBatch{partition, entries[:n]})
		entries = entries[n:]
	}
	return out
}

// indexList is a sorted list of indexes within one partition.
type indexList []int64

func (l indexList) has(index uint64) bool {
	_, found := slices.BinarySearch(l, int64(index))
	return found
}

// splitIndexes returns indexes by the partition that they belong to.
func splitIndexes(indexes []uint64) map[uint64]indexList {
	out := map[uint64]indexList{}
	for _, index := range indexes {
		partition := index / partitionWidth
		out[partition] = append(out[partition], int64(index))
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}

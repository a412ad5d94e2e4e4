// Package convert is what the importers of foreign records share. Each format
// has a package of its own below this one, with a Read that is a Reader.
//
// # Nothing is lost for its content
//
// The core refuses what has no place in a leaf: invalid UTF-8, numbers of
// magnitude 2^53 or more, an event without an actor. What stands in front of
// it calls Bound, which maps such an event to one that the core accepts and
// says in an attribute of the event what it did. Restore maps back. A record
// that is no record at all, such as a torn line, is refused with a
// *RecordError, and the reader goes on with the next.
//
// # Ids
//
// A foreign record without an id gets one from its exact bytes and its ordinal
// among identical records of its source, so that identical records both
// survive and importing a source again adds nothing, also after it has grown.
// See IDs. Nothing else goes into an event: neither the time of the import nor
// a path, or the same record would meet itself with other content.
//
// A source is a file, and a file is known by its base name, without ".gz"
// (SourceName): equal records in two files are two events. So a file that was
// renamed or rotated is another source unless the caller gives it its old
// name, and two files of one base name count as one. The alternative, to leave
// the source out, loses an event whenever two files hold equal lines; a
// duplicate can be seen, a loss cannot. A format whose records carry an
// identity of their own leaves the source out: see package cloudtrail.
package convert

import (
	"fmt"
	"io"
	"iter"

	"github.com/attestlog/attestlog"
)

// MaxRecord bounds a foreign record in bytes. A longer one is refused.
const MaxRecord = 16 << 20

// A Reader reads foreign records as events, in constant memory but for the
// few bytes a record that IDs keeps. source names where r comes from, usually
// by SourceName. The error of a record that was refused is a *RecordError, and
// the sequence goes on behind it; any other error is r's own, wrapped, and
// ends the sequence.
type Reader func(r io.Reader, source string) iter.Seq2[attestlog.Event, error]

// A RecordError locates a record that could not be read as an event.
type RecordError struct {
	Source string
	Record int   // position among the source's records, from 1
	Line   int   // the line that it starts on, from 1
	Offset int64 // of its first byte, from 0, in the uncompressed source
	Err    error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("%s: record %d (line %d, byte %d): %v", e.Source, e.Record, e.Line, e.Offset, e.Err)
}

// Unwrap returns what is wrong with the record.
func (e *RecordError) Unwrap() error { return e.Err }

// Package convert reads records of other programs as events, and writes entries
// in their formats. Each format has a package of its own below this one: its Read
// is a Reader, and its Append, if there is one, writes a view of an entry. This
// package has what they share.
//
// No record is lost for its content: package fit maps what a log would refuse. A
// record that cannot be read at all, such as a torn line, is refused with a
// *RecordError, and the reader goes on with the next one.
//
// # How to add a format
//
// A format is a package with a constant Format, which starts the ids, and a Read.
// Read makes the source's IDs once, and gives a function that maps one record to
// the function here that finds the records:
//
//	func Read(r io.Reader, source string) iter.Seq2[attestlog.Event, error] {
//		ids := convert.NewIDs(Format, source)
//		return convert.Objects(r, source, "", func(raw []byte) iter.Seq2[attestlog.Event, error] {
//			return convert.One(event(raw, ids))
//		})
//	}
//
// These are the steps, in their order. The first column says what a step needs.
//
//	a stream    ByLine or Objects    finds the records: one a line, or JSON objects
//	a record    DecodeObject         decodes it without any loss: an Object
//	            IDs.Next             derives the event's ID from the record's bytes
//	            e.Original           keeps the bytes, cloned if the record is a line
//	an Object   Object.Take, Take    move values to the fields that the format
//	                                 defines; what was taken is not in the Object
//	                                 any more
//	            Fill                 fills the fields that are still empty from
//	                                 members whose names many programs share
//	            Complete             puts the rest into the attributes, and
//	                                 finishes the event
//
// A format that defines few fields itself, or none, uses Named and Finish instead
// of Fill and Complete:
//
//	Named     is Fill, puts the rest into the attributes, and dates an event
//	          without a time (fit.Undated). The format can still change the event.
//	Complete  puts the rest into the attributes, dates an event without a time
//	          (fit.Undated), and is Finish.
//	Finish    removes what found a field that is sealed from the attributes, and
//	          fits the event into the log's rules (fit.Event). Nothing may be
//	          added to the event after it.
//
// A view has what its format has fields for, and all the rest where the format
// keeps what it does not know: see NewRest.
//
// Then the format is added to the readers in readers_test.go, whose tests hold
// for all formats, and to the command's: import.go and, for a view, print.go in
// cmd/attestlog.
//
// # Ids
//
// A foreign record without an id gets one from its exact bytes and its ordinal
// among the identical records of its source. So identical records are events of
// their own, and importing a source again adds nothing, even if it has grown.
// Nothing else goes into an event, neither the time of the import nor a path: the
// same record would be another event the next time.
//
// A source is a file, and a file is known by its base name without ".gz"
// (SourceName): equal records in two files are two events. A file that was
// renamed or rotated is another source, unless the caller gives it its old name;
// two files of one base name count as one. Without the source, an event would be
// lost whenever two files hold equal lines; a duplicate can be seen, a loss
// cannot. A format whose records carry an identity of their own leaves the source
// out (MixedIDs): see package cloudtrail.
package convert

import (
	"fmt"
	"io"
	"iter"

	"github.com/attestlog/attestlog"
)

// MaxRecord bounds a foreign record in bytes. A longer one is refused.
const MaxRecord = 16 << 20

// A Reader reads foreign records as events, in constant memory except for the
// few bytes for each record that IDs keeps. source names where r comes from,
// usually by SourceName.
//
// The error of a record that was refused is a *RecordError, and the sequence goes
// on after it. Any other error is r's own, wrapped, and ends the sequence.
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

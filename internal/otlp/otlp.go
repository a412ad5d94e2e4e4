// Package otlp turns requests that exporters of logs send in protobuf into the
// OTLP/JSON that package convert/otel reads, and answers them.
//
// The formats are those of opentelemetry.io/docs/specs/otlp, "OTLP/HTTP" and
// "JSON Protobuf Encoding".
//
//	0a1b 1219 1217 2a03 0a0178 4a10 d028… →
//	{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"},"traceId":"d028…"}]}]}]}
//
// The bytes are walked as they are, by the descriptors of
// go.opentelemetry.io/proto/otlp: a message of two bytes can take hundreds of
// bytes of memory once it is decoded, and takes a few here. A field that the
// descriptors do not have is left out, as any decoder of an older schema does.
package otlp

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// MaxDepth is how many messages deep a request can be. A record's body is
	// the fifth message, a list inside it adds two, and a map three.
	MaxDepth = 64
	// MaxJSON bounds the JSON, in bytes. It is the longest that convert/otel
	// reads.
	MaxJSON = 16 << 20
)

var (
	// ErrTooLarge is returned by JSON for a request whose JSON is longer than
	// MaxJSON.
	ErrTooLarge = fmt.Errorf("otlp: longer than %d bytes as JSON", MaxJSON)
	// ErrMalformed is returned by JSON for what is not an export request: not
	// protobuf, text that is not UTF-8, more than MaxDepth messages deep, or
	// messages in so many parts that joining them copies more bytes than the
	// request has, which no encoder makes.
	ErrMalformed = errors.New("otlp: not an export request of logs")
)

// JSON returns the OTLP/JSON of an ExportLogsServiceRequest: trace and span ids
// in lower-case hexadecimal, integers of 64 bits as strings, other bytes in
// base64, enums as numbers. A field that is absent or has its default stays
// absent, except the list of resourceLogs. The JSON is at most ten times as
// long as the request, plus 64 bytes; JSON takes at most that much memory, plus
// the length of the request.
func JSON(protobuf []byte) ([]byte, error) {
	w := writer{out: make([]byte, 0, 2*len(protobuf)+64), budget: len(protobuf)}
	if err := w.message(exportRequest(), protobuf, 1); err != nil {
		return nil, err
	}
	if len(w.out) > MaxJSON {
		return nil, ErrTooLarge
	}
	if string(w.out) == "{}" {
		return []byte(`{"resourceLogs":[]}`), nil
	}
	return w.out, nil
}

// malformed returns the error for a negative length that protowire returned.
func malformed(n int) error { return fmt.Errorf("%w: %v", ErrMalformed, protowire.ParseError(n)) }

// A writer appends JSON to out.
type writer struct {
	out    []byte
	budget int // bytes that joining parts can still copy
}

// message writes a message as an object, its fields in the order of the schema.
// It goes through data once for each of them, so that it need not remember any.
func (w *writer) message(m *message, data []byte, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: more than %d messages deep", ErrMalformed, MaxDepth)
	}
	if len(w.out) > MaxJSON {
		return ErrTooLarge
	}

	w.out = append(w.out, '{')
	for _, group := range m.groups {
		var err error
		if group[0].list {
			err = w.list(group[0], data, depth)
		} else {
			err = w.last(group, data, depth)
		}
		if err != nil {
			return err
		}
	}
	w.out = append(w.out, '}')
	return nil
}

// comma writes a comma, unless an object or a list has just begun.
func (w *writer) comma() {
	if c := w.out[len(w.out)-1]; c != '{' && c != '[' {
		w.out = append(w.out, ',')
	}
}

// list writes all values of a field in their order.
func (w *writer) list(f *field, data []byte, depth int) error {
	first := true
	for len(data) > 0 {
		v, n := next(data)
		if n < 0 {
			return malformed(n)
		}
		data = data[n:]

		// With another wire type it is an unknown field, as for protobuf's decoders.
		if v.number != f.number || v.wire != f.wire {
			continue
		}

		if first {
			w.comma()
			w.out = append(w.out, f.name...)
			w.out = append(w.out, '[')
			first = false
		}
		w.comma()
		var err error
		if f.of != nil {
			err = w.message(f.of, v.bytes, depth+1)
		} else {
			err = w.scalar(f, v)
		}
		if err != nil {
			return err
		}
	}
	if !first {
		w.out = append(w.out, ']')
	}
	return nil
}

// last writes the field of a group that comes last. A message that comes in
// parts is its parts, joined (protobuf.dev, "Encoding", "Last One Wins"). A
// value that a later one overrides is written too, and taken back: it must be
// right.
func (w *writer) last(group []*field, data []byte, depth int) error {
	mark := len(w.out)
	var f *field     // the last one, if it is a message, which is not yet written
	var parts []byte // of that message
	flush := func() error {
		if f == nil {
			return nil
		}
		w.out = w.out[:mark]
		w.comma()
		w.out = append(w.out, f.name...)
		return w.message(f.of, parts, depth+1)
	}

	for len(data) > 0 {
		v, n := next(data)
		if n < 0 {
			return malformed(n)
		}
		data = data[n:]
		found := find(group, v)
		if found == nil {
			continue
		}

		// The next part of the same message.
		if found.of != nil && found == f {
			if err := w.join(&parts, v.bytes); err != nil {
				return err
			}
			continue
		}

		if err := flush(); err != nil {
			return err
		}
		f = nil
		if found.of != nil {
			f = found
			parts = v.bytes
			continue
		}
		w.out = w.out[:mark]
		if found.isDefault(v) && !found.presence {
			continue
		}
		w.comma()
		w.out = append(w.out, found.name...)
		if err := w.scalar(found, v); err != nil {
			return err
		}
	}
	return flush()
}

// find returns the field of a group that v is of, or nil.
func find(group []*field, v value) *field {
	for _, f := range group {
		if f.number == v.number && f.wire == v.wire {
			return f
		}
	}
	return nil
}

// join appends a part to parts, in memory of its own. A part that is cut off
// must not be made whole by the next one, so each is checked.
func (w *writer) join(parts *[]byte, part []byte) error {
	w.budget -= len(*parts) + len(part)
	if w.budget < 0 {
		return fmt.Errorf("%w: too many messages in parts", ErrMalformed)
	}

	for _, data := range [...][]byte{*parts, part} {
		for len(data) > 0 {
			_, n := next(data)
			if n < 0 {
				return malformed(n)
			}
			data = data[n:]
		}
	}
	*parts = append(slices.Clip(*parts), part...)
	return nil
}

// scalar writes a value that is not a message.
func (w *writer) scalar(f *field, v value) error {
	// As ProtoJSON has it: integers of 64 bits are strings, because a float64 does not
	// hold them all.
	switch f.kind {
	case protoreflect.StringKind:
		if !utf8.Valid(v.bytes) {
			return fmt.Errorf("%w: %s is not UTF-8", ErrMalformed, f.name[:len(f.name)-1])
		}
		w.out = appendString(w.out, v.bytes)
	case protoreflect.BytesKind:
		w.out = append(w.out, '"')
		if f.hex {
			w.out = hex.AppendEncode(w.out, v.bytes)
		} else {
			w.out = base64.StdEncoding.AppendEncode(w.out, v.bytes)
		}
		w.out = append(w.out, '"')
	case protoreflect.BoolKind:
		w.out = strconv.AppendBool(w.out, v.bits != 0)
	case protoreflect.DoubleKind:
		w.out = appendDouble(w.out, math.Float64frombits(v.bits))
	case protoreflect.Int32Kind, protoreflect.EnumKind:
		w.out = strconv.AppendInt(w.out, int64(int32(v.bits)), 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		w.out = strconv.AppendUint(w.out, uint64(uint32(v.bits)), 10)
	case protoreflect.Int64Kind:
		w.out = append(w.out, '"')
		w.out = strconv.AppendInt(w.out, int64(v.bits), 10)
		w.out = append(w.out, '"')
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		w.out = append(w.out, '"')
		w.out = strconv.AppendUint(w.out, v.bits, 10)
		w.out = append(w.out, '"')
	default:
		return fmt.Errorf("otlp: %s is of kind %s, which the schema did not have", f.name, f.kind)
	}
	return nil
}

// appendDouble writes a number. One that is not finite is a string in
// protobuf's JSON.
func appendDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// appendString writes valid UTF-8 as a JSON string (RFC 8259, Section 7).
func appendString(dst, s []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

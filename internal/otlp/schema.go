package otlp

import (
	"fmt"
	"sync"

	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A message type: its fields, those of a oneof together.
type message struct{ groups [][]*field }

type field struct {
	number   protowire.Number
	wire     protowire.Type
	kind     protoreflect.Kind
	name     string // as JSON, with its colon
	list     bool
	presence bool // written even where it has its default
	hex      bool
	of       *message // nil for a scalar
}

// exportRequest is the type of an ExportLogsServiceRequest, which has the fields
// of LogsData.
var exportRequest = sync.OnceValue(func() *message {
	return messageOf((*logs.LogsData)(nil).ProtoReflect().Descriptor(), map[protoreflect.FullName]*message{})
})

func messageOf(d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]*message) *message {
	if m := seen[d.FullName()]; m != nil {
		return m
	}
	m := &message{}
	seen[d.FullName()] = m
	oneofs := map[protoreflect.FullName]int{}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		f := &field{
			number: fd.Number(), wire: wires[fd.Kind()], kind: fd.Kind(), name: fmt.Sprintf("%q:", fd.JSONName()), list: fd.IsList(), presence: fd.HasPresence(),
			hex: fd.Name() == "trace_id" || fd.Name() == "span_id", // "JSON Protobuf Encoding": not base64
		}
		if fd.Message() != nil {
			f.of = messageOf(fd.Message(), seen)
		}
		if one := fd.ContainingOneof(); one != nil {
			if at, ok := oneofs[one.FullName()]; ok {
				m.groups[at] = append(m.groups[at], f)
				continue
			}
			oneofs[one.FullName()] = len(m.groups)
		}
		m.groups = append(m.groups, []*field{f})
	}
	return m
}

// wires are the kinds' wire types. The schema has no lists of numbers, which
// could be packed.
var wires = map[protoreflect.Kind]protowire.Type{
	protoreflect.BoolKind: protowire.VarintType, protoreflect.EnumKind: protowire.VarintType, protoreflect.Int32Kind: protowire.VarintType,
	protoreflect.Uint32Kind: protowire.VarintType, protoreflect.Int64Kind: protowire.VarintType, protoreflect.Uint64Kind: protowire.VarintType,
	protoreflect.Fixed32Kind: protowire.Fixed32Type, protoreflect.Fixed64Kind: protowire.Fixed64Type, protoreflect.DoubleKind: protowire.Fixed64Type,
	protoreflect.StringKind: protowire.BytesType, protoreflect.BytesKind: protowire.BytesType, protoreflect.MessageKind: protowire.BytesType,
}

// isDefault reports whether v is what an absent field counts as. Of a varint for
// 32 bits, the rest is dropped.
func (f *field) isDefault(v value) bool {
	switch f.kind {
	case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.EnumKind:
		return uint32(v.number64) == 0
	}
	return v.number64 == 0 && len(v.bytes) == 0
}

// A value as it is on the wire.
type value struct {
	number   protowire.Number
	kind     protowire.Type
	number64 uint64
	bytes    []byte
}

// badNumber is what protowire returns for the number 0.
var _, _, badNumber = protowire.ConsumeTag([]byte{0})

// next reads a field, and returns its length, or a negative number that
// protowire.ParseError knows.
func next(data []byte) (v value, n int) {
	v.number, v.kind, n = protowire.ConsumeTag(data)
	if n < 0 {
		return v, n
	}
	if !v.number.IsValid() {
		return v, badNumber
	}
	rest, m := data[n:], 0
	switch v.kind {
	case protowire.VarintType:
		v.number64, m = protowire.ConsumeVarint(rest)
	case protowire.Fixed32Type:
		var short uint32
		short, m = protowire.ConsumeFixed32(rest)
		v.number64 = uint64(short)
	case protowire.Fixed64Type:
		v.number64, m = protowire.ConsumeFixed64(rest)
	case protowire.BytesType:
		v.bytes, m = protowire.ConsumeBytes(rest)
	default:
		m = protowire.ConsumeFieldValue(v.number, v.kind, rest) // a group, which nothing here is
	}
	if m < 0 {
		return v, m
	}
	return v, n + m
}

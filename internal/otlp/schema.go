package otlp

import (
	"fmt"
	"sync"

	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A message is a type of the schema: its fields, those of a oneof in one group.
type message struct{ groups [][]*field }

// A field is one of a message.
type field struct {
	number   protowire.Number
	wire     protowire.Type
	kind     protoreflect.Kind
	name     string // as JSON, with its colon
	list     bool
	presence bool     // written even if it has its default
	hex      bool     // bytes that are not in base64
	of       *message // nil for a scalar
}

// exportRequest returns the type of an ExportLogsServiceRequest, which has the
// fields of LogsData.
var exportRequest = sync.OnceValue(func() *message {
	logsData := (*logs.LogsData)(nil).ProtoReflect().Descriptor()
	return messageOf(logsData, map[protoreflect.FullName]*message{})
})

// messageOf returns the type that a descriptor is of. seen has those that are
// known or being read, for types refer to each other.
func messageOf(d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]*message) *message {
	if m := seen[d.FullName()]; m != nil {
		return m
	}
	m := &message{}
	seen[d.FullName()] = m

	groups := map[protoreflect.FullName]int{} // the group of each oneof
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		f := fieldOf(fd)
		if fd.Message() != nil {
			f.of = messageOf(fd.Message(), seen)
		}

		oneof := fd.ContainingOneof()
		if oneof == nil {
			m.groups = append(m.groups, []*field{f})
			continue
		}
		group, found := groups[oneof.FullName()]
		if !found {
			group = len(m.groups)
			groups[oneof.FullName()] = group
			m.groups = append(m.groups, nil)
		}
		m.groups[group] = append(m.groups[group], f)
	}
	return m
}

func fieldOf(fd protoreflect.FieldDescriptor) *field {
	return &field{
		number:   fd.Number(),
		wire:     wires[fd.Kind()],
		kind:     fd.Kind(),
		name:     fmt.Sprintf("%q:", fd.JSONName()),
		list:     fd.IsList(),
		presence: fd.HasPresence(),
		hex:      fd.Name() == "trace_id" || fd.Name() == "span_id", // "JSON Protobuf Encoding"
	}
}

// wires are the kinds' wire types. The schema has no lists of numbers, which
// could be packed.
var wires = map[protoreflect.Kind]protowire.Type{
	protoreflect.BoolKind:    protowire.VarintType,
	protoreflect.EnumKind:    protowire.VarintType,
	protoreflect.Int32Kind:   protowire.VarintType,
	protoreflect.Uint32Kind:  protowire.VarintType,
	protoreflect.Int64Kind:   protowire.VarintType,
	protoreflect.Uint64Kind:  protowire.VarintType,
	protoreflect.Fixed32Kind: protowire.Fixed32Type,
	protoreflect.Fixed64Kind: protowire.Fixed64Type,
	protoreflect.DoubleKind:  protowire.Fixed64Type,
	protoreflect.StringKind:  protowire.BytesType,
	protoreflect.BytesKind:   protowire.BytesType,
	protoreflect.MessageKind: protowire.BytesType,
}

// isDefault reports whether v is what an absent field counts as. A varint for
// 32 bits loses the rest of its bits.
func (f *field) isDefault(v value) bool {
	switch f.kind {
	case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.EnumKind:
		return uint32(v.bits) == 0
	}
	return v.bits == 0 && len(v.bytes) == 0
}

// A value is one as it is on the wire: the bits of a number, or bytes.
type value struct {
	number protowire.Number
	wire   protowire.Type
	bits   uint64
	bytes  []byte
}

// badNumber is the length that protowire returns for the field number 0.
var _, _, badNumber = protowire.ConsumeTag([]byte{0})

// next reads a field, and returns its length, or a negative number that
// protowire.ParseError knows.
func next(data []byte) (v value, n int) {
	v.number, v.wire, n = protowire.ConsumeTag(data)
	if n < 0 {
		return v, n
	}
	if !v.number.IsValid() {
		return v, badNumber
	}

	rest := data[n:]
	size := 0
	switch v.wire {
	case protowire.VarintType:
		v.bits, size = protowire.ConsumeVarint(rest)
	case protowire.Fixed32Type:
		var bits uint32
		bits, size = protowire.ConsumeFixed32(rest)
		v.bits = uint64(bits)
	case protowire.Fixed64Type:
		v.bits, size = protowire.ConsumeFixed64(rest)
	case protowire.BytesType:
		v.bytes, size = protowire.ConsumeBytes(rest)
	default: // a group, which the schema does not have
		size = protowire.ConsumeFieldValue(v.number, v.wire, rest)
	}
	if size < 0 {
		return v, size
	}
	return v, n + size
}

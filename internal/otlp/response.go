package otlp

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Response returns an ExportLogsServiceResponse, in JSON or in protobuf. Its
// partial_success says how many records were rejected, and why; it is absent if
// there is nothing to say ("Full Success"). The message is made valid UTF-8.
func Response(rejected int64, message string, asJSON bool) []byte {
	message = strings.ToValidUTF8(message, "\uFFFD")
	if asJSON {
		return responseJSON(rejected, message)
	}

	// The fields of ExportLogsPartialSuccess are rejected_log_records and
	// error_message.
	var partial []byte
	if rejected != 0 {
		partial = protowire.AppendTag(partial, 1, protowire.VarintType)
		partial = protowire.AppendVarint(partial, uint64(rejected))
	}
	if message != "" {
		partial = protowire.AppendTag(partial, 2, protowire.BytesType)
		partial = protowire.AppendString(partial, message)
	}
	if len(partial) == 0 {
		return nil
	}
	response := protowire.AppendTag(nil, 1, protowire.BytesType)
	return protowire.AppendBytes(response, partial)
}

func responseJSON(rejected int64, message string) []byte {
	if rejected == 0 && message == "" {
		return []byte("{}")
	}

	out := []byte(`{"partialSuccess":{`)
	if rejected != 0 {
		out = append(out, `"rejectedLogRecords":"`...)
		out = strconv.AppendInt(out, rejected, 10)
		out = append(out, '"')
	}
	if rejected != 0 && message != "" {
		out = append(out, ',')
	}
	if message != "" {
		out = append(out, `"errorMessage":`...)
		out = appendString(out, []byte(message))
	}
	return append(out, "}}"...)
}

package otlp

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Response returns an ExportLogsServiceResponse, in JSON or in protobuf. How many
// records were rejected and why is its partial_success, which is absent if there
// is nothing to say ("Full Success"). The message is made valid UTF-8.
func Response(rejected int64, message string, asJSON bool) []byte {
	message = strings.ToValidUTF8(message, "\uFFFD")
	if asJSON {
		return responseJSON(rejected, message)
	}
	var partial []byte
	if rejected != 0 {
		partial = protowire.AppendVarint(protowire.AppendTag(partial, 1, protowire.VarintType), uint64(rejected))
	}
	if message != "" {
		partial = protowire.AppendString(protowire.AppendTag(partial, 2, protowire.BytesType), message)
	}
	if len(partial) == 0 {
		return nil
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), partial)
}

func responseJSON(rejected int64, message string) []byte {
	var members []byte
	if rejected != 0 {
		members = append(members, `"rejectedLogRecords":"`+strconv.FormatInt(rejected, 10)+`"`...)
	}
	if message != "" {
		if rejected != 0 {
			members = append(members, ',')
		}
		members = appendString(append(members, `"errorMessage":`...), []byte(message))
	}
	if len(members) == 0 {
		return []byte("{}")
	}
	return append(append([]byte(`{"partialSuccess":{`), members...), "}}"...)
}

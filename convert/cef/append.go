package cef

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode"

	"github.com/attestlog/attestlog"
)

// Append appends an entry as one line, without the line's end.
//
//	CEF:0|attestlog|attestlog|1|mail.view|mail.view|3|rt=1767261600000 externalId=019a…
//	 outcome=success suid=alice src=192.0.2.7 requestMethod=GET request=/mail/7 cn1=7 cn1Label=index …
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	name := e.Message
	if name == "" {
		name = e.Action
	}

	severity := "3" // the highest of the standard's Low
	if e.Outcome == attestlog.Failure {
		severity = "6" // the highest of its Medium
	}

	dst = append(dst, "CEF:0|attestlog|attestlog|1|"...)
	dst = append(dst, escapeHeader.Replace(plain(e.Action))...)
	dst = append(dst, '|')
	dst = append(dst, escapeHeader.Replace(plain(cut(name, maxName)))...)
	dst = append(dst, '|')
	dst = append(dst, severity...)
	dst = append(dst, '|')

	first := true
	for _, f := range extensionOf(e) {
		if f.value == "" {
			continue
		}
		if !first {
			dst = append(dst, ' ')
		}
		first = false
		dst = append(dst, f.key...)
		dst = append(dst, '=')
		dst = append(dst, escapeValue.Replace(plain(cut(f.value, f.max)))...)
	}
	return dst, nil
}

// The standard's limits, in characters.
const (
	maxName       = 512  // of the header
	maxString     = 1023 // of most keys
	maxShort      = 63   // of act and outcome
	maxApp        = 31
	maxCustom     = 4000
	maxExternalID = 40 // less than an id can have; the whole of a longer one is in cs6
)

// sourceIPv6 is the key of the custom field "Source IPv6 Address".
const sourceIPv6 = "c6a2"

// A field is one of the extension. An empty one is left out.
type field struct {
	key, value string
	max        int // characters, or 0 for any number
}

// extensionOf returns the fields of an entry, whose keys are in the standard's
// dictionary.
func extensionOf(e *attestlog.Entry) []field {
	fields := []field{
		{"rt", strconv.FormatInt(e.LoggedTime.UnixMilli(), 10), 0},
		{"start", strconv.FormatInt(e.Time.UnixMilli(), 10), 0},
		{"externalId", e.ID, maxExternalID},
		{"act", e.Operation, maxShort},
		{"outcome", string(e.Outcome), maxShort},
		{"reason", e.Reason, maxString},
		{"msg", e.Message, maxString},
		{"suid", e.Actor.ID, maxString},
		{"suser", e.Actor.Name, maxString},
	}

	// src has IPv4 addresses only, and no key has a zone.
	if strings.Contains(e.Source.IP, ":") {
		ip, _, _ := strings.Cut(e.Source.IP, "%")
		fields = append(fields, custom(sourceIPv6, "Source IPv6 Address", ip)...)
	} else {
		fields = append(fields, field{"src", e.Source.IP, 0})
	}

	fields = append(fields,
		field{"shost", e.Source.Host, maxString},
		field{"requestMethod", e.Request.Method, maxString},
		field{"request", e.Request.Path, maxString},
		field{"requestClientApplication", e.Source.UserAgent, maxString},
		field{"app", e.Service, maxApp},
	)
	fields = append(fields, custom("cn1", "index", strconv.FormatUint(e.Index, 10))...)
	fields = append(fields, custom("cs1", "leafHash", base64.StdEncoding.EncodeToString(e.LeafHash[:]))...)
	fields = append(fields, custom("cs2", "tenant", e.Tenant)...)
	fields = append(fields, custom("cs3", "module", e.Module)...)
	fields = append(fields, custom("cs4", "targets", targetsOf(e))...)
	fields = append(fields, custom("cs5", "traceId", e.Trace.TraceID)...)
	if cut(e.ID, maxExternalID) != e.ID {
		fields = append(fields, custom("cs6", "id", e.ID)...)
	}
	if e.Request.Status > 0 {
		fields = append(fields, custom("cn2", "httpStatus", strconv.Itoa(e.Request.Status))...)
	}
	return fields
}

// custom returns a custom field and its label, or nothing for an empty value.
func custom(key, label, value string) []field {
	if value == "" {
		return nil
	}
	return []field{{key, value, maxCustom}, {key + "Label", label, 0}}
}

// targetsOf returns the targets as type/id, with commas between.
func targetsOf(e *attestlog.Entry) string {
	var all []string
	for _, t := range e.Targets {
		all = append(all, t.Type+"/"+t.ID)
	}
	return strings.Join(all, ",")
}

// cut returns at most max characters of s, or all of it if max is 0.
func cut(s string, max int) string {
	if max == 0 || len(s) <= max {
		return s
	}
	runes := []rune(s)
	return string(runes[:min(len(runes), max)])
}

// plain puts a space in the place of each control character that is not part of
// a line's end.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\r' && r != '\n' {
			return ' '
		}
		return r
	}, s)
}

// In the header, pipes and backslashes are escaped, and there are no line ends.
// In a value, equals signs, backslashes and line ends are escaped.
var (
	escapeHeader = strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\r", " ", "\n", " ")
	escapeValue  = strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\r", `\r`, "\n", `\n`)
)

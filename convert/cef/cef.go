// Package cef reads and writes lines of the Common Event Format, version 0
// (ArcSight CEF implementation standard, revision 26). An entry is one line.
//
//	CEF:0|attestlog|attestlog|1|mail.view|mail.view|3|rt=1767261600000 externalId=019a…
//	 outcome=success suid=alice src=192.0.2.7 requestMethod=GET request=/mail/7 cn1=7 cn1Label=index …
//
// It is a view: what has no key there is left out, and it proves nothing.
package cef

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode"

	"github.com/attestlog/attestlog"
)

// Append appends an entry's line, without the line's end.
func Append(dst []byte, e *attestlog.Entry) ([]byte, error) {
	severity := "3"
	if e.Outcome == attestlog.Failure {
		severity = "6"
	}
	dst = append(dst, "CEF:0|attestlog|attestlog|1|"...)
	dst = append(dst, header.Replace(plain(e.Action))...)
	dst = append(dst, '|')
	name := e.Message
	if name == "" {
		name = e.Action
	}
	dst = append(dst, header.Replace(plain(cut(name, 512)))...)
	dst = append(dst, '|')
	dst = append(dst, severity...)
	dst = append(dst, '|')
	first := true
	for _, f := range extension(e) {
		if f.value == "" {
			continue
		}
		if !first {
			dst = append(dst, ' ')
		}
		first = false
		dst = append(dst, f.key...)
		dst = append(dst, '=')
		dst = append(dst, value.Replace(plain(cut(f.value, f.most)))...)
	}
	return dst, nil
}

type field struct {
	key, value string
	most       int // characters that the key may have; 0 is any number
}

// extension returns the keys of the standard's dictionary, in their order here.
func extension(e *attestlog.Entry) []field {
	out := []field{
		{"rt", strconv.FormatInt(e.LoggedTime.UnixMilli(), 10), 0},
		{"start", strconv.FormatInt(e.Time.UnixMilli(), 10), 0},
		{"externalId", e.ID, maxExternalID},
		{"act", e.Operation, 63},
		{"outcome", string(e.Outcome), 63},
		{"reason", e.Reason, 1023},
		{"msg", e.Message, 1023},
		{"suid", e.Actor.ID, 1023},
		{"suser", e.Actor.Name, 1023},
		{"src", ipv4(e.Source.IP), 0},
		{"c6a2", ipv6(e.Source.IP), 0},
		{"c6a2Label", label(ipv6(e.Source.IP), "Source IPv6 Address"), 0},
		{"shost", e.Source.Host, 1023},
		{"requestMethod", e.Request.Method, 1023},
		{"request", e.Request.Path, 1023},
		{"requestClientApplication", e.Source.UserAgent, 1023},
		{"app", e.Service, 31},
		{"cn1", strconv.FormatUint(e.Index, 10), 0},
		{"cn1Label", "index", 0},
		{"cs1", base64.StdEncoding.EncodeToString(e.LeafHash[:]), 0},
		{"cs1Label", "leafHash", 0},
		{"cs2", e.Tenant, 4000},
		{"cs2Label", label(e.Tenant, "tenant"), 0},
		{"cs3", e.Module, 4000},
		{"cs3Label", label(e.Module, "module"), 0},
		{"cs4", targets(e), 4000},
		{"cs4Label", label(targets(e), "targets"), 0},
		{"cs5", e.Trace.TraceID, 4000},
		{"cs5Label", label(e.Trace.TraceID, "traceId"), 0},
	}
	if cut(e.ID, maxExternalID) != e.ID {
		out = append(out, field{"cs6", e.ID, 4000}, field{"cs6Label", "id", 0})
	}
	if e.Request.Status > 0 {
		out = append(out, field{"cn2", strconv.Itoa(e.Request.Status), 0}, field{"cn2Label", "httpStatus", 0})
	}
	return out
}

// maxExternalID is less than an id may have: the whole of a longer one is in cs6.
const maxExternalID = 40

func label(value, name string) string {
	if value == "" {
		return ""
	}
	return name
}

// src holds IPv4 addresses alone; IPv6 has a custom field, without zones.
func ipv4(ip string) string {
	if strings.Contains(ip, ":") {
		return ""
	}
	return ip
}

func ipv6(ip string) string {
	if strings.Contains(ip, ":") {
		ip, _, _ = strings.Cut(ip, "%")
		return ip
	}
	return ""
}

func targets(e *attestlog.Entry) string {
	var all []string
	for _, t := range e.Targets {
		all = append(all, t.Type+"/"+t.ID)
	}
	return strings.Join(all, ",")
}

func cut(s string, most int) string {
	if most == 0 || len(s) <= most {
		return s
	}
	runes := []rune(s)
	return string(runes[:min(len(runes), most)])
}

// plain puts a space in the place of control characters but line ends.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\r' && r != '\n' {
			return ' '
		}
		return r
	}, s)
}

// A header's pipe and backslash are escaped, and it has no line ends; a value's
// equals sign, backslash and line ends are.
var (
	header = strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\r", " ", "\n", " ")
	value  = strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\r", `\r`, "\n", `\n`)
)

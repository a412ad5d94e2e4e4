package interop

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/attestlog/attestlog"
)

// cefKeys are of the extension dictionary of revision 26, for producers: how many
// characters a string may have, or what else a value is.
var cefKeys = map[string]any{
	"act": 63, "app": 31, "cat": 1023, "deviceExternalId": 255, "deviceFacility": 1023, "deviceProcessName": 1023, "duid": 1023, "duser": 1023, "dvchost": 100,
	"externalId": 40, "flexString1": 1023, "flexString1Label": 128, "flexString2": 1023, "flexString2Label": 128, "msg": 1023, "outcome": 63, "reason": 1023,
	"request": 1023, "requestClientApplication": 1023, "requestContext": 2048, "requestMethod": 1023, "shost": 1023, "sourceServiceName": 1023,
	"spriv": 1023, "suid": 1023, "suser": 1023,
	"cs1": 4000, "cs2": 4000, "cs3": 4000, "cs4": 4000, "cs5": 4000, "cs6": 4000,
	"cn1": "long", "cn2": "long", "cn3": "long", "rt": "time", "start": "time", "end": "time", "src": "IPv4", "dst": "IPv4",
	"c6a1": "IPv6", "c6a2": "IPv6", "c6a3": "IPv6", "c6a4": "IPv6",
}

// cefCustom are the keys whose values a Label names.
var cefCustom = regexp.MustCompile("^(cs[1-6]|cn[1-3]|c6a[1-4]|flexString[12])$")

// cefHeader holds the seven fields before the extension.
var cefHeader = regexp.MustCompile(`^CEF:([01])\|((?:[^|\\\r\n]|\\[|\\])*)\|((?:[^|\\\r\n]|\\[|\\])*)\|((?:[^|\\\r\n]|\\[|\\])*)\|((?:[^|\\\r\n]|\\[|\\])*)\|((?:[^|\\\r\n]|\\[|\\])*)\|([0-9]|10)\|(.*)$`)

var cefPair = regexp.MustCompile(`^([A-Za-z0-9]+)=((?:[^=\\\r\n]|\\[=\\nr])*)$`)

// cefNext is where a value ends: before a space and another key.
var cefNext = regexp.MustCompile(` [A-Za-z0-9]+=`)

func checkCEF(e *attestlog.Entry, text []byte) error {
	f := &findings{}
	line := string(text)
	parts := cefHeader.FindStringSubmatch(line)
	if parts == nil || !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl) {
		return fmt.Errorf("not the form of a line")
	}
	unescape := strings.NewReplacer(`\|`, "|", `\\`, `\`, `\=`, "=", `\n`, "\n", `\r`, "\r")
	for i, most := range []int{2: 63, 3: 63, 4: 31, 5: 1023, 6: 512} {
		parts[i] = unescape.Replace(parts[i])
		if n := utf8.RuneCountInString(parts[i]); i > 1 && (n == 0 || n > most) {
			f.add("header field %d has %d characters, at most %d", i, n, most)
		}
	}
	pairs := map[string]string{}
	for rest := parts[8]; rest != ""; {
		pair, next := rest, ""
		if at := cefNext.FindStringIndex(rest); at != nil {
			pair, next = rest[:at[0]], rest[at[0]+1:]
		}
		m := cefPair.FindStringSubmatch(pair)
		if m == nil {
			return fmt.Errorf("not a key and its value: %q", pair)
		}
		if _, twice := pairs[m[1]]; twice {
			f.add("%s comes twice", m[1])
		}
		pairs[m[1]], rest = unescape.Replace(m[2]), next
	}
	for key, value := range pairs {
		checkCEFPair(f, pairs, key, value)
	}
	checkCEFValues(f, e, pairs)
	if err := lognormalizer(line, parts, pairs); err != nil {
		f.all = append(f.all, err)
	}
	return f.err()
}

func checkCEFPair(f *findings, pairs map[string]string, key, value string) {
	if of, ok := strings.CutSuffix(key, "Label"); ok && cefCustom.MatchString(of) {
		if pairs[of] == "" || len(value) > 128 {
			f.add("%s is %q, %s is %q", key, value, of, pairs[of])
		}
		return
	}
	if cefCustom.MatchString(key) && pairs[key+"Label"] == "" {
		f.add("%s has no label", key)
	}
	var ok bool
	switch kind := cefKeys[key]; kind {
	case nil:
		f.add("%s is not in the dictionary", key)
		return
	case "long", "time":
		_, err := strconv.ParseInt(value, 10, 64)
		ok = err == nil
	case "IPv4":
		a, err := netip.ParseAddr(value)
		ok = err == nil && a.Is4()
	case "IPv6":
		a, err := netip.ParseAddr(value)
		ok = err == nil && !a.Is4() && a.Zone() == ""
	default:
		n := utf8.RuneCountInString(value)
		ok = n > 0 && n <= kind.(int)
	}
	if !ok {
		f.add("%s is %.60q (%d characters), want %v", key, value, utf8.RuneCountInString(value), cefKeys[key])
	}
}

// checkCEFValues demands the beginnings of the entry's own values, but for
// control characters.
func checkCEFValues(f *findings, e *attestlog.Entry, pairs map[string]string) {
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsControl(r) && r != '\r' && r != '\n' {
				return ' '
			}
			return r
		}, s)
	}
	for key, want := range map[string]string{
		"suid": e.Actor.ID, "suser": e.Actor.Name, "msg": e.Message, "reason": e.Reason, "act": e.Operation, "outcome": string(e.Outcome), "app": e.Service,
		"request": e.Request.Path, "requestMethod": e.Request.Method, "requestClientApplication": e.Source.UserAgent, "shost": e.Source.Host, "externalId": e.ID,
	} {
		if got := pairs[key]; !strings.HasPrefix(clean(want), got) || got == "" && want != "" {
			f.add("%s is %q, want %q", key, got, want)
		}
	}
}

// lognormalizer has liblognorm read the line: Debian's liblognorm-utils.
func lognormalizer(line string, header []string, pairs map[string]string) error {
	program, err := lognormalizerPath()
	if err != nil {
		return err
	}
	rules := filepath.Join("testdata", "cef.rulebase")
	cmd := exec.Command(program, "-r", rules, "-e", "json")
	cmd.Stdin = strings.NewReader(line + "\n")
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("lognormalizer: %v", err)
	}
	var got struct {
		F *struct {
			DeviceVendor, DeviceProduct, DeviceVersion, SignatureID, Name, Severity string
			Extensions                                                              map[string]string
		}
	}
	if err := json.Unmarshal(out, &got); err != nil || got.F == nil {
		return fmt.Errorf("liblognorm reads %s %v", out, err)
	}
	read := []string{got.F.DeviceVendor, got.F.DeviceProduct, got.F.DeviceVersion, got.F.SignatureID, got.F.Name, got.F.Severity}
	if strings.Join(read, "\x00") != strings.Join(header[2:8], "\x00") {
		return fmt.Errorf("liblognorm reads the header as %q, want %q", read, header[2:8])
	}
	// liblognorm 2.0.6 skips the extension's first character.
	first, _, _ := strings.Cut(header[8], "=")
	if v, ok := got.F.Extensions[first[1:]]; ok {
		delete(got.F.Extensions, first[1:])
		got.F.Extensions[first] = v
	}
	for key, value := range pairs {
		if got.F.Extensions[key] != value {
			return fmt.Errorf("liblognorm reads %s as %q, want %q", key, got.F.Extensions[key], value)
		}
	}
	if len(got.F.Extensions) != len(pairs) {
		return fmt.Errorf("liblognorm reads %d keys, want %d", len(got.F.Extensions), len(pairs))
	}
	return nil
}

var lognormalizerPath = sync.OnceValues(func() (string, error) {
	path, err := exec.LookPath("lognormalizer")
	if err != nil {
		return "", fmt.Errorf("%v; make interop installs liblognorm-utils", err)
	}
	return path, nil
})

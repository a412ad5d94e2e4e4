package witness

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/attestlog/attestlog"
)

const (
	maxHashes = 63
	// maxBody leaves room for 16 signatures of the longest kind, 5 kB each
	// (c2sp.org/signed-note).
	maxBody = 128 << 10
)

// A request is the body of add-checkpoint.
type request struct {
	old   uint64
	proof []attestlog.Hash
	note  []byte // the signed checkpoint
}

// parseRequest reads a body. It does not look at the note.
func parseRequest(body []byte) (request, error) {
	var r request
	head, signed, ok := strings.Cut(string(body), "\n\n")
	if !ok {
		return r, errors.New("no checkpoint after an empty line")
	}
	first, rest, more := strings.Cut(head, "\n")
	digits, ok := strings.CutPrefix(first, "old ")
	if !ok {
		return r, errors.New("does not start with an old size")
	}
	var err error
	if r.old, err = parseSize(digits); err != nil {
		return r, err
	}
	if more {
		lines := strings.Split(rest, "\n")
		if len(lines) > maxHashes {
			return r, fmt.Errorf("%d hashes, at most %d", len(lines), maxHashes)
		}
		for _, line := range lines {
			h, err := base64.StdEncoding.Strict().DecodeString(line)
			if err != nil || len(h) != len(attestlog.Hash{}) || strings.ContainsRune(line, '\r') {
				return r, fmt.Errorf("%q is not 32 bytes in base64", line)
			}
			r.proof = append(r.proof, attestlog.Hash(h))
		}
	}
	r.note = []byte(signed)
	return r, nil
}

// marshal writes what parseRequest reads.
func (r request) marshal() []byte {
	b := fmt.Appendf(nil, "old %d\n", r.old)
	for _, h := range r.proof {
		b = base64.StdEncoding.AppendEncode(b, h[:])
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, r.note...)
}

// parseSize reads a size without leading zeroes. Sizes have 62 bits, as in the
// rest of the module.
func parseSize(digits string) (uint64, error) {
	n, err := strconv.ParseUint(digits, 10, 62)
	if err != nil || strconv.FormatUint(n, 10) != digits {
		return 0, fmt.Errorf("%.40q is not a size", digits)
	}
	return n, nil
}

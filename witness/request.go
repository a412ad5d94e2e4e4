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
	// maxBody allows for 16 signatures of the longest kind, 5 kB each
	// (c2sp.org/signed-note).
	maxBody = 128 << 10
)

// A request is the body of add-checkpoint.
type request struct {
	old   uint64
	proof []attestlog.Hash
	note  []byte // the signed checkpoint
}

// parseRequest reads a body. It does not read the note.
func parseRequest(body []byte) (request, error) {
	head, signed, ok := strings.Cut(string(body), "\n\n")
	if !ok {
		return request{}, errors.New("no checkpoint after an empty line")
	}
	first, rest, hasProof := strings.Cut(head, "\n")
	digits, ok := strings.CutPrefix(first, "old ")
	if !ok {
		return request{}, errors.New("does not start with an old size")
	}

	r := request{note: []byte(signed)}
	var err error
	r.old, err = parseSize(digits)
	if err != nil {
		return request{}, err
	}
	if hasProof {
		r.proof, err = parseProof(rest)
	}
	return r, err
}

func parseProof(text string) ([]attestlog.Hash, error) {
	lines := strings.Split(text, "\n")
	if len(lines) > maxHashes {
		return nil, fmt.Errorf("%d hashes, at most %d", len(lines), maxHashes)
	}

	proof := make([]attestlog.Hash, len(lines))
	for i, line := range lines {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		// The decoder skips carriage returns.
		if err != nil || len(h) != len(attestlog.Hash{}) || strings.ContainsRune(line, '\r') {
			return nil, fmt.Errorf("%q is not 32 bytes in base64", line)
		}
		proof[i] = attestlog.Hash(h)
	}
	return proof, nil
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

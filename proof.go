package attestlog

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// An InclusionProof shows that a leaf is at an index of the tree that a signed
// checkpoint describes (RFC 6962, Section 2.1.1).
type InclusionProof struct {
	Index      uint64
	Leaf       []byte // the exact leaf, carried along as the proof's extra data
	Hashes     []Hash
	Checkpoint Checkpoint
}

func (p *InclusionProof) check() error {
	size, index := int64(p.Checkpoint.Size), int64(p.Index)
	return tlog.CheckRecord(p.Hashes, size, p.Checkpoint.Root, index, LeafHash(p.Leaf))
}

// CheckProof checks a proof offline: that one of keys signed the checkpoint, and
// that the leaf is where the proof says. It returns the leaf.
func CheckProof(p InclusionProof, keys ...note.Verifier) (Leaf, error) {
	signed, err := VerifyCheckpoint(p.Checkpoint.Note, keys...)
	if err != nil {
		return Leaf{}, err
	}
	p.Checkpoint = signed // whatever else the proof says of it

	if len(p.Leaf) == 0 {
		return Leaf{}, errors.New("proof: carries no leaf")
	}
	if p.Index >= p.Checkpoint.Size {
		return Leaf{}, fmt.Errorf("proof: index %d is outside a log of %d entries", p.Index, p.Checkpoint.Size)
	}
	err = p.check()
	if err != nil {
		return Leaf{}, fmt.Errorf("proof: entry %d: %v", p.Index, err)
	}
	return ParseLeaf(p.Leaf)
}

const (
	proofHeader = "c2sp.org/tlog-proof@v1"
	// maxProofHashes is the height of the largest tree.
	maxProofHashes = 63
)

// MarshalText writes the proof as a c2sp.org/tlog-proof file. The leaf is its
// extra data.
func (p InclusionProof) MarshalText() ([]byte, error) {
	var b strings.Builder
	b.WriteString(proofHeader + "\n")
	if len(p.Leaf) > 0 {
		b.WriteString("extra " + base64.StdEncoding.EncodeToString(p.Leaf) + "\n")
	}
	fmt.Fprintf(&b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n")
	b.Write(p.Checkpoint.Note)
	return []byte(b.String()), nil
}

// UnmarshalText reads what MarshalText writes. It checks the form, not the proof:
// see CheckProof.
func (p *InclusionProof) UnmarshalText(text []byte) error {
	head, signed, ok := strings.Cut(string(text), "\n\n")
	if !ok {
		return errors.New("proof: no checkpoint after an empty line")
	}
	lines := strings.Split(head, "\n")
	if lines[0] != proofHeader {
		return fmt.Errorf("proof: does not start with %q", proofHeader)
	}
	lines = lines[1:]
	*p = InclusionProof{}

	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		leaf, err := base64.StdEncoding.Strict().DecodeString(lines[0][len("extra "):])
		if err != nil {
			return fmt.Errorf("proof: extra data: %v", err)
		}
		p.Leaf = leaf
		lines = lines[1:]
	}

	if len(lines) == 0 {
		return errors.New("proof: no index")
	}
	// Each number and hash has one way to be written, so that a proof has one text.
	digits, ok := strings.CutPrefix(lines[0], "index ")
	index, err := strconv.ParseUint(digits, 10, 62)
	if !ok || err != nil || strconv.FormatUint(index, 10) != digits {
		return fmt.Errorf("proof: %q is not an index", lines[0])
	}
	p.Index = index
	lines = lines[1:]

	if len(lines) > maxProofHashes {
		return fmt.Errorf("proof: %d hashes, at most %d", len(lines), maxProofHashes)
	}
	for _, line := range lines {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != tlog.HashSize {
			return fmt.Errorf("proof: %q is not 32 bytes in base64", line)
		}
		p.Hashes = append(p.Hashes, Hash(h))
	}

	p.Checkpoint, err = ParseCheckpoint([]byte(signed))
	return err
}

// TilePath returns the path of a tile below a log's prefix; level -1 means entry
// bundles (c2sp.org/tlog-tiles).
func TilePath(level int, n uint64, width int) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	if width < TileWidth {
		path += fmt.Sprintf(".p/%d", width)
	}

	if level < 0 {
		return "tile/entries/" + path
	}
	return fmt.Sprintf("tile/%d/%s", level, path)
}

package attestlog

import (
	"context"
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

// InclusionProof proves an entry to the newest signed checkpoint. An entry
// that no checkpoint covers yet is ErrNotFound; Publish signs one.
func (l *Log) InclusionProof(ctx context.Context, index uint64) (InclusionProof, error) {
	c, err := l.Checkpoint(ctx)
	if err != nil {
		return InclusionProof{}, err
	}
	return l.InclusionProofTo(ctx, index, c)
}

// InclusionProofTo proves an entry to a checkpoint of this log, such as one that
// witnesses cosigned.
func (l *Log) InclusionProofTo(ctx context.Context, index uint64, c Checkpoint) (InclusionProof, error) {
	if index >= c.Size {
		return InclusionProof{}, fmt.Errorf("entry %d: the checkpoint covers %d entries: %w", index, c.Size, ErrNotFound)
	}
	p := InclusionProof{Index: index, Checkpoint: c}
	err := l.store.Scan(ctx, index, index+1, func(r *RawEntry) error {
		p.Leaf = append([]byte(nil), r.Leaf...)
		return nil
	})
	if err != nil {
		return p, err
	}
	p.Hashes, err = tlog.ProveRecord(int64(c.Size), int64(index), l.hashes(ctx, c))
	if err != nil {
		return p, fmt.Errorf("prove entry %d: %w", index, err)
	}
	return p, p.check()
}

// ConsistencyProof proves that the log of size from is a prefix of the log of
// size to; to may be at most the newest checkpoint's size.
func (l *Log) ConsistencyProof(ctx context.Context, from, to uint64) ([]Hash, error) {
	c, err := l.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	if from > to || to > c.Size {
		return nil, fmt.Errorf("consistency of %d and %d: the newest checkpoint covers %d entries: %w", from, to, c.Size, ErrNotFound)
	}
	if from == 0 {
		return nil, nil
	}
	return tlog.ProveTree(int64(to), int64(from), l.hashes(ctx, c))
}

func (l *Log) hashes(ctx context.Context, c Checkpoint) tlog.HashReader {
	return hashReader(Tree{Size: c.Size, Root: c.Root}, storeSource(ctx, l.store))
}

func (p *InclusionProof) check() error {
	return tlog.CheckRecord(p.Hashes, int64(p.Checkpoint.Size), p.Checkpoint.Root, int64(p.Index), LeafHash(p.Leaf))
}

const proofHeader = "c2sp.org/tlog-proof@v1"

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

// UnmarshalText reads what MarshalText writes. It checks the form, not the
// proof: see CheckProof.
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
	digits, ok := strings.CutPrefix(lines[0], "index ")
	n, err := strconv.ParseUint(digits, 10, 62)
	if !ok || err != nil || strconv.FormatUint(n, 10) != digits {
		return fmt.Errorf("proof: %q is not an index", lines[0])
	}
	p.Index = n
	const maxHashes = 63
	if len(lines)-1 > maxHashes {
		return fmt.Errorf("proof: %d hashes, at most %d", len(lines)-1, maxHashes)
	}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != tlog.HashSize {
			return fmt.Errorf("proof: %q is not 32 bytes in base64", line)
		}
		p.Hashes = append(p.Hashes, Hash(h))
	}
	p.Checkpoint, err = ParseCheckpoint([]byte(signed))
	return err
}

// CheckProof checks a proof offline: that one of keys signed the checkpoint,
// and that the leaf is where the proof says. It returns the leaf.
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
	if err := p.check(); err != nil {
		return Leaf{}, fmt.Errorf("proof: entry %d: %v", p.Index, err)
	}
	return ParseLeaf(p.Leaf)
}

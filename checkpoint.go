package attestlog

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// The actions of entries that the log itself writes.
const (
	// RestoreAction is the action of the entry that says that a log's database
	// was put back to an earlier state on purpose. Its attributes name the
	// checkpoint that was given up.
	RestoreAction = ReservedPrefix + "restore"

	// KeyAction is the action of the entry that announces a new signing key. Its
	// attributes "old" and "new" are verifier keys, "note" is the announcement
	// that the old one signed.
	KeyAction = ReservedPrefix + "key"

	// EraseAction is the action of the entry that says which sealed values were
	// erased: its attribute "erased" is a list of {"index", "pointers"}.
	EraseAction = ReservedPrefix + "erase"
)

// A Checkpoint is a signed tree head (c2sp.org/tlog-checkpoint).
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Hash
	Note   []byte // the signed note
}

// signCheckpoint signs a tree head.
func signCheckpoint(signer note.Signer, origin string, size uint64, root Hash) (Checkpoint, error) {
	// Origin, size and root, a line each.
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	return Checkpoint{origin, size, root, signed}, err
}

// ParseCheckpoint reads a signed note without looking at its signatures.
func ParseCheckpoint(signed []byte) (Checkpoint, error) {
	text, signatures, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return Checkpoint{}, errors.New("checkpoint: not a signed note")
	}
	for line := range strings.Lines(signatures) {
		// Package note does not mind stray bits at the end of a signature.
		signature := strings.TrimSuffix(line[strings.LastIndexByte(line, ' ')+1:], "\n")
		_, err := base64.StdEncoding.Strict().DecodeString(signature)
		if err != nil {
			return Checkpoint{}, fmt.Errorf("checkpoint: signature %q is not canonical base64", signature)
		}
	}

	lines := strings.Split(text, "\n")
	if len(lines) < 3 || lines[0] == "" {
		return Checkpoint{}, errors.New("checkpoint: not an origin, a size and a root on three lines")
	}
	size, err := strconv.ParseUint(lines[1], 10, 62)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("checkpoint: size %q is not a decimal number", lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != len(Hash{}) {
		return Checkpoint{}, fmt.Errorf("checkpoint: root %q is not 32 bytes in base64", lines[2])
	}
	return Checkpoint{lines[0], size, Hash(root), signed}, nil
}

// signerHash returns the hash of the log's key that a note names as its signer, or 0
// if it names none. Nothing is verified.
func (c Checkpoint) signerHash() uint32 {
	_, err := note.Open(c.Note, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return 0
	}

	for _, signature := range unverified.Note.UnverifiedSigs {
		if signature.Name == c.Origin {
			return signature.Hash
		}
	}
	return 0
}

// VerifyCheckpoint reads a signed note and demands a signature by one of keys,
// made for the checkpoint's own origin.
func VerifyCheckpoint(signed []byte, keys ...note.Verifier) (Checkpoint, error) {
	c, err := ParseCheckpoint(signed)
	if err != nil {
		return c, err
	}

	var own []note.Verifier
	for _, k := range keys {
		if k.Name() == c.Origin {
			own = append(own, k)
		}
	}
	if len(own) == 0 {
		return c, fmt.Errorf("checkpoint: no key for origin %q", c.Origin)
	}

	_, err = note.Open(signed, note.VerifierList(own...))
	if err != nil {
		return c, fmt.Errorf("checkpoint: %v", err)
	}
	return c, nil
}

// GenerateKey returns a new Ed25519 signing key and its verifier key, in the text
// form of golang.org/x/mod/sumdb/note. An empty origin becomes "attestlog/" and
// 16 random hex digits.
func GenerateKey(origin string) (signer, verifier string, err error) {
	if origin == "" {
		var id [8]byte
		rand.Read(id[:]) // never fails: crypto/rand
		origin = "attestlog/" + hex.EncodeToString(id[:])
	}

	forbidden := func(r rune) bool { return r <= ' ' || r == '+' || r == 0x7f || r == 0xfffd }
	if strings.ContainsFunc(origin, forbidden) {
		return "", "", fmt.Errorf("origin %q: it must not have spaces, plus signs and control characters", origin)
	}
	return note.GenerateKey(rand.Reader, origin)
}

// KeyNote returns the text that a log's signing key signs to announce its
// successor's verifier key.
func KeyNote(verifier string) string { return "attestlog/v1/key\n" + verifier + "\n" }

// VerifierKey returns the newest public key that home keeps, or ErrNotFound.
func VerifierKey(home Home) (string, error) {
	keys, err := home.VerifierKeys()
	if err != nil {
		return "", err
	}
	return keys[len(keys)-1], nil
}

// ErrBadKey is returned for a verifier key that is kept with a log and cannot be
// read.
var ErrBadKey = errors.New("not a verifier key")

// HomeVerifiers returns the public keys that home keeps, oldest first, or
// ErrNotFound. One that cannot be read is ErrBadKey.
func HomeVerifiers(home Home) ([]note.Verifier, error) {
	texts, err := home.VerifierKeys()
	if err != nil {
		return nil, err
	}

	var keys []note.Verifier
	for _, text := range texts {
		key, err := note.NewVerifier(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %v", ErrBadKey, text, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

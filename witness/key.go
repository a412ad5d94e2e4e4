package witness

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestlog/attestlog"
)

// algCosignature is the type of timestamped Ed25519 cosignatures
// (c2sp.org/signed-note, Signature types).
const algCosignature = 0x04

const (
	privatePrefix = "PRIVATE+KEY+"
	timeSize      = 8 // the signature comes after its time: Unix seconds, big-endian
)

// GenerateKey makes a pair of keys for cosignatures. The signing key,
//
//	PRIVATE+KEY+name+hash+base64(0x04 || seed)
//
// must be kept secret; the verifier key is
//
//	name+hash+base64(0x04 || public key)
//
// The hash is the first four bytes of SHA-256(name || "\n" || 0x04 || public
// key), in hex. The name should be a URL without a scheme, such as
// witness.example/w1; it may not contain spaces, control characters or plus
// signs. rand is usually crypto/rand.Reader.
func GenerateKey(rand io.Reader, name string) (signer, verifier string, err error) {
	if !validName(name) {
		return "", "", fmt.Errorf("witness: key name %q: it is empty, or has spaces, plus signs or control characters", name)
	}

	// Not ed25519.GenerateKey, which does not read the reader that it is given.
	seed := make([]byte, ed25519.SeedSize)
	_, err = io.ReadFull(rand, seed)
	if err != nil {
		return "", "", fmt.Errorf("witness: generate a key: %w", err)
	}

	s := newSigner(name, seed)
	return privatePrefix + keyText(name, s.hash, seed), s.VerifierKey(), nil
}

func validName(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == '+' || r == utf8.RuneError
	})
}

func keyHash(name string, public ed25519.PublicKey) uint32 {
	text := append([]byte(name), '\n', algCosignature)
	text = append(text, public...)
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint32(sum[:])
}

func keyText(name string, hash uint32, key []byte) string {
	typed := append([]byte{algCosignature}, key...)
	return fmt.Sprintf("%s+%08x+%s", name, hash, base64.StdEncoding.EncodeToString(typed))
}

// parseKey reads what keyText writes. Errors do not quote the key, which may be a
// private one.
func parseKey(text string) (name string, hash uint32, key []byte, err error) {
	parts := strings.SplitN(text, "+", 3) // base64 has plus signs too
	if len(parts) < 3 {
		return "", 0, nil, errors.New("is not NAME+HASH+KEY")
	}
	name, hex, b64 := parts[0], parts[1], parts[2]
	h, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || len(hex) != 8 || !validName(name) {
		return "", 0, nil, errors.New("is not NAME+HASH+KEY")
	}

	raw, err := base64.StdEncoding.Strict().DecodeString(b64)
	// The decoder skips the ends of lines.
	if err != nil || len(raw) == 0 || strings.ContainsAny(b64, "\r\n") {
		return "", 0, nil, errors.New("is not in base64")
	}
	if raw[0] != algCosignature {
		return "", 0, nil, fmt.Errorf("has the type 0x%02x, and that of a witness has 0x%02x", raw[0], algCosignature)
	}
	if len(raw) != 1+ed25519.PublicKeySize { // a seed has the same size
		return "", 0, nil, fmt.Errorf("has %d bytes, not %d", len(raw), 1+ed25519.PublicKeySize)
	}

	return name, uint32(h), raw[1:], nil
}

// A Signer makes cosignatures. It is a note.Signer, and safe for concurrent
// use.
type Signer struct {
	name string
	hash uint32
	key  ed25519.PrivateKey
}

// NewSigner reads a signing key that GenerateKey made.
func NewSigner(key string) (*Signer, error) {
	text, ok := strings.CutPrefix(key, privatePrefix)
	if !ok {
		return nil, errors.New("witness: not a signing key")
	}
	name, hash, seed, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("witness: the signing key %v", err)
	}

	s := newSigner(name, seed)
	if s.hash != hash {
		return nil, fmt.Errorf("witness: the hash in signing key %s+%08x is not that of the key", name, hash)
	}
	return s, nil
}

func newSigner(name string, seed []byte) *Signer {
	key := ed25519.NewKeyFromSeed(seed)
	return &Signer{name, keyHash(name, key.Public().(ed25519.PublicKey)), key}
}

// Name returns the key's name.
func (s *Signer) Name() string { return s.name }

// KeyHash returns the key's hash.
func (s *Signer) KeyHash() uint32 { return s.hash }

// VerifierKey returns the verifier key in its text form.
func (s *Signer) VerifierKey() string {
	return keyText(s.name, s.hash, s.key.Public().(ed25519.PublicKey))
}

// Verifier returns the verifier of the signatures of s.
func (s *Signer) Verifier() *Verifier {
	return &Verifier{s.name, s.hash, s.key.Public().(ed25519.PublicKey)}
}

// Sign cosigns the text of a checkpoint, without signatures, as of now. It
// does not know what it signed before; a Witness does.
func (s *Signer) Sign(text []byte) ([]byte, error) { return s.signAt(text, time.Now()) }

func (s *Signer) signAt(text []byte, when time.Time) ([]byte, error) {
	note := append(text[:len(text):len(text)], '\n') // as if signatures followed
	_, err := attestlog.ParseCheckpoint(note)
	if err != nil {
		return nil, fmt.Errorf("witness: sign: %v", err)
	}
	seconds := when.Unix()
	if seconds <= 0 { // a cosignature must have a time
		return nil, fmt.Errorf("witness: sign: the clock says %v", when)
	}

	sig := binary.BigEndian.AppendUint64(nil, uint64(seconds))
	return append(sig, ed25519.Sign(s.key, message(text, uint64(seconds)))...), nil
}

// message returns the bytes that are signed (c2sp.org/tlog-cosignature, Ed25519
// signed message).
func message(text []byte, seconds uint64) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", seconds), text...)
}

// A Verifier verifies cosignatures. It is a note.Verifier, and safe for
// concurrent use.
type Verifier struct {
	name   string
	hash   uint32
	public ed25519.PublicKey
}

// NewVerifier reads a verifier key.
func NewVerifier(key string) (*Verifier, error) {
	name, hash, public, err := parseKey(key)
	if err != nil {
		return nil, fmt.Errorf("witness: verifier key %q %v", key, err)
	}

	if keyHash(name, public) != hash {
		return nil, fmt.Errorf("witness: the hash in verifier key %q is not that of the key", key)
	}
	return &Verifier{name, hash, public}, nil
}

// Name returns the key's name.
func (v *Verifier) Name() string { return v.name }

// KeyHash returns the key's hash.
func (v *Verifier) KeyHash() uint32 { return v.hash }

// Verify reports whether sig is a cosignature of text, whatever its time.
func (v *Verifier) Verify(text, sig []byte) bool {
	if len(sig) != timeSize+ed25519.SignatureSize {
		return false
	}

	seconds := binary.BigEndian.Uint64(sig)
	if seconds > math.MaxInt64 {
		return false
	}
	return ed25519.Verify(v.public, message(text, seconds), sig[timeSize:])
}

// Time returns when a cosignature was made, to the second. It does not verify
// it: note.Open does.
func Time(sig note.Signature) (time.Time, error) {
	const hashSize = 4
	raw, err := base64.StdEncoding.DecodeString(sig.Base64)
	if err != nil || len(raw) != hashSize+timeSize+ed25519.SignatureSize {
		return time.Time{}, fmt.Errorf("witness: the signature of %q is not a cosignature", sig.Name)
	}

	seconds := binary.BigEndian.Uint64(raw[hashSize:])
	if seconds > math.MaxInt64 {
		return time.Time{}, fmt.Errorf("witness: the cosignature of %q has the time %d", sig.Name, seconds)
	}
	return time.Unix(int64(seconds), 0), nil
}

package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/query"
)

// Scopes say what a token may do.
const (
	ScopeAppend = "append" // store entries
	ScopeRead   = "read"   // search, export and follow entries, and prove them
	ScopeVerify = "verify" // have the log verified
	ScopeAdmin  = "admin"  // all of these, and see the server's figures
)

// Scopes lists them.
var Scopes = []string{ScopeAppend, ScopeRead, ScopeVerify, ScopeAdmin}

// A TokenStore stores the records of one log's tokens, for all servers of the
// log: a *sqlite.Store or *postgres.Store. Records are JSON. It is safe for
// concurrent use.
type TokenStore interface {
	// PutToken durably stores a record, in place of the one with that id.
	PutToken(ctx context.Context, id string, record []byte) error
	// Token returns a record, or attestlog.ErrNotFound.
	Token(ctx context.Context, id string) ([]byte, error)
	// Tokens calls fn with each record, by id.
	Tokens(ctx context.Context, fn func(id string, record []byte) error) error
}

// A Token lets its bearer use one log. Its record does not give the token itself
// away.
type Token struct {
	ID     string    `json:"-"`
	Hash   []byte    `json:"hash"`           // SHA-256 of the secret
	Note   string    `json:"note,omitempty"` // what it is for; free text
	Scopes []string  `json:"scopes"`
	Made   time.Time `json:"made"`
	// Tenant limits the token to one tenant's entries, and Actor to one actor's: it
	// can neither see nor write any other. Empty is no limit.
	Tenant string `json:"tenant,omitempty"`
	Actor  string `json:"actor,omitempty"`
	// Expires and Revoked end the token. Zero is never.
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
}

// ErrToken is returned for a token that does not exist, or is no longer valid. It
// does not say which, so that guessing teaches nothing.
var ErrToken = errors.New("the token is not valid")

// tokenText is base32 in lower case, so that a token can be read out.
var tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const (
	tokenPrefix  = "al_"
	tokenIDBytes = 10
	secretBytes  = 32
)

// CreateToken makes a token, and returns what its bearer shows: al_ID_SECRET. The
// secret is stored nowhere. It sets t's ID and Hash, and Made if that is zero. It
// returns an error for no or unknown scopes, and for one that concerns the whole
// log in a token that is limited.
func CreateToken(ctx context.Context, store TokenStore, t *Token) (string, error) {
	err := t.checkScopes()
	if err != nil {
		return "", err
	}

	var id [tokenIDBytes]byte
	var secret [secretBytes]byte
	rand.Read(id[:])
	rand.Read(secret[:])

	sum := sha256.Sum256(secret[:])
	t.ID = tokenText.EncodeToString(id[:])
	t.Hash = sum[:]
	if t.Made.IsZero() {
		t.Made = time.Now().UTC()
	}

	err = putToken(ctx, store, t)
	if err != nil {
		return "", err
	}
	return tokenPrefix + t.ID + "_" + tokenText.EncodeToString(secret[:]), nil
}

func (t *Token) checkScopes() error {
	if len(t.Scopes) == 0 {
		return fmt.Errorf("a token needs a scope: %s", strings.Join(Scopes, ", "))
	}
	for _, scope := range t.Scopes {
		if !slices.Contains(Scopes, scope) {
			return fmt.Errorf("scope %q: there are %s", scope, strings.Join(Scopes, ", "))
		}
		if t.Limited() && scope != ScopeAppend && scope != ScopeRead {
			return fmt.Errorf("scope %s concerns the whole log, so its token cannot be limited to a tenant or an actor", scope)
		}
	}
	return nil
}

func putToken(ctx context.Context, store TokenStore, t *Token) error {
	record, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return store.PutToken(ctx, t.ID, record)
}

// ListTokens returns all tokens, by id.
func ListTokens(ctx context.Context, store TokenStore) ([]Token, error) {
	var all []Token
	err := store.Tokens(ctx, func(id string, record []byte) error {
		t, err := parseToken(id, record)
		all = append(all, t)
		return err
	})
	return all, err
}

// RevokeToken ends a token at a time, unless it has been ended before, and returns
// it. Servers hear of it within a second. The error is attestlog.ErrNotFound if
// there is no token with the id.
func RevokeToken(ctx context.Context, store TokenStore, id string, when time.Time) (Token, error) {
	record, err := store.Token(ctx, id)
	if err != nil {
		return Token{}, fmt.Errorf("token %q: %w", id, err)
	}
	t, err := parseToken(id, record)
	if err != nil {
		return t, err
	}

	if !t.Revoked.IsZero() {
		return t, nil
	}
	t.Revoked = when.UTC()
	return t, putToken(ctx, store, &t)
}

func parseToken(id string, record []byte) (Token, error) {
	t := Token{ID: id}
	err := json.Unmarshal(record, &t)
	if err != nil {
		return t, fmt.Errorf("token %s: its record: %v", id, err)
	}
	return t, nil
}

// splitToken returns the id and the secret of a token's text.
func splitToken(text string) (id string, secret []byte, ok bool) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return "", nil, false
	}
	id, encoded, ok := strings.Cut(rest, "_")
	rightLengths := len(id) == tokenText.EncodedLen(tokenIDBytes) && len(encoded) == tokenText.EncodedLen(secretBytes)
	if !ok || !rightLengths {
		return "", nil, false
	}

	secret, err := tokenText.DecodeString(encoded)
	if err != nil {
		return "", nil, false
	}
	// The last character has bits to spare; a token has one spelling only.
	if tokenText.EncodeToString(secret) != encoded {
		return "", nil, false
	}
	return id, secret, true
}

// check returns ErrToken unless the secret is the token's, and the token is valid.
func (t *Token) check(secret []byte, now time.Time) error {
	sum := sha256.Sum256(secret)
	known := subtle.ConstantTimeCompare(sum[:], t.Hash) == 1
	revoked := !t.Revoked.IsZero() && !now.Before(t.Revoked)
	expired := !t.Expires.IsZero() && !now.Before(t.Expires)
	if !known || revoked || expired {
		return ErrToken
	}
	return nil
}

// May reports whether the token has a scope, or the one that includes all.
func (t *Token) May(scope string) bool {
	return slices.Contains(t.Scopes, scope) || slices.Contains(t.Scopes, ScopeAdmin)
}

// Limited reports whether the token is for a part of the log.
func (t *Token) Limited() bool { return t.Tenant != "" || t.Actor != "" }

// visible returns the query of all that the token may see.
func (t *Token) visible() query.Query {
	var q query.Query
	if t.Tenant != "" {
		q = query.And(q, query.Field("tenant", t.Tenant))
	}
	if t.Actor != "" {
		q = query.And(q, query.Field("actor", t.Actor))
	}
	return q
}

// sees reports whether the token may see an entry.
func (t *Token) sees(e *attestlog.Entry) bool {
	q := t.visible()
	return q.Match(e)
}

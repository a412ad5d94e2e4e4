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

// A TokenStore keeps the records of one log's tokens, for all servers of the
// log: a *sqlite.Store or *postgres.Store. Records are JSON.
type TokenStore interface {
	// PutToken durably keeps a record, in the place of the one with that id.
	PutToken(ctx context.Context, id string, record []byte) error
	// Token returns a record, or attestlog.ErrNotFound.
	Token(ctx context.Context, id string) ([]byte, error)
	// Tokens calls fn with each record, by id.
	Tokens(ctx context.Context, fn func(id string, record []byte) error) error
}

// A Token lets its bearer use one log. What is kept of it does not give the
// token itself away.
type Token struct {
	ID     string    `json:"-"`
	Hash   []byte    `json:"hash"` // SHA-256 of the secret
	Note   string    `json:"note,omitempty"`
	Scopes []string  `json:"scopes"`
	Made   time.Time `json:"made"`
	// Tenant limits the token to one tenant's entries, and Actor to one
	// actor's: it can neither see nor write any other. Empty is no limit.
	Tenant string `json:"tenant,omitempty"`
	Actor  string `json:"actor,omitempty"`
	// Expires and Revoked end the token. Zero is never.
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
}

// ErrToken is returned for a token that is none, or is no longer valid. It does
// not say which, so that guessing teaches nothing.
var ErrToken = errors.New("the token is not valid")

// base32 in lower case: tokens survive being read out.
var tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const (
	tokenPrefix  = "al_"
	tokenIDBytes = 10
	secretBytes  = 32
)

// CreateToken makes a token, and returns what its bearer shows: al_ID_SECRET. The
// secret is kept nowhere. t's ID, Hash and Made are set.
func CreateToken(ctx context.Context, store TokenStore, t *Token) (string, error) {
	if len(t.Scopes) == 0 {
		return "", fmt.Errorf("a token needs a scope: %s", strings.Join(Scopes, ", "))
	}
	for _, scope := range t.Scopes {
		if !slices.Contains(Scopes, scope) {
			return "", fmt.Errorf("scope %q: there are %s", scope, strings.Join(Scopes, ", "))
		}
		if limited := t.Tenant != "" || t.Actor != ""; limited && scope != ScopeAppend && scope != ScopeRead {
			return "", fmt.Errorf("scope %s concerns the whole log, so its token cannot be limited to a tenant or an actor", scope)
		}
	}
	var id [tokenIDBytes]byte
	var secret [secretBytes]byte
	rand.Read(id[:])
	rand.Read(secret[:])
	sum := sha256.Sum256(secret[:])
	t.ID, t.Hash = tokenText.EncodeToString(id[:]), sum[:]
	if t.Made.IsZero() {
		t.Made = time.Now().UTC()
	}
	if err := putToken(ctx, store, t); err != nil {
		return "", err
	}
	return tokenPrefix + t.ID + "_" + tokenText.EncodeToString(secret[:]), nil
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
	var out []Token
	err := store.Tokens(ctx, func(id string, record []byte) error {
		t, err := parseToken(id, record)
		out = append(out, t)
		return err
	})
	return out, err
}

// RevokeToken ends a token: servers hear of it within a second. It is attestlog.ErrNotFound for an id that is not there.
func RevokeToken(ctx context.Context, store TokenStore, id string, at time.Time) (Token, error) {
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
	t.Revoked = at.UTC()
	return t, putToken(ctx, store, &t)
}

func parseToken(id string, record []byte) (Token, error) {
	t := Token{ID: id}
	if err := json.Unmarshal(record, &t); err != nil {
		return t, fmt.Errorf("token %s: its record: %v", id, err)
	}
	return t, nil
}

// splitToken returns a token's id and secret.
func splitToken(text string) (id string, secret []byte, ok bool) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return "", nil, false
	}
	id, encoded, ok := strings.Cut(rest, "_")
	if !ok || len(id) != tokenText.EncodedLen(tokenIDBytes) || len(encoded) != tokenText.EncodedLen(secretBytes) {
		return "", nil, false
	}
	secret, err := tokenText.DecodeString(encoded)
	return id, secret, err == nil && tokenText.EncodeToString(secret) == encoded // its last character has bits to spare
}

// check compares a secret with the token's.
func (t *Token) check(secret []byte, now time.Time) error {
	sum := sha256.Sum256(secret)
	switch {
	case subtle.ConstantTimeCompare(sum[:], t.Hash) != 1,
		!t.Revoked.IsZero() && !now.Before(t.Revoked),
		!t.Expires.IsZero() && !now.Before(t.Expires):
		return ErrToken
	}
	return nil
}

// May reports whether the token has a scope.
func (t *Token) May(scope string) bool {
	return slices.Contains(t.Scopes, scope) || slices.Contains(t.Scopes, ScopeAdmin)
}

// Limited reports whether the token is for a part of the log.
func (t *Token) Limited() bool { return t.Tenant != "" || t.Actor != "" }

// within returns the query of all that the token may see.
func (t *Token) within() query.Query {
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
func (t *Token) sees(e *attestlog.Entry) bool { q := t.within(); return q.Match(e) }

package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/attestlog/attestlog"
)

// tokenLife is how long a token is known without asking the store again, and so
// how long it takes until a revocation by another process is heard of.
const tokenLife = time.Second

// maxKnownTokens bounds the tokens of one log that are known at a time.
const maxKnownTokens = 10_000

// A tokenReader is a TokenStore, as a keyring needs it.
type tokenReader interface {
	Token(ctx context.Context, id string) ([]byte, error)
}

// A keyring looks tokens of one log up, and remembers those that were used
// lately.
type keyring struct {
	store tokenReader
	clock func() time.Time

	mu    sync.Mutex
	known map[string]knownToken // by id
}

type knownToken struct {
	token *Token    // nil if the store has none
	until time.Time // when to ask the store again
}

func newKeyring(store tokenReader, clock func() time.Time) *keyring {
	return &keyring{store: store, clock: clock, known: map[string]knownToken{}}
}

// find returns the token that text spells, ErrToken if it is not valid, or an
// error of the store.
func (k *keyring) find(ctx context.Context, text string) (*Token, error) {
	id, secret, ok := splitToken(text)
	if !ok {
		return nil, ErrToken
	}

	now := k.clock()
	t, err := k.token(ctx, id, now)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, ErrToken
	}
	return t, t.check(secret, now)
}

// token returns the token with an id, or nil if there is none.
func (k *keyring) token(ctx context.Context, id string, now time.Time) (*Token, error) {
	k.mu.Lock()
	known, found := k.known[id]
	k.mu.Unlock()

	// A time too far ahead is from before the clock was set back.
	left := known.until.Sub(now)
	if found && left >= 0 && left <= tokenLife {
		return known.token, nil
	}

	t, err := k.read(ctx, id)
	if err != nil {
		return nil, err
	}
	k.remember(id, knownToken{token: t, until: now.Add(tokenLife)}, now)
	return t, nil
}

// read asks the store for a token, and returns nil if there is none.
func (k *keyring) read(ctx context.Context, id string) (*Token, error) {
	record, err := k.store.Token(ctx, id)
	if errors.Is(err, attestlog.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}

	t, err := parseToken(id, record)
	if err != nil {
		return nil, err
	}
	return &t, nil
}

func (k *keyring) remember(id string, t knownToken, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()

	if len(k.known) >= maxKnownTokens {
		for id, old := range k.known {
			if now.After(old.until) {
				delete(k.known, id)
			}
		}
	}
	if len(k.known) >= maxKnownTokens {
		clear(k.known)
	}

	k.known[id] = t
}

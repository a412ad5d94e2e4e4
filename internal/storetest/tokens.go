package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestlog/attestlog"
)

var tokenTests = []namedTest{
	{"SharedByAllWhoOpenTheLog", tokensAreShared},
	{"NoneWrittenThroughAReader", tokensNeedAWriter},
}

// tokens is what a store keeps for a server.
type tokens interface {
	PutToken(ctx context.Context, id string, record []byte) error
	Token(ctx context.Context, id string) ([]byte, error)
	Tokens(ctx context.Context, fn func(id string, record []byte) error) error
}

func tokensAreShared(t *testing.T, o Opener) {
	first, second := openStore(t, o, Options{}), openStore(t, o, Options{})
	defer first.Close()
	defer second.Close()
	a, b := first.(tokens), second.(tokens)

	if _, err := a.Token(t.Context(), "x"); !errors.Is(err, attestlog.ErrNotFound) {
		t.Errorf("Token of none = %v, want ErrNotFound", err)
	}

	for _, put := range []struct {
		to         tokens
		id, record string
	}{{a, "x", "1"}, {b, "y", "\x00\xff"}, {b, "x", "2"}} {
		if err := put.to.PutToken(t.Context(), put.id, []byte(put.record)); err != nil {
			t.Fatal(err)
		}
	}

	got := map[string]string{}
	if err := a.Tokens(t.Context(), func(id string, record []byte) error {
		got[id] = string(record)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"x": "2", "y": "\x00\xff"}, got); diff != "" {
		t.Errorf("Tokens (-want +got):\n%s", diff)
	}

	if record, err := a.Token(t.Context(), "x"); err != nil || string(record) != "2" {
		t.Errorf("Token = %q, %v, want the newer record", record, err)
	}

	broken := errors.New("broken")
	if err := b.Tokens(t.Context(), func(string, []byte) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("Tokens = %v, want the function's error", err)
	}
}

func tokensNeedAWriter(t *testing.T, o Opener) {
	openStore(t, o, Options{}).Close()

	s := openStore(t, o, Options{ReadOnly: true})
	defer s.Close()
	if err := s.(tokens).PutToken(t.Context(), "x", []byte("1")); !errors.Is(err, attestlog.ErrReadOnly) {
		t.Errorf("PutToken = %v, want ErrReadOnly", err)
	}
}

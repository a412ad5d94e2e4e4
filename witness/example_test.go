package witness_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/witness"
)

// Sample keys, made from seeds that anybody knows.
func sampleKeys() (log note.Signer, logKey note.Verifier, w *witness.Signer) {
	skey, vkey, err := note.GenerateKey(strings.NewReader(strings.Repeat("l", 32)), "example.com/log")
	if err != nil {
		panic(err)
	}
	if log, err = note.NewSigner(skey); err != nil {
		panic(err)
	}
	if logKey, err = note.NewVerifier(vkey); err != nil {
		panic(err)
	}
	if skey, _, err = witness.GenerateKey(strings.NewReader(strings.Repeat("w", 32)), "witness.example/w1"); err != nil {
		panic(err)
	}
	if w, err = witness.NewSigner(skey); err != nil {
		panic(err)
	}
	return log, logKey, w
}

func Example() {
	dir, err := os.MkdirTemp("", "witness")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	logSigner, logKey, signer := sampleKeys()
	clock := func() time.Time { return time.Unix(1763805600, 0) }
	w, err := witness.New(witness.Config{
		Signer: signer, Logs: map[string][]note.Verifier{"example.com/log": {logKey}},
		Dir: dir, Create: true, Clock: clock, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	srv := httptest.NewServer(w)
	defer srv.Close()

	client := &witness.Client{URL: srv.URL, Verifier: signer.Verifier(), Clock: clock}
	root := tlog.NodeHash(tlog.RecordHash([]byte("a")), tlog.RecordHash([]byte("b")))
	checkpoint, err := note.Sign(&note.Note{Text: fmt.Sprintf("example.com/log\n2\n%v\n", root)}, logSigner)
	if err != nil {
		panic(err)
	}
	var proof witness.Proof = func(context.Context, uint64, uint64) ([]attestlog.Hash, error) { panic("it begins at 0") }
	cosigned, err := client.Cosign(context.Background(), checkpoint, proof)
	if err != nil {
		panic(err)
	}
	fmt.Print(string(cosigned))
	n, err := note.Open(cosigned, note.VerifierList(signer.Verifier()))
	if err != nil {
		panic(err)
	}
	at, err := witness.Time(n.Sigs[0])
	fmt.Println(at.UTC(), err)
	// Output:
	// example.com/log
	// 2
	// sTeYX/SE+2ANuTEHx3sDZcgNePW0Kd7Q/Zc2HQd5mes=
	//
	// — example.com/log h+1bO65Rl1X0h8sMXUPbCLMAuBq5JsOunLvRiIa7O0PeIDEBGhsiUgLkiTvrzjS0Id8WFT8QmCyF5NDTHdGf/PNo/gc=
	// — witness.example/w1 dzpsEgAAAABpIYmgacf81xOc8wsT/zKZBOTLu5IWVdGn/yxT+7uUOuqdxubU6L9Qb2fNs01dNf+hlZEcCfWI+XxwQX1vwRcLdRbyAA==
	// 2025-11-22 10:00:00 +0000 UTC <nil>
}

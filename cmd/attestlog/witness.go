package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/net/netutil"

	"github.com/attestlog/attestlog/internal/durable"
	"github.com/attestlog/attestlog/witness"
)

type witnessCmd struct {
	Listen string   `help:"The address to serve HTTP on. Defaults to 127.0.0.1:8451." default:"127.0.0.1:8451" placeholder:"ADDRESS"`
	State  string   `help:"The folder that remembers the cosigned checkpoints." required:"" placeholder:"DIR"`
	Key    string   `help:"The file of the signing key, created if it is missing." required:"" placeholder:"FILE"`
	Name   string   `help:"The name of a new key, best a URL without a scheme. Defaults to a random one." placeholder:"NAME"`
	LogKey []string `help:"A public key of a log to cosign. Give it again for more logs, and for each key of a log." required:"" sep:"none" placeholder:"KEY"`
}

func (witnessCmd) Help() string {
	return `Cosigns checkpoints of the logs whose keys are given (c2sp.org/tlog-witness), at
POST /add-checkpoint, if they extend the last one. Prints its own public key, which
clients need, and runs until it is interrupted. Run it on a machine that the logs'
operators do not administer.

The state belongs to the key: if it is lost, create a new key too, because a witness
that has forgotten what it cosigned would cosign a second history.

Examples:
  attestlog witness --state /var/lib/witness --key /etc/witness.key --name witness.example/w1 \
    --log-key "$(cat audit.pub)"`
}

func (c *witnessCmd) Run(a *app) error {
	logs, err := logKeys(c.LogKey)
	if err != nil {
		return err
	}
	signer, newKey, err := c.signer()
	if err != nil {
		return err
	}

	logger := slog.New(slog.NewJSONHandler(a.stderr, nil))
	w, err := witness.New(witness.Config{
		Signer: signer,
		Logs:   logs,
		Dir:    c.State,
		Create: newKey != "",
		Logger: logger,
	})
	if errors.Is(err, witness.ErrNoState) {
		hint := "the state that belongs to %s is missing: put it back as it was last, or remove the key to create a new one"
		return hinted{err, fmt.Sprintf(hint, c.Key)}
	}
	if err != nil {
		return err
	}

	// The key is stored only after its state: a key without a state is one that
	// has lost it.
	if newKey != "" {
		err = durable.Create(c.Key, []byte(newKey+"\n"), 0o600)
		if err != nil {
			return fmt.Errorf("keep the new key: %w", err)
		}
	}

	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, signer.VerifierKey())
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	logger.Info("witness: listening", "addr", listener.Addr().String(), "key", signer.Name(), "logs", len(logs))
	return serveUntil(a.ctx, netutil.LimitListener(listener, witnessConnections), w, logger)
}

// logKeys parses the keys of logs, by the logs' names. Each text may hold
// several keys.
func logKeys(texts []string) (map[string][]note.Verifier, error) {
	logs := map[string][]note.Verifier{}
	for _, text := range texts {
		for key := range strings.FieldsSeq(text) {
			if strings.HasPrefix(key, "PRIVATE+KEY+") {
				return nil, hinted{errors.New("--log-key: that is a signing key"), "give the log's public key: attestlog key show"}
			}
			v, err := note.NewVerifier(key)
			if err != nil {
				return nil, fmt.Errorf("--log-key %q: %w", key, err)
			}
			logs[v.Name()] = append(logs[v.Name()], v)
		}
	}
	return logs, nil
}

// signer reads the key from its file. If there is none, it generates newKey,
// which the caller stores.
func (c *witnessCmd) signer() (s *witness.Signer, newKey string, err error) {
	text, err := os.ReadFile(c.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return generateSigner(c.Name)
	}
	if err != nil {
		return nil, "", err
	}

	s, err = witness.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", c.Key, err)
	}
	if c.Name != "" && c.Name != s.Name() {
		return nil, "", fmt.Errorf("the key in %s is named %q, not %q; a key's name never changes", c.Key, s.Name(), c.Name)
	}
	return s, "", nil
}

func generateSigner(name string) (s *witness.Signer, key string, err error) {
	if name == "" {
		var id [8]byte
		rand.Read(id[:]) // never fails
		name = "attestlog-witness/" + hex.EncodeToString(id[:])
	}

	key, _, err = witness.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, "", err
	}
	s, err = witness.NewSigner(key)
	return s, key, err
}

const (
	// witnessStopWait bounds how long requests may take when the witness is
	// stopped.
	witnessStopWait = 10 * time.Second
	// witnessConnections bounds the connections at a time: a log needs one.
	witnessConnections = 1000
)

// serveUntil serves until ctx ends, and then lets requests in progress end.
func serveUntil(ctx context.Context, listener net.Listener, h http.Handler, logger *slog.Logger) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(listener) }()

	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}

	logger.Info("witness: stopping")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), witnessStopWait)
	defer cancel()
	err := srv.Shutdown(ctx)
	<-ended // http.ErrServerClosed
	return err
}

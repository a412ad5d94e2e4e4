package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/home"
)

// InSchema as Config.Home, or as the parameter home of a DSN, sets
// Config.HomeInSchema.
const InSchema = "schema"

// openHome decides where the log's keys and kept checkpoint are. The schema's are
// used only by those who ask for them: its owner could plant some. Without any
// others they still tell a reader which log it is.
func (s *Store) openHome(ctx context.Context) error {
	if s.cfg.Home == InSchema {
		s.cfg.Home, s.cfg.HomeInSchema = "", true
	}
	if s.cfg.HomeInSchema {
		if s.cfg.Home != "" {
			return fmt.Errorf("the log's home is to be the schema and %s at once", s.cfg.Home)
		}
		s.home = schemaHome{s}
		return nil
	}

	path, pathErr := s.cfg.Home, error(nil)
	if path == "" {
		path, pathErr = defaultHome(s.pool.Config().ConnConfig, s.cfg.Log)
	}
	files := home.At(path)
	_, err := files.VerifierKeys()
	isBare := s.cfg.Home == "" && (pathErr != nil || errors.Is(err, attestlog.ErrNotFound))
	if isBare {
		inSchema, err := s.keepsKeys(ctx)
		switch {
		case err != nil:
			return err
		case inSchema && s.cfg.ReadOnly:
			s.home = schemaHome{s}
			return nil
		case inSchema:
			return errors.New("its keys are kept in its schema, and nothing was told to trust them: " +
				"add home=schema to the log's URL, or name their files with home=PATH")
		}
	}
	if pathErr != nil {
		return pathErr
	}

	if !s.cfg.ReadOnly {
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err != nil {
			return fmt.Errorf("the folder of the log's keys and kept checkpoint: %w", err)
		}
	}
	s.cfg.Home = path
	s.home = files
	return nil
}

// keepsKeys reports whether the schema has a signing key.
func (s *Store) keepsKeys(ctx context.Context) (bool, error) {
	_, err := s.readHome(ctx, homeKey)
	if errors.Is(err, attestlog.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Names of the rows of the table home.
const (
	homeKey        = "key"
	homeVerifiers  = "verifiers"
	homeCheckpoint = "checkpoint"
)

// readHome returns the value of a row, or attestlog.ErrNotFound.
func (s *Store) readHome(ctx context.Context, name string) (value string, err error) {
	err = s.pool.QueryRow(ctx, s.sql("SELECT value FROM @.home WHERE name = $1"), name).Scan(&value)

	var pg *pgconn.PgError
	mayNot := errors.As(err, &pg) && pg.Code == "42501" // insufficient_privilege
	if errors.Is(err, pgx.ErrNoRows) || mayNot && !s.cfg.HomeInSchema {
		return "", fmt.Errorf("the %s in the log's schema: %w", name, attestlog.ErrNotFound)
	}
	return value, s.readError(ctx, err)
}

// A schemaHome is an attestlog.Home in the table home of the log's schema. Its
// methods are safe for concurrent use, also by several processes.
type schemaHome struct{ s *Store }

var _ attestlog.Home = schemaHome{}

// KeptInDatabase tells that the database holds what should vouch for it.
func (h schemaHome) KeptInDatabase() bool { return true }

// context bounds a call, which has no context of its own.
func (h schemaHome) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), h.s.stepLimit())
}

func (h schemaHome) read(name string) (string, error) {
	ctx, cancel := h.context()
	defer cancel()
	return h.s.readHome(ctx, name)
}

// Checkpoint returns the newest kept checkpoint, or attestlog.ErrNotFound.
func (h schemaHome) Checkpoint() ([]byte, error) {
	note, err := h.read(homeCheckpoint)
	if err != nil {
		return nil, err
	}
	return []byte(note), nil
}

// Key returns the signing key, or attestlog.ErrNotFound.
func (h schemaHome) Key() (string, error) { return h.read(homeKey) }

// VerifierKeys returns the public keys, oldest first, or attestlog.ErrNotFound.
func (h schemaHome) VerifierKeys() ([]string, error) {
	text, err := h.read(homeVerifiers)
	return strings.Fields(text), err
}

// ReplaceCheckpoint calls update with the kept checkpoint, nil if there is none,
// and keeps what it returns unless that is nil.
func (h schemaHome) ReplaceCheckpoint(update func(old []byte) ([]byte, error)) error {
	return h.change(func(rows *homeRows) error {
		var old []byte
		if note, ok := rows.value[homeCheckpoint]; ok {
			old = []byte(note)
		}
		note, err := update(old)
		if err == nil && note != nil {
			rows.set(homeCheckpoint, string(note))
		}
		return err
	})
}

// CreateKeys keeps a new log's keys. It fails with fs.ErrExist if there is a
// signing key.
func (h schemaHome) CreateKeys(signer, verifier string) error {
	return h.change(func(rows *homeRows) error {
		if _, ok := rows.value[homeKey]; ok {
			return fmt.Errorf("the signing key in the log's schema: %w", fs.ErrExist)
		}
		rows.set(homeKey, signer)
		rows.set(homeVerifiers, verifier+"\n")
		return nil
	})
}

// RotateKey replaces the signing key and adds a verifier key to the others.
func (h schemaHome) RotateKey(signer, verifier string) error {
	return h.change(func(rows *homeRows) error {
		verifiers, ok := rows.value[homeVerifiers]
		if !ok {
			return fmt.Errorf("the verifier keys in the log's schema: %w", attestlog.ErrNotFound)
		}
		rows.set(homeKey, signer)
		rows.set(homeVerifiers, verifiers+verifier+"\n")
		return nil
	})
}

// homeRows are the rows of the table home, and those that are to be changed.
type homeRows struct{ value, changed map[string]string }

func (r *homeRows) set(name, value string) { r.changed[name] = value }

// change runs fn with the rows, which nobody else changes meanwhile, and stores
// what it sets, durably.
func (h schemaHome) change(fn func(*homeRows) error) error {
	ctx, cancel := h.context()
	defer cancel()

	var fnErr error
	err := h.s.locking(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
			THEN set_config('synchronous_commit', 'on', true) END`)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, h.s.sql("LOCK TABLE @.home IN SHARE ROW EXCLUSIVE MODE"))
		if err != nil {
			return err
		}

		rows, err := h.load(ctx, tx)
		if err != nil {
			return err
		}
		fnErr = fn(rows)
		if fnErr != nil {
			return fnErr
		}
		for name, value := range rows.changed {
			_, err := tx.Exec(ctx, h.s.sql(`INSERT INTO @.home (name, value) VALUES ($1, $2)
				ON CONFLICT (name) DO UPDATE SET value = excluded.value`), name, value)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if fnErr != nil {
		return fnErr
	}
	return h.s.readError(ctx, err)
}

func (h schemaHome) load(ctx context.Context, tx pgx.Tx) (*homeRows, error) {
	found, err := tx.Query(ctx, h.s.sql("SELECT name, value FROM @.home"))
	if err != nil {
		return nil, err
	}

	rows := &homeRows{map[string]string{}, map[string]string{}}
	var name, value string
	_, err = pgx.ForEachRow(found, []any{&name, &value}, func() error {
		rows.value[name] = value
		return nil
	})
	return rows, err
}

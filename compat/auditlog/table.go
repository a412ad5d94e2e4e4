package auditlog

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // the driver of the old log, for what a path means to it
)

// A place is where a store keeps its files.
type place struct {
	table string // path of the database with the old table, "" if it was in memory
	log   string // path of the log
	leave func() error
}

// takePlace opens a path as the driver of the old log does, which may be a URI or
// have parameters, and makes the table if there is none, so that the old log can
// be put back. A database in memory has its log in a temporary folder.
func takePlace(path string) (place, error) {
	table, err := makeTable(path)
	if err != nil {
		return place{}, err
	}
	if table != "" {
		return place{table: table, log: table + Suffix, leave: func() error { return nil }}, nil
	}

	// Stores share a database in memory only if they ask for that.
	if strings.Contains(path, "cache=shared") {
		return shared.take(path)
	}
	dir, err := os.MkdirTemp("", "auditlog-")
	if err != nil {
		return place{}, err
	}
	return place{log: logIn(dir), leave: func() error { return os.RemoveAll(dir) }}, nil
}

func logIn(dir string) string { return filepath.Join(dir, "audit.db"+Suffix) }

// makeTable makes the table that the old log makes, and returns the path of the
// database's file, or "" if it is in memory.
func makeTable(path string) (file string, err error) {
	// The folder of a URI is left to its owner, as the old log does in effect: it
	// makes a folder named "file:" instead.
	if !strings.HasPrefix(path, "file:") {
		name, _, _ := strings.Cut(path, "?")
		err := os.MkdirAll(filepath.Dir(name), 0o700)
		if err != nil {
			return "", fmt.Errorf("audit db dir: %w", err)
		}
	}

	db, err := sql.Open("sqlite", path)
	if err != nil {
		return "", fmt.Errorf("open audit db: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)

	_, err = db.Exec(`CREATE TABLE IF NOT EXISTS audit (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		ts INTEGER NOT NULL,
		username TEXT NOT NULL,
		method TEXT NOT NULL,
		path TEXT NOT NULL,
		module TEXT NOT NULL,
		status INTEGER NOT NULL
	)`)
	if err != nil {
		return "", fmt.Errorf("create audit table: %w", err)
	}
	err = db.QueryRow("SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file)
	return file, err
}

// shared are the folders of databases in memory that stores of this process share.
var shared = sharedPlaces{places: map[string]*sharedPlace{}}

type sharedPlaces struct {
	mu     sync.Mutex
	places map[string]*sharedPlace // by path
}

type sharedPlace struct {
	dir   string
	users int
}

func (s *sharedPlaces) take(path string) (place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	p := s.places[path]
	if p == nil {
		dir, err := os.MkdirTemp("", "auditlog-")
		if err != nil {
			return place{}, err
		}
		p = &sharedPlace{dir: dir}
		s.places[path] = p
	}
	p.users++
	return place{log: logIn(p.dir), leave: func() error { return s.leave(path) }}, nil
}

// leave removes a folder that no store uses any more.
func (s *sharedPlaces) leave(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()

	p := s.places[path]
	p.users--
	if p.users > 0 {
		return nil
	}
	delete(s.places, path)
	return os.RemoveAll(p.dir)
}

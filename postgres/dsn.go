package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// HomePath returns the path, without a suffix, of the files with the keys and
// the kept checkpoint of the log that a DSN names: see Config.Home. It is InSchema
// if the DSN says that they are in the schema.
func HomePath(dsn string) (string, error) {
	var cfg Config
	dsn, err := ownParameters(dsn, &cfg)
	if err != nil || cfg.Home != "" {
		return cfg.Home, err
	}

	cc, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "", err
	}
	return defaultHome(cc, cmp.Or(cfg.Log, DefaultLog))
}

// SplitDSN moves the parameters log and home from a DSN to cfg, and returns a DSN
// without them for the server, which does not know them.
func SplitDSN(dsn string, cfg *Config) (server string, err error) {
	return ownParameters(dsn, cfg)
}

// ownParameters moves the parameters log and home from a URL to cfg.
func ownParameters(dsn string, cfg *Config) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return dsn, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err // without the password that the URL may hold
		}
		return "", fmt.Errorf("the log's URL: %w", err)
	}

	query := u.Query()
	if !query.Has("log") && !query.Has("home") {
		return dsn, nil
	}
	for name, field := range map[string]*string{"log": &cfg.Log, "home": &cfg.Home} {
		if !query.Has(name) {
			continue
		}
		given := query.Get(name)
		if *field != "" && *field != given {
			return "", fmt.Errorf("%s is %q in the URL and %q in the configuration", name, given, *field)
		}
		*field = given
		query.Del(name)
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// defaultHome returns the path, without a suffix, of the log's files in the
// state folder.
func defaultHome(cc *pgx.ConnConfig, log string) (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // the XDG base directory specification
		user, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%w: name the files of the log's keys and kept checkpoint (home=PATH)", err)
		}
		state = filepath.Join(user, ".local", "state")
	}

	name := strings.Join([]string{cc.Host, strconv.Itoa(int(cc.Port)), cc.Database, log}, "-")
	return filepath.Join(state, "attestlog", url.PathEscape(strings.TrimLeft(name, "/"))), nil
}

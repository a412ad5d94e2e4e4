package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// A configFile is the file of --config: one JSON object that has flags by their
// names, with underscores.
type configFile struct {
	kong.Resolver
	names []string
}

// readConfig is a kong.ConfigurationLoader.
func readConfig(r io.Reader) (kong.Resolver, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var flags map[string]json.RawMessage
	err = json.Unmarshal(text, &flags)
	if err != nil {
		return nil, fmt.Errorf("want one JSON object of flags: %w", err)
	}

	inner, err := kong.JSON(bytes.NewReader(text))
	return configFile{inner, slices.Sorted(maps.Keys(flags))}, err
}

// Validate refuses a name that no command knows: without that, a misspelt flag
// would be one that is not given.
func (c configFile) Validate(app *kong.Application) error {
	known := map[string]bool{}
	err := kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if f, ok := node.(*kong.Flag); ok {
			known[configName(f.Name)] = true
		}
		return next(nil)
	})
	if err != nil {
		return err
	}

	for _, name := range c.names {
		if !known[configName(name)] {
			return fmt.Errorf("--config: there is no flag %q", name)
		}
	}
	return nil
}

// configName returns a flag's name as it is in the file.
func configName(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

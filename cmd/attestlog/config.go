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

// A configFile has flags by their names, with underscores, in one JSON object.
type configFile struct {
	kong.Resolver
	names []string
}

// readConfig is a kong.ConfigurationLoader. A name that no command knows is an
// error: a flag that is misspelt would be one that is not given.
func readConfig(r io.Reader) (kong.Resolver, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var flags map[string]json.RawMessage
	if err := json.Unmarshal(text, &flags); err != nil {
		return nil, fmt.Errorf("want one JSON object of flags: %w", err)
	}
	inner, err := kong.JSON(bytes.NewReader(text))
	return configFile{inner, slices.Sorted(maps.Keys(flags))}, err
}

func (c configFile) Validate(app *kong.Application) error {
	known := map[string]bool{}
	err := kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if f, ok := node.(*kong.Flag); ok {
			known[strings.ReplaceAll(f.Name, "-", "_")] = true
		}
		return next(nil)
	})
	for _, name := range c.names {
		if err == nil && !known[strings.ReplaceAll(name, "-", "_")] {
			err = fmt.Errorf("--config: there is no flag %q", name)
		}
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
)

type reindexCmd struct{}

func (reindexCmd) Help() string {
	return `The index is derived from the entries; nothing is lost with it.

Examples:
  attestlog reindex`
}

func (reindexCmd) Run(a *app) error {
	log, store, err := a.open(openOptions{write: true})
	if err != nil {
		return err
	}
	bar := newProgress(a, "reindex")
	err = store.(interface {
		Reindex(ctx context.Context, progress func(done, total uint64)) error
	}).Reindex(a.ctx, bar.set)
	bar.finish()

	size, sizeErr := log.Size(a.ctx)
	err = errors.Join(err, sizeErr, a.closeLog(log))
	if err == nil {
		_, err = fmt.Fprintf(a.stdout, "indexed %d entries\n", size)
	}
	return err
}

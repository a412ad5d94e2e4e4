package jsonl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A mark is a place in a file of the follower, as the position file keeps it.
type mark struct {
	File string `json:"file"` // in the folder of the position file
	// Inode tells the file from another of the same name; 0 if unknown. The
	// device is left out: its number may differ after the machine has started
	// again.
	Inode      uint64    `json:"inode,omitempty"`
	Offset     int64     `json:"offset"` // where a line starts or the file ends
	Next       uint64    `json:"next"`   // the first entry that is not above Offset
	Since      time.Time `json:"since"`  // when the file was started
	Checkpoint uint64    `json:"checkpoint,omitempty"`
	// Note is the checkpoint about to be written. It completes a torn line.
	Note string `json:"note,omitempty"`
}

// load reads the position, unless the follower's memory is ahead of it.
func (f *Follower) load() error {
	data, err := os.ReadFile(f.path + positionSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var m mark
	err = json.Unmarshal(data, &m)
	if err == nil && (m.File != filepath.Base(m.File) || m.Offset < 0) {
		err = fmt.Errorf("%q at %d is no place in a file", m.File, m.Offset)
	}
	if err != nil {
		f.cfg.Logger.Warn("jsonl: the position cannot be read and is not used", "file", f.path+positionSuffix, "err", err)
		return nil
	}
	if m.Next > f.at.Next || f.at.File == "" {
		f.at = m
	}
	return nil
}

// save replaces the position file.
func (f *Follower) save(m mark) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	name := f.path + positionSuffix
	temp := name + ".new"
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, '\n'))
	if err == nil && f.cfg.Sync != SyncNever {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	f.saved, f.stale = f.cfg.Clock(), false
	if f.cfg.Sync == SyncNever {
		return nil
	}
	return syncDir(filepath.Dir(name))
}

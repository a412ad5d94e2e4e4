package jsonl

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/attestlog/attestlog/internal/durable"
)

// A position is a place in one of the follower's files, as the position file
// has it.
type position struct {
	File string `json:"file"` // in the folder of the position file
	// Inode tells the file from another of the same name; 0 if unknown. The
	// device is left out: its number may differ after the machine has started
	// again.
	Inode      uint64    `json:"inode,omitempty"`
	Offset     int64     `json:"offset"`               // bytes; where a line starts or the file ends
	Next       uint64    `json:"next"`                 // index of the first entry that is not before Offset
	Since      time.Time `json:"since"`                // when the file was started
	Checkpoint uint64    `json:"checkpoint,omitempty"` // size of the last one before Offset
	// Note is the checkpoint that is about to be written. Should its line be
	// torn, this is how it goes on.
	Note string `json:"note,omitempty"`
}

// A badPosition is what is wrong with the content of a position file.
type badPosition struct{ err error }

func (e *badPosition) Error() string { return e.err.Error() }

// readPosition reads a position file. Its errors are those of the system, or a
// *badPosition.
func readPosition(name string) (position, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return position{}, err
	}

	var p position
	err = json.Unmarshal(data, &p)
	if err != nil {
		return position{}, &badPosition{err}
	}
	if p.File != filepath.Base(p.File) || p.Offset < 0 {
		return position{}, &badPosition{fmt.Errorf("%q at %d is not a place in a file", p.File, p.Offset)}
	}
	return p, nil
}

// write replaces a position file. Unless it is to be durable, a power failure
// can lose the position or leave an unreadable file.
func (p position) write(name string, durably bool) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	data = append(data, '\n')

	const mode = 0o600
	if durably {
		return durable.Replace(name, data, mode)
	}

	// The rename still means that no kill of this process leaves half a position.
	temp, err := durable.CreateTemp(name, mode)
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), name)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}

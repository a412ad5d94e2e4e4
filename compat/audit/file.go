package audit

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A file is the JSON Lines file, or none. Its methods are safe for concurrent use.
type file struct {
	logger *slog.Logger
	path   string

	mu sync.Mutex
	f  *os.File // nil without a file
}

// A line is what the file has of an entry.
type line struct {
	Timestamp string `json:"timestamp"`
	EventType string `json:"event_type"`
	Username  string `json:"username"`
	IPAddress string `json:"ip_address"`
	Query     string `json:"query,omitempty"`
	MailID    string `json:"mail_id,omitempty"`
	Success   bool   `json:"success"`
	Detail    string `json:"detail,omitempty"`
}

// openFile opens a file for appending. It makes folders with mode 0750, and the
// file with 0640.
func openFile(path string, logger *slog.Logger) *file {
	out := &file{logger: logger, path: path}
	if path == "" {
		logger.Warn("audit: log_path not configured, file logging disabled")
		return out
	}

	// If the folder cannot be made, opening the file says so.
	if dir := filepath.Dir(path); dir != "." {
		_ = os.MkdirAll(dir, 0o750)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		logger.Warn("audit: audit log file not writable, continuing with DB-only logging", "path", path, "err", err)
		return out
	}
	out.f = f
	return out
}

func (f *file) write(e Entry, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return
	}

	text, err := json.Marshal(line{
		Timestamp: at.Format(time.RFC3339),
		EventType: e.EventType,
		Username:  e.Username,
		IPAddress: e.IPAddress,
		Query:     e.Query,
		MailID:    e.MailID,
		Success:   e.Success,
		Detail:    e.Detail,
	})
	if err != nil {
		f.logger.Error("audit: marshal log line failed", "err", err)
		return
	}
	_, err = f.f.Write(append(text, '\n'))
	if err != nil {
		f.logger.Error("audit: write to log file failed", "path", f.path, "err", err)
	}
}

func (f *file) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return
	}
	_ = f.f.Sync() // as the old log does: Close returns no error about the file
	_ = f.f.Close()
	f.f = nil
}

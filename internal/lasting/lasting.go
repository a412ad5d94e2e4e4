// Package lasting logs a state that lasts, such as a database that is away: when
// it begins, each minute while it lasts, and when it ends. What fails a hundred
// times in a second is one line with a count.
package lasting

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Every is how often a state is logged again while it lasts.
const Every = time.Minute

// A State is what lasts. The zero State has not begun. Its methods are safe for
// concurrent use.
type State struct {
	mu     sync.Mutex
	began  time.Time
	logged time.Time
	times  int // that it was noted since it began
}

// Note notes an error, which begins the state or shows that it lasts, or nil, which
// ends it. What is logged is the message during, with the error and how often it
// was noted, at a level, and the message after, with how long the state lasted. The
// other arguments go with both.
func (s *State) Note(err error, logger *slog.Logger, level slog.Level, during, after string, args ...any) {
	if err == nil {
		lasted, times := s.end()
		if times > 0 {
			logger.Info(after, append(args, "after", lasted.Round(time.Millisecond), "times", times)...)
		}
		return
	}

	times, say := s.again()
	if !say {
		return
	}
	args = append(args, "err", err)
	if times > 1 {
		args = append(args, "times", times)
	}
	logger.Log(context.Background(), level, during, args...)
}

func (s *State) again() (times int, say bool) {
	s.mu.Lock()
	defer s.mu.Unlock()

	now := time.Now()
	if s.times == 0 {
		s.began = now
	}
	s.times++
	if s.times > 1 && now.Sub(s.logged) < Every {
		return s.times, false
	}
	s.logged = now
	return s.times, true
}

func (s *State) end() (lasted time.Duration, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()

	times = s.times
	s.times = 0
	return time.Since(s.began), times
}

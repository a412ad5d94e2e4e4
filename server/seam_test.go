package server

import "time"

// SetBeat sets how often tails beat, before the first request.
func (s *Server) SetBeat(d time.Duration) {
	for _, h := range s.logs {
		h.hub.heartbeat = d
	}
}

// Patterns are those of all routes.
func (s *Server) Patterns() []string { return s.router.patterns }

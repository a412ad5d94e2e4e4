// Package wake lets goroutines wait for something to change.
package wake

import "sync"

// A Signal wakes everybody who waits for it. The zero Signal is ready to use,
// and its methods are safe for concurrent use.
//
// Who waits takes the channel first and looks at the state afterwards, so that
// a change between the two is not missed:
//
//	for {
//		changed := signal.Next()
//		if done() {
//			return
//		}
//		<-changed
//	}
type Signal struct {
	mu   sync.Mutex
	next chan struct{}
}

// Next returns a channel that the next Fire closes.
func (s *Signal) Next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.next == nil {
		s.next = make(chan struct{})
	}

	return s.next
}

// Fire wakes those who wait now.
func (s *Signal) Fire() {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}

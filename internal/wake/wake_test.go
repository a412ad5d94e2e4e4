package wake

import "testing"

func TestFireWakesOnlyThoseWhoWait(t *testing.T) {
	var s Signal
	s.Fire() // nobody waits

	a, b := s.Next(), s.Next()
	select {
	case <-a:
		t.Fatal("Next returned a channel that an earlier Fire has closed")
	default:
	}

	s.Fire()
	<-a
	<-b

	select {
	case <-s.Next():
		t.Fatal("Next returned a channel that an earlier Fire has closed")
	default:
	}
}

package wake

import "testing"

func TestBellKeepsOneRing(t *testing.T) {
	b := NewBell()
	b.Ring()
	b.Ring()

	<-b
	select {
	case <-b:
		t.Error("two rings before the first was heard were kept as two")
	default:
	}
}

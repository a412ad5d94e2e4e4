package wake

// A Bell wakes the one goroutine that receives from it. A ring that comes while
// the goroutine is busy is kept, and further ones are then the same ring. Its
// methods are safe for concurrent use.
type Bell chan struct{}

// NewBell returns a bell that was not rung.
func NewBell() Bell { return make(Bell, 1) }

// Ring wakes the goroutine. It never waits.
func (b Bell) Ring() {
	select {
	case b <- struct{}{}:
	default: // it was rung already
	}
}

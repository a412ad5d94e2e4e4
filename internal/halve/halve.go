// Package halve finds out which items of a batch are to blame for its refusal.
package halve

// Each gives items to try, all at once, and what try refuses in halves, until
// each item was taken or is refused on its own. The order is kept.
//
// blames reports whether an error of try is about items of the batch, so that a
// part of it may be taken; any other error ends Each, which returns it. refuse
// is called with each item that try refuses on its own; an error of refuse ends
// Each as well.
func Each[T any](items []T, try func(items []T) error, blames func(error) bool, refuse func(item T, err error) error) error {
	if len(items) == 0 {
		return nil
	}

	err := try(items)
	if err == nil || !blames(err) {
		return err
	}
	if len(items) == 1 {
		return refuse(items[0], err)
	}

	middle := len(items) / 2
	if err := Each(items[:middle], try, blames, refuse); err != nil {
		return err
	}
	return Each(items[middle:], try, blames, refuse)
}

package attestlog

import "context"

// AppendOwn appends an entry of the log's own, which callers cannot.
func (l *Log) AppendOwn(ctx context.Context, e Event) error { return l.appender.appendOwn(ctx, e) }

package postgres

const (
	// partWidth is how many entries a partition holds: see make_partition in
	// schema/0001.sql.
	partWidth = 1 << 19
	// blockWidth is how many entries a row of the table blocks is about.
	blockWidth = 4096
)

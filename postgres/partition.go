package postgres

// partWidth is how many entries a partition holds: see make_partition in
// schema/0002.sql.
const partWidth = 1 << 19

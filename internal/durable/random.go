package durable

import (
	"crypto/rand"
	"strings"
)

// random returns tempRandom characters that nobody can foresee, for the name of
// a temporary file. It has a file of its own because internal/crashtest builds
// programs with another one: strace finds a file by its name.
func random() string { return strings.ToLower(rand.Text()[:tempRandom]) }

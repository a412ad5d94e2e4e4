package jsonl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attestlog/attestlog"
)

// file writes lines to a file, each with its end.
func file(t *testing.T, lines []string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReaderLocatesChanges(t *testing.T) {
	// Lines 1 to 8: 0 1 c2 2 3 4 5 c6.
	var whole []string
	for i := range uint64(6) {
		if i == 2 {
			whole = append(whole, string(appendCheckpoint(nil, checkpoint(t, 2).Note)))
		}
		whole = append(whole, string(attestlog.AppendLine(nil, new(record(i)))))
	}
	whole = append(whole, string(appendCheckpoint(nil, checkpoint(t, 6).Note)))
	wantContents(t, "0 1 c2 2 3 4 5 c6", file(t, whole))

	for _, test := range []struct {
		name   string
		change func(lines []string) []string
		index  uint64
		line   int
	}{
		{"swapped", func(l []string) []string { l[4], l[5] = l[5], l[4]; return l }, 3, 5},
		{"deleted", func(l []string) []string { return slices.Delete(l, 4, 5) }, 3, 5},
		{"repeated", func(l []string) []string { return slices.Insert(l, 5, l[4]) }, 3, 6},
		{"inserted", func(l []string) []string {
			return slices.Insert(l, 5, string(attestlog.AppendLine(nil, new(record(9)))))
		}, 4, 6},
		{"torn and another line follows", func(l []string) []string { return slices.Insert(l, 5, l[5][:40]+"x") }, 4, 6},
		{"torn and a later entry follows", func(l []string) []string { l[4] = l[4][:60]; return l }, 3, 5},
		{"torn and a checkpoint follows", func(l []string) []string { l[6] = l[6][:60]; return l }, 5, 7},
		{"torn checkpoint and an entry follows", func(l []string) []string { l[2] = l[2][:60]; return l }, 2, 3},
		{"torn otherwise than the line before", func(l []string) []string {
			return slices.Insert(l, 5, l[5][:60], l[5][:50]+"x")
		}, 4, 6},
		{"structure changed", func(l []string) []string { l[4] = strings.Replace(l[4], ":", ";", 1); return l }, 3, 5},
		{"structure of the last line changed", func(l []string) []string {
			l[7] = strings.Replace(l[7], ":", ";", 1)
			return l
		}, 6, 8},
		{"last line emptied", func(l []string) []string { l[7] = ""; return l }, 6, 8},
		{"empty line", func(l []string) []string { return slices.Insert(l, 4, "") }, 3, 5},
		{"space added", func(l []string) []string { l[4] = " " + l[4]; return l }, 3, 5},
		{"carriage return added", func(l []string) []string { l[4] += "\r"; return l }, 3, 5},
		{"checkpoint escaped otherwise", func(l []string) []string {
			l[2] = strings.Replace(l[2], `\n`, `\u000a`, 1)
			return l
		}, 2, 3},
		{"not a checkpoint", func(l []string) []string { l[2] = `{"checkpoint":"hello"}`; return l }, 2, 3},
		{"checkpoint before its entries", func(l []string) []string { l[6], l[7] = l[7], l[6]; return l }, 5, 7},
		{"a line too long", func(l []string) []string { l[4] = strings.Repeat("x", MaxLine+1); return l }, 3, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := file(t, test.change(slices.Clone(whole)))
			got, err := contents(path)
			var corrupt *attestlog.CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("contents = %q, %v; want a CorruptError", got, err)
			}
			if want := fmt.Sprintf("%s line %d", path, test.line); corrupt.Index != test.index || corrupt.Where != want {
				t.Errorf("error is of entry %d, %s; want %d, %s", corrupt.Index, corrupt.Where, test.index, want)
			}
			if errors.Is(err, ErrTorn) {
				t.Errorf("error %v is ErrTorn", err)
			}
		})
	}
}

func TestReaderNamesABadFirstLine(t *testing.T) {
	path := file(t, []string{"hello"})
	_, err := contents(path)
	if err == nil || !strings.Contains(err.Error(), path+" line 1") {
		t.Errorf("contents: %v, want an error that names %s line 1", err, path)
	}
}

// TestReaderReportsATornEnd reads a file that is being written, cut anywhere
// within its last line.
func TestReaderReportsATornEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	head := append(attestlog.AppendLine(nil, new(record(0))), '\n')
	for _, last := range [][]byte{
		attestlog.AppendLine(nil, new(record(1))),
		appendCheckpoint(nil, checkpoint(t, 1).Note),
	} {
		for cut := 1; cut < len(last); cut++ {
			if err := os.WriteFile(path, slices.Concat(head, last[:cut]), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := contents(path)
			var corrupt *attestlog.CorruptError
			if got != "0" || !errors.Is(err, ErrTorn) || !errors.As(err, &corrupt) || corrupt.Index != 1 {
				t.Fatalf("cut at byte %d: contents = %q, %v; want ErrTorn in entry 1", cut, got, err)
			}
		}
		if err := os.WriteFile(path, slices.Concat(head, last), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := contents(path); err != nil {
			t.Fatalf("without the line's end: contents = %q, %v", got, err)
		}
	}
}

func TestReaderStartsAnywhere(t *testing.T) {
	lines := []string{
		string(appendCheckpoint(nil, checkpoint(t, 7).Note)),
		string(attestlog.AppendLine(nil, new(record(7)))),
	}
	wantContents(t, "c7 7", file(t, lines))
	lines[1] = string(attestlog.AppendLine(nil, new(record(6))))
	if got, err := contents(file(t, lines)); err == nil {
		t.Errorf("contents = %q, want an error: the checkpoint covers entry 6", got)
	}
}

func TestReaderAcrossFiles(t *testing.T) {
	first := file(t, []string{string(attestlog.AppendLine(nil, new(record(0))))})
	second := file(t, []string{string(attestlog.AppendLine(nil, new(record(1))))})
	wantContents(t, "0 1", first, second)
	var corrupt *attestlog.CorruptError
	if _, err := contents(second, first); !errors.As(err, &corrupt) || corrupt.Index != 0 || corrupt.Where != first+" line 1" {
		t.Errorf("contents of files in the wrong order: %v, want a CorruptError in %s", err, first)
	}
	if err := compress(first); err != nil {
		t.Fatal(err)
	}
	wantContents(t, "0 1", first+gzipSuffix, second)
	if got, err := contents(second, first); got != "1" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("contents = %q, %v; want fs.ErrNotExist", got, err)
	}
}

func TestReaderRejectsDamagedGzip(t *testing.T) {
	path := file(t, []string{string(attestlog.AppendLine(nil, new(record(0))))})
	if err := compress(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path + gzipSuffix)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range [][]byte{nil, data[:5], data[:len(data)-9], data[:len(data)-1], bytes.Repeat([]byte("x"), 50)} {
		if err := os.WriteFile(path+gzipSuffix, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := contents(path + gzipSuffix); err == nil {
			t.Errorf("contents of %d bytes of %d = %q, want an error", len(damaged), len(data), got)
		}
	}
}

func TestReaderErrorIsFinal(t *testing.T) {
	r := NewReader(file(t, []string{"hello", string(attestlog.AppendLine(nil, new(record(0))))}))
	_, first := r.Next()
	_, second := r.Next()
	if first == nil || first != second {
		t.Errorf("Next = %v, then %v; want the same error", first, second)
	}
	if err := r.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// FuzzParseLine demands that a line that is accepted is written back byte for
// byte.
func FuzzParseLine(f *testing.F) {
	f.Add(attestlog.AppendLine(nil, new(record(0))))
	f.Add([]byte(`{"index":1,"leaf":{"v":1}}`))
	f.Add([]byte(`{"checkpoint":"example.com/log\n2\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— a b\n"}`))
	f.Add([]byte(`{"checkpoint":"\u0001\ud800"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, c, err := parseLine(line)
		if err != nil {
			return
		}
		again := attestlog.AppendLine(nil, &r)
		if c != nil {
			again = appendCheckpoint(nil, c.Note)
		}
		if !bytes.Equal(again, line) {
			t.Errorf("%q was accepted and is written as %q", line, again)
		}
	})
}

// FuzzReader demands that indexes are contiguous in whatever is accepted, and
// that a follower that finds such a file neither repeats nor leaves out any.
func FuzzReader(f *testing.F) {
	line := attestlog.AppendLine(nil, new(record(0)))
	f.Add(append(slices.Concat(line, []byte("\n")), `{"index":1,"le`...))
	f.Add(slices.Concat(line[:40], []byte("\n"), line, []byte("\n")))
	f.Add([]byte("{\"index\":3,\"leaf\":{}}\n{\"ind\n{\"index\":4,\"leaf\":{}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := io.NopCloser(bytes.NewReader(data))
		r := &Reader{file: in, lines: newLines(in)}
		var next, entries uint64
		for {
			line, err := r.Next()
			if err != nil {
				break
			}
			if line.Checkpoint != nil {
				continue
			}
			if entries > 0 && line.Entry.Index != next {
				t.Fatalf("entry %d follows %d", line.Entry.Index, next-1)
			}
			next, entries = line.Entry.Index+1, entries+1
		}
		s, err := readEnd(bytes.NewReader(data), 0)
		if err != nil {
			t.Fatal(err)
		}
		if s.size != int64(len(data)) || s.lines > s.size {
			t.Errorf("readEnd of %d bytes = %+v", len(data), s)
		}
		if r.err == io.EOF && entries > 0 && s.next != next {
			t.Errorf("readEnd finds entry %d next where a reader expects %d", s.next, next)
		}
	})
}

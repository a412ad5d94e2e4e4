package sqlite_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/internal/sqlitetest"
	"github.com/attestlog/attestlog/internal/testlog"
	"github.com/attestlog/attestlog/sqlite"
	"github.com/attestlog/attestlog/verify"
)

const btreePage = 8192

// A btreeFile is a database file whose B-trees are changed without SQLite
// (https://www.sqlite.org/fileformat2.html, Section 1.6).
type btreeFile struct {
	t    *testing.T
	path string
	data []byte
}

// openBtree reads the file of a log that is closed, and whose write-ahead log is
// empty.
func openBtree(t *testing.T, path string) *btreeFile {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return &btreeFile{t, path, data}
}

func (f *btreeFile) save() { write(f.t, f.path, f.data) }

// root returns the number of the root page of a table or an index.
func (f *btreeFile) root(name string) int {
	f.t.Helper()
	root := 0
	err := withConn(f.path, func(conn *zombiezen.Conn) error {
		return sqlitex.Execute(conn, "SELECT rootpage FROM sqlite_schema WHERE name = ?", &sqlitex.ExecOptions{
			Args:       []any{name},
			ResultFunc: func(stmt *zombiezen.Stmt) error { root = stmt.ColumnInt(0); return nil },
		})
	})
	if err != nil || root < 2 {
		f.t.Fatalf("root page of %s = %d, %v", name, root, err)
	}
	return root
}

// page returns the bytes of a page, whose numbers begin with 1.
func (f *btreeFile) page(n int) btreeBytes { return f.data[(n-1)*btreePage : n*btreePage] }

// appendPage adds a page to the file, and returns its number.
func (f *btreeFile) appendPage(page []byte) int {
	f.data = append(f.data, page...)
	n := len(f.data) / btreePage
	binary.BigEndian.PutUint32(f.data[28:], uint32(n))
	return n
}

// btreeBytes are the bytes of a page.
type btreeBytes []byte

func (p btreeBytes) isLeaf() bool { return p[0] >= 10 }
func (p btreeBytes) cells() int   { return int(binary.BigEndian.Uint16(p[3:])) }

// pointers is the array of the places of the page's cells.
func (p btreeBytes) pointers() []byte {
	from := 12
	if p.isLeaf() {
		from = 8
	}
	return p[from : from+2*p.cells()]
}

func (p btreeBytes) cell(i int) []byte { return p[binary.BigEndian.Uint16(p.pointers()[2*i:]):] }

// swapCells puts two cells of a page in each other's place.
func (p btreeBytes) swapCells(i, j int) {
	at := p.pointers()
	a, b := bytes.Clone(at[2*i:2*i+2]), bytes.Clone(at[2*j:2*j+2])
	copy(at[2*i:], b)
	copy(at[2*j:], a)
}

// varint returns a number of SQLite's variable length, and the number of its bytes.
func varint(b []byte) (v int64, n int) {
	for ; n < 8; n++ {
		v = v<<7 | int64(b[n]&0x7f)
		if b[n] < 0x80 {
			return v, n + 1
		}
	}
	return v<<8 | int64(b[8]), 9
}

// asVarint writes a number in nine bytes, so that any fits.
func asVarint(v int64) []byte {
	out := make([]byte, 9)
	out[8] = byte(v)
	v >>= 8
	for i := 7; i >= 0; i-- {
		out[i] = byte(v)&0x7f | 0x80
		v >>= 7
	}
	return out
}

// A child is what a page that is no leaf has of a page below it. No number in that
// page is greater than last.
type child struct {
	page int
	last int64
}

// children returns the children of a table's root, except the last, which has no
// number in it.
func (p btreeBytes) children() (all []child) {
	for i := range p.cells() {
		c := p.cell(i)
		last, _ := varint(c[4:])
		all = append(all, child{int(binary.BigEndian.Uint32(c)), last})
	}
	return all
}

// setChildren writes a root with these children, and the same right one.
func (p btreeBytes) setChildren(all []child) {
	right := bytes.Clone(p[8:12])
	clear(p)
	p[0] = 5 // a page of a table, and no leaf
	binary.BigEndian.PutUint16(p[3:], uint16(len(all)))
	copy(p[8:], right)

	at := len(p)
	for i, c := range all {
		cell := append(binary.BigEndian.AppendUint32(nil, uint32(c.page)), asVarint(c.last)...)
		at -= len(cell)
		copy(p[at:], cell)
		binary.BigEndian.PutUint16(p[12+2*i:], uint16(at))
	}
	binary.BigEndian.PutUint16(p[5:], uint16(at))
}

// leafOf returns a leaf of a table with one row, whose record is given.
func leafOf(number int64, record []byte) []byte {
	page := make([]byte, btreePage)
	cell := append(append(asVarint(int64(len(record))), asVarint(number)...), record...)
	at := len(page) - len(cell)
	copy(page[at:], cell)
	page[0] = 13 // a leaf of a table
	binary.BigEndian.PutUint16(page[3:], 1)
	binary.BigEndian.PutUint16(page[5:], uint16(at))
	binary.BigEndian.PutUint16(page[8:], uint16(at))
	return page
}

// btreeTamperings are done to a closed log of tamperSize entries.
var btreeTamperings = []struct {
	name  string
	do    func(f *btreeFile)
	where string // that Verify must name
}{
	{"look-ups of entries lead to another page", func(f *btreeFile) {
		root := f.page(f.root("entries"))
		children := root.children()
		children[len(children)/2].last -= 3
		root.setChildren(children)
	}, "entries"},
	{"look-ups of disclosures lead to another page", func(f *btreeFile) {
		root := f.page(f.root("disclosures"))
		children := root.children()
		children[1].last -= 30
		root.setChildren(children)
	}, "disclosures"},
	{"keys out of order", func(f *btreeFile) {
		leaf := f.firstLeaf("keys")
		leaf.swapCells(3, leaf.cells()-4)
	}, "key"},
	{"a key that is a text", func(f *btreeFile) {
		cell := f.firstLeaf("keys").cell(7)
		at := bytes.IndexByte(cell[:8], 12+2*16) // the type of 16 bytes, in the header of the record
		if at < 0 {
			f.t.Fatalf("the record of a key begins with %x", cell[:8])
		}
		cell[at]++
	}, "key"},
	{"disclosures out of order", func(f *btreeFile) {
		leaf := f.firstLeaf("disclosures")
		leaf.swapCells(0, 1) // of one entry
	}, "disclosures"},
}

// firstLeaf returns the first leaf below the root of a table, or its root if that is
// the only page.
func (f *btreeFile) firstLeaf(name string) btreeBytes {
	page := f.page(f.root(name))
	for !page.isLeaf() {
		page = f.page(int(binary.BigEndian.Uint32(page.cell(0))))
	}
	return page
}

// A look-up must find what a scan passes, or answers are not what was verified.
func TestVerifyFindsTreesThatAreOutOfOrder(t *testing.T) {
	t.Parallel()
	for _, c := range btreeTamperings {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			path := logCopy(t)
			f := openBtree(t, path)
			c.do(f)
			f.save()

			r, err := verifyCopy(t.Context(), path, verify.Options{})
			var corrupt *attestlog.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Where != c.where {
				t.Errorf("Verify = %+v, %v; want a *CorruptError about %s", r, err, c.where)
			}
		})
	}
}

// A look-up of one entry finds a changed row, which is where no chunk of a scan
// passes: after a row that ends the chunk, and before the one at which the next
// chunk begins.
func TestVerifyFindsARowThatOnlyALookupFinds(t *testing.T) {
	t.Parallel()
	path := sqlitetest.Path(t)
	l := testlog.New(t, sqlitetest.Store(t, path, sqlite.Config{}), attestlog.Config{})
	// A scan reads chunks of 2,048 entries. The batches are such that a row begins at
	// the second chunk.
	const size, boundary = 3072, 2048
	for from := 0; from < size; from += 512 {
		_, err := l.Append(t.Context(), testlog.Events(from, from+512)...)
		if err != nil {
			t.Fatal(err)
		}
	}
	testlog.Close(t, l)

	f := openBtree(t, path)
	root := f.page(f.root("entries"))
	children := root.children()
	before := 0 // children whose rows begin before the boundary
	for children[before].last < boundary {
		before++
	}

	// The row is that of the page in the middle, with a byte of its leaves changed.
	chosen := children[len(children)/3]
	number, record := f.onlyRow(chosen)
	record = bytes.Replace(record, []byte(`"action":"`), []byte(`"action":"x`), 1)[:len(record)]
	decoy := f.appendPage(leafOf(1<<40, record))
	hidden := f.appendPage(leafOf(number, record))

	// A look-up halves the children. Those that it compares with on the way to the
	// hidden page are said to end before the row.
	last := children[before-1].last
	children = append(children[:before:before],
		append([]child{{decoy, last}, {hidden, last}}, children[before:]...)...)
	target := before + 1
	low, high := 0, len(children)-1
	for low <= high {
		middle := (low + high) / 2
		if middle >= target {
			high = middle - 1
			continue
		}
		children[middle].last = min(children[middle].last, number-1)
		low = middle + 1
	}
	f.page(f.root("entries")).setChildren(children)
	f.save()

	r, err := verifyCopy(t.Context(), path, verify.Options{})
	var corrupt *attestlog.CorruptError
	if !errors.As(err, &corrupt) || corrupt.Where != "entries" {
		t.Errorf("Verify = %+v, %v; want a *CorruptError about the entries", r, err)
	}
}

// onlyRow returns the number and the record of a page with one row.
func (f *btreeFile) onlyRow(c child) (number int64, record []byte) {
	f.t.Helper()
	page := f.page(c.page)
	if page.cells() != 1 {
		f.t.Fatalf("a page of the table entries has %d rows, want 1", page.cells())
	}
	cell := page.cell(0)
	size, n := varint(cell)
	number, m := varint(cell[n:])
	return number, bytes.Clone(cell[n+m : n+m+int(size)])
}

// Rows of the search index that a scan passes and a search does not find.
func TestVerifyFindsAnIndexThatIsOutOfOrder(t *testing.T) {
	t.Parallel()
	path := logCopy(t)
	f := openBtree(t, path+".index")
	leaf := f.firstLeaf("runs_order")
	leaf.swapCells(0, leaf.cells()-1)
	f.save()

	r, err := verifyCopy(t.Context(), path, verify.Options{Index: true})
	var corrupt *attestlog.CorruptError
	if !errors.As(err, &corrupt) || corrupt.Where != "search index" {
		t.Errorf("Verify = %+v, %v; want a *CorruptError about the search index", r, err)
	}
}

// Physical finds damage that no row shows: a page that belongs to nothing.
func TestVerifyPhysicalFindsAPageOfNoTable(t *testing.T) {
	t.Parallel()
	path := logCopy(t)
	r, err := verifyCopy(t.Context(), path, verify.Options{Physical: true})
	if err != nil || r.Physical <= 0 {
		t.Errorf("Verify = %+v, %v; want how long the check of the file took", r, err)
	}

	f := openBtree(t, path)
	added := f.appendPage(leafOf(1, []byte("x")))
	f.save()
	r, err = verifyCopy(t.Context(), path, verify.Options{})
	if err != nil {
		t.Errorf("Verify without Physical = %+v, %v", r, err)
	}
	r, err = verifyCopy(t.Context(), path, verify.Options{Physical: true})
	var corrupt *attestlog.CorruptError
	if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), fmt.Sprint("Page ", added)) {
		t.Errorf("Verify = %+v, %v; want a *CorruptError about page %d", r, err, added)
	}
}

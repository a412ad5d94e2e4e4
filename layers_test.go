package attestlog

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files of this package are rooms by subject. Those of the format (event,
// leaf, entry, checkpoint, proof, errors) and of what a log is built on (store)
// say what a log keeps; attestlog.go and the log_ files are the log at work, and
// use them. The other way round, somebody who reads the format would have to know
// the machine.
func TestTheFormatDoesNotKnowTheLogAtWork(t *testing.T) {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	fset, pkg := checkPackage(t, info)

	found := 0
	for id, object := range info.Uses {
		if object.Pkg() != pkg || object.Parent() != pkg.Scope() {
			continue
		}
		found++
		from, to := roomOf(fset, id.Pos()), roomOf(fset, object.Pos())
		if !isAtWork(from) && isAtWork(to) {
			t.Errorf("%s uses %s of %s", fset.Position(id.Pos()), id.Name, to)
		}
	}
	if found < 500 {
		t.Errorf("only %d references between the files were found", found)
	}
}

// Entries leave a log by reader.give alone, so that what it checks holds for all
// that anyone is shown: the reader has a method of its own for each one of the
// store's that hands out entries, and nothing else here calls the store's.
func TestEntriesLeaveTheLogByItsReader(t *testing.T) {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	fset, pkg := checkPackage(t, info)

	handsOut := map[types.Object]bool{}
	store := pkg.Scope().Lookup("Reader").Type().Underlying().(*types.Interface)
	own := types.NewPointer(pkg.Scope().Lookup("reader").Type())
	for method := range store.Methods() {
		if !strings.Contains(method.Signature().String(), "RawEntry") {
			continue
		}
		handsOut[method] = true
		_, path, _ := types.LookupFieldOrMethod(own, true, pkg, method.Name())
		if len(path) != 1 {
			t.Errorf("reader has no method %s, and gives out the store's entries as they are", method.Name())
		}
	}
	if len(handsOut) < 2 {
		t.Errorf("only %d methods of Reader hand out entries", len(handsOut))
	}

	for id, object := range info.Uses {
		if handsOut[object] && roomOf(fset, id.Pos()) != "log_read.go" {
			t.Errorf("%s calls the store's %s", fset.Position(id.Pos()), id.Name)
		}
	}
}

// checkPackage type-checks the files of this package, without its tests.
func checkPackage(t *testing.T, info *types.Info) (*token.FileSet, *types.Package) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}

	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}

	// What other packages define is of no interest, so none is loaded, and the
	// errors that this gives are dropped.
	config := types.Config{Importer: noPackages{}, Error: func(error) {}}
	pkg, _ := config.Check("attestlog", fset, files, info)
	return fset, pkg
}

func roomOf(fset *token.FileSet, pos token.Pos) string {
	return filepath.Base(fset.Position(pos).Filename)
}

func isAtWork(file string) bool {
	return file == "attestlog.go" || strings.HasPrefix(file, "log_")
}

type noPackages struct{}

func (noPackages) Import(string) (*types.Package, error) { return nil, errors.New("not loaded") }

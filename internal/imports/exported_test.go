package imports_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestExported: each exported name of internal/ is used by code other than tests. A name that only tests use belongs in the tests.
// Fields are not checked, because encoders use them by reflection.
func TestExported(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the whole module")
	}
	used, exported := map[string]bool{}, map[string]string{}
	for _, p := range typecheck(t) {
		p.uses(used)
		if strings.HasPrefix(p.path, module+"internal/") && !forTests[strings.TrimPrefix(p.path, module)] {
			p.exports(exported)
		}
	}
	var unused []string
	for name, position := range exported {
		if _, ok := except[strings.TrimPrefix(name, module)]; ok {
			continue
		}
		method := name[strings.LastIndex(name, ".")+1:]
		called := strings.Count(name[strings.LastIndex(name, "/"):], ".") == 2 && used[method] // the method may be called through an interface
		if !used[name] && !called {
			unused = append(unused, fmt.Sprintf("%s: only tests use %s", position, strings.TrimPrefix(name, module)))
		}
	}
	for name := range except {
		if used[module+name] || exported[module+name] == "" {
			unused = append(unused, name+" needs no exception")
		}
	}
	slices.Sort(unused)
	for _, u := range unused {
		t.Error(u)
	}
	if len(exported) < 100 {
		t.Errorf("only %d exported names were found", len(exported))
	}
}

// except lists names that are exported although only tests use them, each with the reason.
var except = map[string]string{
	"internal/afpacket.TypeHost": "one of the values of packet(7), which are listed completely",
}

// forTests are packages that exist for tests.
var forTests = map[string]bool{
	"internal/capturetest": true, "internal/confine": true, "internal/eventually": true, "internal/exclusive": true, "internal/pcapfilter/kerneltest": true,
	"internal/schematest": true,
}

// A checked package is a package of this module with its types.
type checked struct {
	path  string
	types *types.Package
	info  *types.Info
	files *token.FileSet
}

// uses adds the names of this module that p uses. For a method that is called through an interface it adds the
// method's name without its type.
func (p checked) uses(to map[string]bool) {
	for _, o := range p.info.Uses {
		if o.Pkg() == nil || !strings.HasPrefix(o.Pkg().Path(), module) {
			continue
		}
		to[fullName(o)] = true
	}
	for _, o := range p.info.Defs {
		if f, ok := o.(*types.Func); ok && f.Signature().Recv() != nil && types.IsInterface(f.Signature().Recv().Type()) {
			to[f.Name()] = true
		}
	}
}

// exports adds the exported names of p and the places of their declarations. These are the top-level names of the
// package and the methods of its types.
func (p checked) exports(to map[string]string) {
	add := func(o types.Object) {
		position := p.files.Position(o.Pos())
		to[fullName(o)] = fmt.Sprintf("%s:%d", filepath.Base(position.Filename), position.Line)
	}
	for _, name := range p.types.Scope().Names() {
		o := p.types.Scope().Lookup(name)
		if o.Exported() {
			add(o)
		}
		named, ok := o.Type().(*types.Named)
		if _, isType := o.(*types.TypeName); !ok || !isType {
			continue
		}
		for m := range named.Methods() {
			if o.Exported() && m.Exported() && !interfaceMethods[m.Name()] {
				add(m)
			}
		}
	}
}

// interfaceMethods are methods that the standard library calls through interfaces such as fmt.Stringer.
var interfaceMethods = map[string]bool{
	"String": true, "Error": true, "Unwrap": true, "Is": true, "Write": true, "Read": true, "Close": true, "Less": true, "Len": true, "Swap": true,
	"MarshalJSON": true, "UnmarshalText": true, "MarshalText": true, "UnmarshalJSON": true,
}

// fullName returns PATH.Name or PATH.Type.Method. The result is the same whether the package was checked from source
// or imported.
func fullName(o types.Object) string {
	name := o.Name()
	if f, ok := o.(*types.Func); ok {
		o = f.Origin()
		if r := f.Signature().Recv(); r != nil {
			t := r.Type()
			if p, ok := t.(*types.Pointer); ok {
				t = p.Elem()
			}
			if n, ok := t.(*types.Named); ok {
				name = n.Obj().Name() + "." + name
			}
		}
	}
	return o.Pkg().Path() + "." + name
}

// typecheck returns the packages of this module, without tests, as they are built for Linux. Imports come from export data.
func typecheck(t *testing.T) []checked {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-e", "-export", "-deps", "-json=ImportPath,Dir,GoFiles,Export,Standard", "./cmd/...", "./internal/...", "./webhook/...", "./schema/...", "./bench/...", "./test/...", "./demo/...", "./image/...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	type source struct {
		ImportPath, Dir, Export string
		GoFiles                 []string
	}
	exports, ours := map[string]string{}, []source{}
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var s source
		if err := in.Decode(&s); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		exports[s.ImportPath] = s.Export
		if strings.HasPrefix(s.ImportPath, module) && len(s.GoFiles) > 0 {
			ours = append(ours, s)
		}
	}
	files := token.NewFileSet()
	imports := importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	var all []checked
	for _, s := range ours {
		var parsed []*ast.File
		for _, name := range s.GoFiles {
			f, err := parser.ParseFile(files, filepath.Join(s.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, f)
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
		config := types.Config{Importer: imports}
		p, err := config.Check(s.ImportPath, files, parsed, info)
		if err != nil {
			t.Fatalf("%s: %v", s.ImportPath, err)
		}
		all = append(all, checked{s.ImportPath, p, info, files})
	}
	return all
}

// Package imports_test checks that the product's packages import only in one direction, and that the documents agree with the code: the table of
// folders in ARCHITECTURE.md, links, and names of files and tests.
package imports_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/meshtls-tap/meshtls-tap/"
	tap    = "cmd/tap"
)

// A rule lists the packages of this module that a package may import, by their paths in the module.
type rule struct {
	may     []string
	pure    bool // the package uses no network, files or logs (the linter checks that it reads no clock)
	planned bool // the package does not exist yet
}

// table has the rule of every package under internal/. A package that is not in the table may not import internal/.
// Imports by tests are not checked.
var table = map[string]rule{
	tap: {may: []string{
		"internal/buffer", "internal/cbom", "internal/dump", "internal/evidence", "internal/finding", "internal/flow",
		"internal/limits", "internal/live", "internal/migration", "internal/names", "internal/ocsf", "internal/ownsockets", "internal/pcapfile", "internal/pcapfilter", "internal/pipeline", "internal/report", "internal/selftest", "internal/sink", "internal/tapfilter",
		"internal/variables", "internal/verdict", "internal/wire", "schema",
	}},
	"cmd/kubectl-meshtls": {may: []string{
		"internal/attach", "internal/finding", "internal/htmlreport", "internal/inject", "internal/liveview", "internal/manifest", "internal/names", "internal/offline", "internal/pcapfilter", "internal/record", "internal/report", "internal/sink", "internal/topology", "internal/verify",
	}},
	"cmd/tap-webhook": {may: []string{"internal/variables", "webhook"}},
	"webhook":         {may: []string{"internal/inject"}},

	"internal/attach":     {may: []string{"internal/inject", "internal/record", "internal/topology"}},
	"internal/manifest":   {may: []string{"internal/inject"}, pure: true},
	"internal/topology":   {may: []string{"internal/record"}, pure: true},
	"internal/htmlreport": {may: []string{"internal/record", "internal/report", "internal/topology"}},
	"internal/liveview":   {may: []string{"internal/record", "internal/report", "internal/topology"}},
	"internal/verify":     {may: []string{"internal/record", "internal/report"}},
	"internal/offline":    {may: []string{"internal/finding", "internal/flow", "internal/pcapfile", "internal/pipeline", "internal/record"}},

	"internal/credentials": {pure: true},

	"internal/wire":       {pure: true},
	"internal/afpacket":   {may: []string{"internal/wire"}},
	"internal/pcapfilter": {may: []string{"internal/wire"}, pure: true},
	"internal/tapfilter":  {may: []string{"internal/order", "internal/pcapfilter", "internal/wire"}, pure: true},
	"internal/flow":       {may: []string{"internal/order", "internal/wire"}, pure: true},
	"internal/iana":       {pure: true},
	"internal/names":      {pure: true},
	"internal/order":      {pure: true},
	"internal/tlsmsg":     {may: []string{"internal/iana", "internal/names"}, pure: true},
	"internal/protocols":  {pure: true},
	"internal/dissect":    {may: []string{"internal/credentials", "internal/names", "internal/protocols", "internal/tlsmsg", "internal/wire"}, pure: true},
	"internal/verdict":    {may: []string{"internal/credentials", "internal/dissect", "internal/flow", "internal/iana", "internal/tlsmsg", "internal/wire"}, pure: true},
	"internal/record":     {pure: true},
	"internal/ocsf":       {may: []string{"internal/iana", "internal/record"}, pure: true},
	"internal/cbom":       {may: []string{"internal/iana", "internal/record"}, pure: true},
	"internal/finding":    {may: []string{"internal/iana", "internal/order", "internal/record", "internal/verdict"}},
	"internal/pipeline":   {may: []string{"internal/dissect", "internal/finding", "internal/flow", "internal/tapfilter", "internal/verdict", "internal/wire"}},
	"internal/dump":       {may: []string{"internal/afpacket", "internal/evidence", "internal/flow", "internal/pcapfilter", "internal/wire"}},
	"internal/live":       {may: []string{"internal/afpacket", "internal/finding", "internal/flow", "internal/pcapfilter", "internal/pipeline", "internal/tapfilter", "internal/wire"}},
	"internal/selftest":   {may: []string{"internal/flow", "internal/live", "internal/pcapfilter", "internal/pipeline", "internal/tapfilter", "internal/verdict"}},
	"internal/evidence":   {may: []string{"internal/flow", "internal/order", "internal/protocols", "internal/wire"}},
	"internal/migration":  {may: []string{"internal/order", "internal/record"}, pure: true},
	"internal/report":     {may: []string{"internal/finding", "internal/migration", "internal/order", "internal/record"}},
	"internal/sink":       {may: []string{"internal/buffer", "internal/ownsockets", "internal/variables"}},
	"internal/buffer":     {may: []string{"internal/order", "internal/record"}},
	"internal/ownsockets": {may: []string{"internal/wire"}},
	"internal/inject":     {may: []string{"internal/pcapfilter"}, pure: true},
	"internal/variables":  {},
	"internal/pcapfile":   {may: []string{"internal/flow", "internal/wire"}, pure: true},
	"internal/limits":     {},

	"internal/record/generate": {}, // this command writes the encoder and is run by hand

	"internal/capturetest":           {}, // for tests; apart from them only the benchmarks and a stand-in for a mesh use it
	"bench":                          {may: []string{"internal/capturetest", "internal/flow", "internal/pipeline", "internal/verdict", "internal/wire"}},
	"demo/answer":                    {may: []string{"internal/record"}},
	"internal/schematest":            {may: []string{"schema"}}, // this package and the next four are for tests
	"internal/confine":               {},
	"internal/eventually":            {},
	"internal/exclusive":             {},
	"internal/pcapfilter/kerneltest": {},
	"internal/imports":               {},
	"test/kafka/kafkatest":           {may: []string{"internal/eventually", "internal/exclusive"}},
	"test/ambient/standin":           {may: []string{"internal/capturetest"}},
	"test/ambient/agent":             {may: []string{"test/ambient/standin"}},
	"schema":                         {},
}

// impure lists packages that a pure package must not import. net/netip is allowed, because it only has address types.
var impure = []string{"log", "log/slog", "net", "net/http", "os", "os/exec", "os/signal", "syscall", "golang.org/x/sys/unix"}

// unwanted lists packages that must not be linked into the tap: it stays small (regexp is a quarter of a megabyte), never calls the
// Kubernetes API, and contains no test helpers.
var unwanted = []string{"k8s.io/", "sigs.k8s.io/", "regexp", "testing"}

// A listed package is a package as printed by `go list -json`.
type listed struct {
	ImportPath string
	Imports    []string // packages that it imports directly; imports by its tests are not included
	Deps       []string // packages that it imports directly or indirectly
}

// violations returns a sentence for each import that breaks a rule.
func violations(packages []listed, table map[string]rule) []string {
	var found []string
	for _, p := range packages {
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue
		}
		r, known := table[name]
		if !known && strings.HasPrefix(name, "internal/") {
			found = append(found, name+" is not in the table of internal/imports: say there what it may import")
		}
		for _, path := range p.Imports {
			imported, ours := strings.CutPrefix(path, module)
			switch {
			case ours && !slices.Contains(r.may, imported):
				found = append(found, fmt.Sprintf("%s imports %s: it may import %s", name, imported, orNothing(r.may)))
			case r.pure && slices.Contains(impure, path):
				found = append(found, fmt.Sprintf("%s imports %s: it is pure", name, path))
			}
		}
		if name != tap {
			continue
		}
		for _, path := range p.Deps {
			for _, u := range unwanted {
				if path == u || strings.HasSuffix(u, "/") && strings.HasPrefix(path, u) {
					found = append(found, fmt.Sprintf("%s links %s", name, path))
				}
			}
		}
	}
	return found
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing of this module"
	}
	return strings.Join(names, ", ")
}

func TestImports(t *testing.T) {
	for _, system := range []string{"linux", "darwin", "windows"} {
		packages := list(t, system)
		if len(packages) < 2 {
			t.Errorf("%s: go list found %d packages of this module", system, len(packages))
		}
		for _, v := range violations(packages, table) {
			t.Errorf("%s: %s", system, v)
		}
	}
}

// TestTable: every package in the table exists or is planned, two packages never import each other, and a pure package may import only pure ones.
func TestTable(t *testing.T) {
	for name, r := range table {
		if _, err := os.Stat(filepath.Join("../..", name)); (err != nil) != r.planned {
			t.Errorf("%s: planned is %v, and its folder: %v", name, r.planned, err)
		}
		for _, imported := range r.may {
			if _, ok := table[imported]; !ok {
				t.Errorf("%s may import %s, which is not in the table", name, imported)
			}
			if slices.Contains(table[imported].may, name) {
				t.Errorf("%s and %s may import each other", name, imported)
			}
			if r.pure && !table[imported].pure {
				t.Errorf("%s is pure and may import %s, which is not", name, imported)
			}
		}
	}
}

// TestViolations proves that the check of imports can fail.
func TestViolations(t *testing.T) {
	graph := func(name string, imports ...string) []listed {
		return []listed{{ImportPath: module + name, Imports: imports}}
	}
	linking := func(deps ...string) []listed {
		return []listed{{ImportPath: module + tap, Deps: deps}}
	}
	for name, test := range map[string]struct {
		packages []listed
		want     string // part of the only violation; empty if none is expected
	}{
		"down the stream":       {graph("internal/verdict", "time", module+"internal/flow"), ""},
		"up the stream":         {graph("internal/flow", module+"internal/verdict"), "internal/flow imports internal/verdict: it may import internal/order, internal/wire"},
		"across":                {graph("internal/sink", module+"internal/report"), "it may import internal/buffer, internal/ownsockets, internal/variables"},
		"a package of its own":  {graph("internal/util"), "internal/util is not in the table"},
		"outside of internal":   {graph("demo/client"), ""},
		"internal from outside": {graph("demo/client", module+"internal/flow"), "demo/client imports internal/flow"},
		"the tap and injection": {graph("cmd/tap", module+"internal/inject"), "cmd/tap imports internal/inject"},
		"test helpers in code":  {graph("internal/report", module+"internal/capturetest"), "imports internal/capturetest"},
		"pure":                  {graph("internal/dissect", "bytes", "net/netip"), ""},
		"not pure":              {graph("internal/dissect", "os"), "internal/dissect imports os: it is pure"},
		"links Kubernetes":      {linking("fmt", "k8s.io/api/core/v1"), "cmd/tap links k8s.io/api/core/v1"},
		"links its sister":      {linking("sigs.k8s.io/yaml"), "cmd/tap links sigs.k8s.io/yaml"},
		"links regexp":          {linking("regexp"), "cmd/tap links regexp"},
		"links testing":         {linking("testing"), "cmd/tap links testing"},
		"links others":          {linking("testing/iotest", "github.com/segmentio/kafka-go"), ""},
		"another module":        {[]listed{{ImportPath: "internal/poll", Imports: []string{"os"}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := violations(test.packages, table)
			switch {
			case test.want == "" && len(got) != 0:
				t.Errorf("found %q, want none", got)
			case test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)):
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}

// list returns the packages of this module as they are built for a system.
func list(t *testing.T, system string) []listed {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []listed
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

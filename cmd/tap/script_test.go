package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write golden files and captures anew")

// TestMain runs the tap's main function instead of the tests if a script has started this program
// as `tap`.
func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"tap": main})
}

// programs is the folder of the programs that tests build.
var programs string

// tests runs the tests of this package.
type tests struct{ *testing.M }

// Run runs the tests. Parallel tests wait most of the time, so eight run at a time by default, even with fewer
// processors.
func (x tests) Run() (status int) {
	flag.Parse()
	var err error
	if most := flag.Lookup("test.parallel"); most.Value.String() == most.DefValue {
		err = most.Value.Set("8")
	}
	if err == nil {
		programs, err = os.MkdirTemp("", "tap")
	}
	if err == nil {
		err = os.Chmod(programs, 0o755) // some tests run programs as another user
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(programs)
	return x.M.Run()
}

// TestScripts runs testdata/script. Each script is a session at a terminal. $CAPTURES is the folder of the captures that TestCaptures
// writes.
func TestScripts(t *testing.T) {
	captures, err := filepath.Abs(filepath.Join("testdata", "captures"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("CAPTURES", captures)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": status, "cut": cut, "zip": zip, "glob": glob,
		},
	})
}

// status runs a program and checks its exit status. In `status 3 tap read ...` the expected status
// is 3.
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		if _, e := fmt.Sscanf(err.Error(), "exit status %d", &got); e != nil {
			ts.Fatalf("%v", err)
		}
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// cut writes the first bytes of a file to another file: cut FILE BYTES TO. If BYTES is negative, it is the number of
// bytes to leave out at the end.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	data := []byte(ts.ReadFile(args[0]))
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	if n < 0 {
		n += len(data)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), data[:n], 0o600))
}

// zip compresses a file: zip FILE TO
func zip(ts *testscript.TestScript, _ bool, args []string) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Bytes(), 0o600))
}

// TestHelpNamesEverySetting: `tap run --help` lists the settings, each with a description.
func TestHelpNamesEverySetting(t *testing.T) {
	help := runHelp()
	for line := range strings.SplitSeq(help, "\n") {
		if f := strings.Fields(line); len(f) == 1 && strings.HasPrefix(line, "  ") {
			t.Errorf("%s: nothing is said about it", f[0])
		}
	}
	for _, name := range []string{"TAP_INTERFACES", "TAP_KAFKA_BROKERS", "POD_IPS", "KUBERNETES_SERVICE_HOST"} {
		if !strings.Contains(help, name) {
			t.Errorf("%s is missing", name)
		}
	}
}

// glob copies the only file whose name matches a pattern.
func glob(ts *testscript.TestScript, _ bool, args []string) {
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) != 1 {
		ts.Fatalf("%s: %q", args[0], names)
	}
	b, err := os.ReadFile(names[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o600))
}

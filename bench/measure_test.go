//go:build linux

package main

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const megabytes = "MESHTLS_BENCH_MEGABYTES"

// TestMain lets the test binary also be the measured program, if the environment variable megabytes is set. The program
// allocates one megabyte for each byte of the variable's value, prints "ready", and exits when its standard input ends.
func TestMain(m *testing.M) {
	if n := os.Getenv(megabytes); n != "" {
		b := occupy(len(n) << 20)
		io.WriteString(os.Stdout, "ready")
		io.Copy(io.Discard, os.Stdin)
		os.Exit(int(b[0]) - 1)
	}
	os.Exit(m.Run())
}

// occupy returns n bytes of memory, all of it resident.
func occupy(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 1
	}
	return b
}

// TestMemoryIsTheProgramsOwn: the measured memory of a program includes all memory of the program and none of the
// harness.
func TestMemoryIsTheProgramsOwn(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	harness := occupy(250 << 20)
	most := status(os.Getpid(), "VmHWM") / 2 // the race detector multiplies the memory of harness and program
	for _, units := range []int{1, 80} {     // MB
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ready := newOutput("ready")
		p, err := startReading(in, "", nil, ready, nil, []string{megabytes + "=" + strings.Repeat("x", units)}, os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
		if err := ready.wait(); err != nil {
			t.Fatal(err)
		}
		p.memory.update() // the regular sampling may not have run yet
		out.Close()
		u, err := p.wait()
		if err != nil {
			t.Fatal(err)
		}
		if least := int64(units) << 20; u.rss < least || u.rss > most {
			t.Errorf("a program with %d MB: %d bytes measured, want %d to %d", units, u.rss, least, most)
		}
	}
	if harness[0] != 1 {
		t.Fatal("the harness has lost its memory")
	}
}

// TestMachine: the description names processors, kernel, memory, Go and load.
func TestMachine(t *testing.T) {
	got := machine()
	for _, want := range []string{" processors, Linux ", " kB of memory, go", "load average "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q: %q is missing", got, want)
		}
	}
	name := t.TempDir() + "/file"
	if err := os.WriteFile(name, occupy(1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if share, size, err := residentShare(name); err != nil || size != 1<<20 || share <= 0 || share > 1 {
		t.Errorf("%v of %d bytes, %v", share, size, err)
	}
}

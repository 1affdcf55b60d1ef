package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pod is a network namespace of a test, with eth0 to another one.
type pod struct{ name, address string }

// pods makes two namespaces with a veth pair between them. Without root the test is skipped, or fails where
// MESHTLS_REQUIRE_ALL says that all must run.
func pods(t *testing.T) (a, b pod) {
	t.Helper()
	if os.Getuid() != 0 {
		absent(t, "network namespaces need root")
	}
	needs(t, "ip", "iproute2", "tcpdump", "tcpdump")
	a, b = pod{fmt.Sprintf("tap-%d-a", os.Getpid()), "10.77.0.1"}, pod{fmt.Sprintf("tap-%d-b", os.Getpid()), "10.77.0.2"}
	for _, p := range []pod{a, b} {
		ip(t, "netns", "add", p.name)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", p.name).Run() })
	}
	ip(t, "-n", a.name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.name)
	for _, p := range []pod{a, b} {
		ip(t, "-n", p.name, "address", "add", p.address+"/24", "dev", "eth0")
		ip(t, "-n", p.name, "link", "set", "eth0", "up")
		ip(t, "-n", p.name, "link", "set", "lo", "up")
	}
	return a, b
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// process is a program that runs in a pod.
type process struct {
	*exec.Cmd
	out    *bufio.Reader
	in     io.Closer // its standard input, which is empty
	stderr bytes.Buffer
	ended  chan error
}

// start starts a program in a pod; the test ends it if nothing else does.
func (p pod) start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	x := &process{Cmd: exec.Command("ip", append([]string{"netns", "exec", p.name}, args...)...), ended: make(chan error, 1)}
	x.Env = append(os.Environ(), env...)
	x.Cmd.Stderr = &x.stderr
	x.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	x.WaitDelay = 5 * time.Second
	out, err := x.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := x.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Start(); err != nil {
		t.Fatal(err)
	}
	x.out, x.in = bufio.NewReaderSize(out, 1<<20), in
	t.Cleanup(func() {
		in.Close()
		syscall.Kill(-x.Process.Pid, syscall.SIGKILL) // with what it started
		x.Wait()
		if t.Failed() {
			t.Logf("%s: %s", args[0], &x.stderr)
		}
	})
	return x
}

// line waits for a line of output that f accepts and returns all lines up to it.
func (x *process) line(t *testing.T, f func(line string) bool) []string {
	t.Helper()
	var lines []string
	found := make(chan error, 1)
	go func() {
		for {
			line, err := x.out.ReadString('\n')
			if err != nil {
				found <- fmt.Errorf("the output ended: %w", err)
				return
			}
			lines = append(lines, line)
			if f(line) {
				found <- nil
				return
			}
		}
	}()
	select {
	case err := <-found:
		if err != nil {
			t.Fatalf("%v after %d lines: %s", err, len(lines), &x.stderr)
		}
	case <-time.After(60 * time.Second):
		t.Fatalf("nothing came within a minute: %s", &x.stderr)
	}
	return lines
}

// end sends SIGTERM and returns the rest of the output.
func (x *process) end(t *testing.T) []string {
	t.Helper()
	if err := x.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(x.out)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Wait(); err != nil {
		t.Errorf("%v: %s", err, &x.stderr)
	}
	return strings.SplitAfter(string(rest), "\n")
}

// buildTap builds the tap as it is released.
func buildTap(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tap")
	cmd := exec.Command("go", "build", "-o", file, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return file
}

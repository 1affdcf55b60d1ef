package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/exclusive"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

// undropped runs an attempt of a test. If the ring dropped packets because the machine was too busy, the attempt shows nothing and
// is repeated. attempt must report drops before it reports any failure.
func undropped(t *testing.T, attempt func(t *testing.T) (dropped bool)) {
	t.Helper()
	const most = 5
	for n := range most {
		again := false
		t.Run(fmt.Sprintf("attempt %d", n+1), func(t *testing.T) {
			if again = attempt(t); again {
				t.Log("packets were dropped, as they may be on a busy machine: again")
			}
		})
		if !again {
			return
		}
	}
	t.Fatalf("packets were dropped in each of %d attempts: nothing can be said", most)
}

// pod is a network namespace of a test. Its eth0 is connected to another pod. Its name is a path that ip(8) and
// nsenter(1) accept.
type pod struct{ name, address string }

// pods creates two namespaces with a veth pair between them. Without root the test is skipped, or fails if MESHTLS_REQUIRE_ALL is
// set.
func pods(t *testing.T) (a, b pod) {
	t.Helper()
	if os.Getuid() != 0 {
		absent(t, "network namespaces need root")
	}
	needs(t, "ip", "iproute2", "tcpdump", "tcpdump", "nsenter", "util-linux")
	exclusive.Machine(t)
	a, b = pod{newNamespace(t), "10.77.0.1"}, pod{newNamespace(t), "10.77.0.2"}
	cable(t, a, b, "eth0", "10.77.0")
	for _, p := range []pod{a, b} {
		ip(t, "-n", p.name, "link", "set", "lo", "up")
	}
	return a, b
}

// cable adds a veth pair between two pods. Both interfaces have the given name, and the addresses network.1 and
// network.2.
func cable(t *testing.T, a, b pod, name, network string) {
	t.Helper()
	ip(t, "-n", a.name, "link", "add", name, "type", "veth", "peer", "name", name, "netns", b.name)
	for i, p := range []pod{a, b} {
		ip(t, "-n", p.name, "address", "add", fmt.Sprintf("%s.%d/24", network, i+1), "dev", name)
		ip(t, "-n", p.name, "link", "set", name, "up")
	}
}

// dial connects within the pod's network.
func (p pod) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	elsewhere(func() {
		var f *os.File
		if f, err = os.Open(p.name); err != nil {
			return
		}
		defer f.Close()
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err == nil {
			c, err = new(net.Dialer).DialContext(ctx, network, address)
		}
	})
	return c, err
}

// newNamespace creates a network namespace without a name. Only the test and the processes in the namespace keep it alive, so
// the kernel removes it after the test, even if the test crashes.
func newNamespace(t *testing.T) (path string) {
	t.Helper()
	var f *os.File
	var err error
	elsewhere(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			f, err = os.Open("/proc/thread-self/ns/net")
		}
	})
	if err != nil {
		absent(t, "make a network namespace: %v: needs CAP_SYS_ADMIN", err)
	}
	t.Cleanup(func() { f.Close() })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
}

// elsewhere calls f on a thread that f may move to another network namespace. The thread is moved back afterwards. If the
// thread ended instead, the kernel would kill the processes that it has started (Pdeathsig).
func elsewhere(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		defer unix.Close(home)
		f()
		if err := unix.Setns(home, unix.CLONE_NEWNET); err == nil {
			runtime.UnlockOSThread()
		}
	}()
	<-done
}

// dropped matches a record of a ring that dropped packets.
var dropped = regexp.MustCompile(`"dropped":[1-9]`)

// ringDropped reports whether these records show that a ring dropped packets.
func ringDropped(t *testing.T, lines []string) bool {
	t.Helper()
	at := slices.IndexFunc(lines, dropped.MatchString)
	if at >= 0 {
		t.Logf("the ring dropped packets: %s", lines[at])
	}
	return at >= 0
}

// in returns a command that runs in the pod's namespace.
func (p pod) in(ctx context.Context, args ...string) *exec.Cmd {
	args = append(p.within(), args...)
	return exec.CommandContext(ctx, args[0], args[1:]...)
}

// within returns arguments such that a command after them runs in the pod's namespace.
func (p pod) within() []string { return []string{"nsenter", "--net=" + p.name, "--"} }

// ip runs ip(8). If the first arguments are -n and a pod's name, it runs in that pod.
func ip(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("ip", args...)
	if len(args) > 2 && args[0] == "-n" {
		cmd = pod{name: args[1]}.in(context.Background(), append([]string{"ip"}, args[2:]...)...)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// process is a program that runs in a pod.
type process struct {
	*exec.Cmd
	out    *bufio.Reader
	in     io.WriteCloser // standard input of the program
	stderr eventually.Output
	ended  chan error
}

// log returns what the process has written to standard error so far.
func (x *process) log() string { return x.stderr.String() }

// start starts a program in a pod. If the program is still running at the end of the test, it is
// killed.
func (p pod) start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	x, out := p.startUnread(t, env, args...)
	x.out = bufio.NewReaderSize(collect(out), 1<<20)
	return x
}

// startUnread does the same as start, but nobody reads the output.
func (p pod) startUnread(t *testing.T, env []string, args ...string) (x *process, out io.Reader) {
	t.Helper()
	x = &process{Cmd: p.in(context.Background(), args...), ended: make(chan error, 1)}
	x.Env = append(append(os.Environ(), "TAP_LISTEN=:9469"), env...) // see pod.get
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
	x.in = in
	t.Cleanup(func() {
		in.Close()
		syscall.Kill(-x.Process.Pid, syscall.SIGKILL) // kills its children too
		x.Wait()
		if t.Failed() {
			t.Logf("%s: %s", args[0], &x.stderr)
		}
	})
	return x, out
}

// collected reads an output into memory as soon as it is written. If nobody read a tap's output, the tap would
// report that its output is blocked.
type collected struct {
	mu   sync.Mutex
	more *sync.Cond
	b    bytes.Buffer
	err  error // the error that ended the reading
}

func collect(from io.Reader) *collected {
	c := &collected{}
	c.more = sync.NewCond(&c.mu)
	go func() {
		some := make([]byte, 64<<10)
		for {
			n, err := from.Read(some)
			c.mu.Lock()
			c.b.Write(some[:n])
			c.err = err
			c.mu.Unlock()
			if c.more.Broadcast(); err != nil {
				return
			}
		}
	}()
	return c
}

func (c *collected) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.b.Len() == 0 && c.err == nil {
		c.more.Wait()
	}
	if c.b.Len() > 0 {
		return c.b.Read(b)
	}
	return 0, c.err
}

// line waits for a line of output for which f returns true. It returns all lines up to this line, and checks the records
// among them against the schema.
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
	case <-time.After(eventually.Limit):
		t.Fatalf("the line did not come within %v: %s", eventually.Limit, &x.stderr)
	}
	schematest.Lines(t, lines)
	return lines
}

// end sends SIGTERM. It returns the rest of the output, and checks the records in it against the schema.
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
	lines := strings.SplitAfter(string(rest), "\n")
	schematest.Lines(t, lines)
	return lines
}

// The tap's program is built once for all tests, into a folder that is removed at the end.
var (
	released = sync.OnceValues(func() (string, error) { return build("tap", "CGO_ENABLED=0") })
	watched  = sync.OnceValues(func() (string, error) { return build("tap-race", "CGO_ENABLED=1", "-race") })
)

func build(name, environ string, flags ...string) (file string, err error) {
	file = filepath.Join(programs, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", file}, flags...), ".")...)
	cmd.Env = append(os.Environ(), environ)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return file, nil
}

// buildTap builds the tap's program and returns its file. The build is like the release, or has the race detector if the
// tests have it.
func buildTap(t *testing.T) string {
	t.Helper()
	if raced {
		return program(t, watched)
	}
	return program(t, released)
}

// releasedTap does the same as buildTap, but never with the race detector. It is for tests in which the tap
// has to keep up with traffic.
func releasedTap(t *testing.T) string { t.Helper(); return program(t, released) }

func program(t *testing.T, built func() (string, error)) string {
	t.Helper()
	file, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

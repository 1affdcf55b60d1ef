package afpacket

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/exclusive"
)

// patience is how long a test waits for a condition. It is not a measure of speed. It only ends a
// test whose condition never becomes true, so it is long enough for a busy machine.
const patience = 3 * time.Minute

// undropped repeats attempt, at most five times, until the kernel has dropped no packet. On a busy
// machine the ring may be full before the reader runs, and such an attempt shows nothing. attempt
// returns the number of dropped packets before it checks anything.
func undropped(t *testing.T, attempt func(t *testing.T) (dropped uint64)) {
	t.Helper()
	const most = 5
	for n := range most {
		dropped := attempt(t)
		if dropped == 0 || t.Failed() {
			return
		}
		t.Logf("attempt %d of %d: the ring dropped %d packets, which it may on a busy machine: again", n+1, most, dropped)
	}
	t.Fatalf("the ring dropped packets in each of %d attempts: nothing can be said", most)
}

// Locking the main thread keeps it in the host's network namespace. A test locks a thread and moves
// it to another namespace. When the test ends, the thread ends too, unless it is the main thread,
// which would continue in that namespace.
func init() { runtime.LockOSThread() }

// unavailable skips a test that needs something that is missing. If all tests must run, it fails
// the test instead.
func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// needRoot skips the test if it cannot create network namespaces. This needs root and the program
// ip.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		unavailable(t, "needs root, to make a network namespace of its own")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		unavailable(t, "%v: on Debian or Ubuntu: apt-get install iproute2", err)
	}
}

// namespace is a network namespace with its own thread. It exists until the end of the test. At
// first it has only a loopback interface that is down.
type namespace struct {
	calls chan func()
	tid   int
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	needRoot(t)
	exclusive.Machine(t)
	n := &namespace{calls: make(chan func())}
	began := make(chan error)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		n.tid = unix.Gettid()
		err := unix.Unshare(unix.CLONE_NEWNET)
		began <- err
		if err != nil {
			return
		}
		for f := range n.calls {
			f()
		}
	}()
	if err := <-began; err != nil {
		<-ended
		unavailable(t, "make a network namespace: %v: needs CAP_SYS_ADMIN", err)
	}
	t.Cleanup(func() { close(n.calls); <-ended })
	return n
}

// do runs f on the namespace's thread. So the sockets that f opens and the programs that it starts
// are in the namespace. f must not end the test.
func (n *namespace) do(t testing.TB, f func() error) {
	t.Helper()
	result := make(chan error)
	n.calls <- func() { result <- f() }
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// ip runs commands of ip(8), one per line.
func (n *namespace) ip(t testing.TB, commands string) {
	t.Helper()
	n.do(t, func() error {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(commands)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	})
}

// path returns the namespace's path for other programs.
func (n *namespace) path() string {
	return fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), n.tid)
}

// loopback returns a namespace whose lo is up.
func loopback(t testing.TB) *namespace {
	t.Helper()
	n := newNamespace(t)
	n.ip(t, "link set lo up")
	return n
}

// Addresses of the two ends of a veth pair.
var (
	left  = map[string]string{"udp4": "10.9.0.1", "udp6": "fd09::1"}
	right = map[string]string{"udp4": "10.9.0.2", "udp6": "fd09::2"}
)

// pair returns two namespaces connected by a veth pair: left0 and right0.
func pair(t testing.TB) (l, r *namespace) {
	t.Helper()
	l, r = newNamespace(t), newNamespace(t)
	l.ip(t, fmt.Sprintf("link add left0 type veth peer name right0 netns %s", r.path()))
	configure := func(n *namespace, name string, addresses map[string]string) {
		n.ip(t, fmt.Sprintf("link set lo up\nlink set %s up\naddr add %s/24 dev %s\naddr add %s/64 dev %s nodad",
			name, addresses["udp4"], name, addresses["udp6"], name))
	}
	configure(l, "left0", left)
	configure(r, "right0", right)
	return l, r
}

// capture has a Handle and the goroutine that reads the Handle. It stores copies of the packets.
type capture struct {
	*Handle
	done chan error

	mu      sync.Mutex
	packets []Packet
}

// capture opens a handle in the namespace and runs it until stop or the end of the test.
func (n *namespace) capture(t testing.TB, c Config) *capture {
	t.Helper()
	return run(t, n.open(t, c))
}

func (n *namespace) open(t testing.TB, c Config) *Handle {
	t.Helper()
	var h *Handle
	n.do(t, func() (err error) {
		h, err = Open(c)
		return err
	})
	t.Cleanup(func() { h.Close() })
	return h
}

func run(t testing.TB, h *Handle) *capture {
	c := &capture{Handle: h, done: make(chan error, 1)}
	go func() { c.done <- h.Run(c.store) }()
	eventually(t, "Run has begun", func() bool { // if Run has not begun, Close releases the ring unread
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.phase != opened
	})
	t.Cleanup(func() {
		h.Close()
		if c.done != nil && !t.Failed() {
			c.join(t)
		}
	})
	return c
}

func (c *capture) store(b *Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, ok := b.Next(); ok; p, ok = b.Next() {
		p.Data = bytes.Clone(p.Data)
		c.packets = append(c.packets, p)
	}
}

// seen returns the packets captured so far.
func (c *capture) seen() []Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clip(c.packets)
}

// with returns the packets whose captured bytes end with the payload.
func (c *capture) with(payload []byte) (found []Packet) {
	for _, p := range c.seen() {
		if bytes.HasSuffix(p.Data, payload) {
			found = append(found, p)
		}
	}
	return found
}

// join waits for Run to return.
func (c *capture) join(t testing.TB) error {
	t.Helper()
	select {
	case err := <-c.done:
		c.done = nil
		return err
	case <-time.After(patience):
		c.done = nil
		t.Fatalf("Run did not return: %+v", stats(t, c.Handle))
		return nil
	}
}

// stop closes the handle, joins Run and returns all packets.
func (c *capture) stop(t testing.TB) []Packet {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.join(t); err != nil {
		t.Fatal(err)
	}
	return c.seen()
}

func stats(t testing.TB, h *Handle) Stats {
	t.Helper()
	s, err := h.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// toPort returns a filter for UDP to one port, over IPv4 without options and Ethernet.
func toPort(t testing.TB, port uint16) []bpf.RawInstruction {
	t.Helper()
	p, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Val: 0x0800, SkipFalse: 5},
		bpf.LoadAbsolute{Off: 14 + 9, Size: 1},
		bpf.JumpIf{Val: 17, SkipFalse: 3},
		bpf.LoadAbsolute{Off: 14 + 20 + 2, Size: 2},
		bpf.JumpIf{Val: uint32(port), SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// output runs a program and returns its output.
func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(bytes.TrimSpace(out)), err
}

// openTun opens a tun interface: packets written to the file arrive at the interface.
func openTun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

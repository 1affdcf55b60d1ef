package afpacket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helper is an environment variable. A test that starts the test binary as another process sets the
// variable to the task of that process.
const helper = "MESHTLS_AFPACKET_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helper) {
	case "":
		os.Exit(m.Run())
	case "open":
		openHelper()
	case "flood":
		floodHelper()
	}
}

// openHelper opens lo, reads one packet and prints the result. It then prints the effective
// capabilities of each of its threads.
func openHelper() {
	h, err := Open(Config{Interface: "lo"})
	if err != nil {
		fmt.Printf("error: %v\npermission: %t\n", err, errors.Is(err, os.ErrPermission))
		return
	}
	if b, err := os.ReadFile("/proc/thread-self/status"); err == nil {
		fmt.Print(line(string(b), "CapPrm"))
	}
	threads, _ := filepath.Glob("/proc/self/task/*/status")
	for _, name := range threads {
		if b, err := os.ReadFile(name); err == nil {
			fmt.Print(line(string(b), "CapEff"))
		}
	}
	length := 0
	err = h.Run(func(b *Block) {
		if p, ok := b.Next(); ok {
			length = p.Length
		}
		h.Close()
	})
	fmt.Printf("packet of %d bytes, %v\n", length, err)
}

func line(text, key string) string {
	_, rest, _ := strings.Cut(text, key+":")
	value, _, _ := strings.Cut(rest, "\n")
	return key + " " + strings.TrimSpace(value) + "\n"
}

// program copies the test binary to a directory in which every user may run it.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "afpacket") // other users cannot read t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(dir, "tap")
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// permit sets the same file capability as image/setcap: cap_net_raw, permitted only.
func permit(t *testing.T, file string) {
	t.Helper()
	var data []byte
	for _, word := range []uint32{0x02000000, 1 << unix.CAP_NET_RAW, 0, 0, 0} {
		data = binary.LittleEndian.AppendUint32(data, word)
	}
	if err := unix.Setxattr(file, "security.capability", data, 0); err != nil {
		unavailable(t, "give %s a capability: %v: needs root and a file system with extended attributes", file, err)
	}
}

// as runs the helper in the namespace as another user, and returns its output.
func (n *namespace) as(t *testing.T, file string, attributes *syscall.SysProcAttr) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(file)
	cmd.Env = []string{helper + "=open"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = attributes
	var failed error
	n.do(t, func() error { failed = cmd.Start(); return nil })
	if failed != nil {
		unavailable(t, "start a process with %+v: %v", attributes, failed)
	}
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the helper: %v\n%s", err, &out)
	}
	return out.String()
}

// nobody is the user of the tap's image.
func nobody() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 59469, Gid: 59469}}
}

// TestFileCapability: a user other than root can capture with only the file capability. After Open
// the capability is not effective on any thread.
func TestFileCapability(t *testing.T) {
	n := loopback(t)
	file := program(t)
	permit(t, file)
	from, to := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	defer flood(from, to, []byte("datagram"))()
	out := n.as(t, file, nobody())
	if !strings.Contains(out, "CapPrm 0000000000002000\n") {
		unavailable(t, "the file system of %s gives no capabilities: is it mounted nosuid?\n%s", file, out)
	}
	if !strings.HasSuffix(out, "packet of 50 bytes, <nil>\n") {
		t.Errorf("the helper said\n%s", out)
	}
	if threads := strings.Count(out, "CapEff"); threads < 2 || strings.Count(out, "CapEff 0000000000000000\n") != threads {
		t.Errorf("a thread has a capability in effect\n%s", out)
	}
}

// TestWithoutCapability: without the capability, the error of Open contains the action to take.
func TestWithoutCapability(t *testing.T) {
	n := loopback(t)
	file := program(t)
	t.Run("allowed", func(t *testing.T) {
		want := "error: capture on lo: open a packet socket: operation not permitted: it needs CAP_NET_RAW: " +
			"run as root, or give the program the capability with `setcap cap_net_raw+p " + file + "`; " +
			"in Kubernetes add NET_RAW to securityContext.capabilities.add, " +
			"and where the image lost its file capability set runAsUser: 0 too\npermission: true\n"
		if out := n.as(t, file, nobody()); out != want {
			t.Errorf("the helper said\n%swant\n%s", out, want)
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		// The bounding set belongs to the thread and ends with it.
		n.do(t, func() error { return unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_RAW, 0, 0, 0) })
		want := "error: capture on lo: open a packet socket: operation not permitted: it needs CAP_NET_RAW, " +
			"and nothing in this container or session may have it: in Kubernetes add NET_RAW to securityContext.capabilities.add, " +
			"with docker --cap-add=NET_RAW\npermission: true\n"
		if out := n.as(t, file, nobody()); out != want {
			t.Errorf("the helper said\n%swant\n%s", out, want)
		}
	})
	t.Run("another user namespace", func(t *testing.T) {
		attributes := &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		}
		n := loopback(t)
		want := "error: capture on lo: open a packet socket: operation not permitted: CAP_NET_RAW is present, " +
			"so a security module forbids it, or the network namespace belongs to another user namespace\npermission: true\n"
		if out := n.as(t, file, attributes); out != want {
			t.Errorf("the helper said\n%swant\n%s", out, want)
		}
	})
}

// TestRootKeeps: a capability that is already effective stays effective.
func TestRootKeeps(t *testing.T) {
	n := loopback(t)
	n.do(t, func() error {
		before, err := capabilities()
		if err != nil {
			return err
		}
		h, err := Open(Config{Interface: "lo"})
		if err != nil {
			return err
		}
		defer h.Close()
		if after, err := capabilities(); err != nil || after != before {
			return fmt.Errorf("capabilities %+v before, %+v after: %w", before, after, err)
		}
		return nil
	})
}

// TestOpenErrors: each error is one line that names the given value and the expected one.
func TestOpenErrors(t *testing.T) {
	l, _ := pair(t)
	empty := newNamespace(t)
	for name, test := range map[string]struct {
		in     *namespace
		config Config
		want   string
		is     error
	}{
		"unknown":      {l, Config{Interface: "eth9"}, "capture on eth9: look up the interface: no such interface: there are lo, left0", ErrNoInterface},
		"only lo":      {empty, Config{Interface: "eth0"}, "capture on eth0: look up the interface: no such interface: there is only lo", ErrNoInterface},
		"no name":      {l, Config{}, `capture on "": look up the interface: no such interface: there are lo, left0`, ErrNoInterface},
		"too long":     {l, Config{Interface: "a-name-without-end"}, "capture on a-name-without-end: look up the interface: no such interface: there are lo, left0", ErrNoInterface},
		"bad filter":   {l, Config{Interface: "lo", Filter: toPort(t, 1)[:3]}, "capture on lo: attach the filter: invalid argument: the kernel refuses this program", unix.EINVAL},
		"a small ring": {l, Config{Interface: "lo", RingBytes: 1000}, "capture on lo: configure: a ring of 1000 bytes has room for 0 blocks of 131072 bytes: expected at least 2", nil},
	} {
		t.Run(name, func(t *testing.T) {
			test.in.do(t, func() error {
				h, err := Open(test.config)
				if err == nil {
					h.Close()
					return errors.New("opened")
				}
				op, ok := errors.AsType[*OpError](err)
				if !ok || err.Error() != test.want || test.is != nil && !errors.Is(err, test.is) || op.Interface == "" {
					return fmt.Errorf("%T: %w\nwant %s", err, err, test.want)
				}
				return nil
			})
		})
	}
	t.Run("memory", func(t *testing.T) {
		for _, errno := range []error{unix.ENOMEM, unix.ENOBUFS} {
			if ringAdvice(errno) == "" {
				t.Errorf("no advice for %v", errno)
			}
		}
	})
}

// Package kafka_test proves delivery with real brokers: whatever they do, no record that was accepted goes unaccounted, and the
// tap's capture does not suffer. Each scenario prints what was put, arrived, came twice and was dropped.
//
// The tests live in a network namespace of their own, with one more for a pod, so that networks can be cut. They need root,
// Java and kcat. Without MESHTLS_KAFKA=full only those run that take seconds: make test-kafka runs all.
package kafka_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/confine"
)

// Both ends of the wire between the test and its pod.
const (
	hostAddress = "10.78.0.2"
	podAddress  = "10.78.0.1"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv("MESHTLS_DRIVER") != "":
		drive()
	case os.Getenv("MESHTLS_TRAFFIC") != "":
		makeTraffic()
	case os.Getenv("MESHTLS_FLEET") != "":
		sail()
	case os.Getenv("MESHTLS_KNOCK") != "":
		knock()
	}
	os.Exit(confine.Main(m.Run, confine.Options{Network: true}))
}

// full reports whether all is to run, however long it takes.
func full() bool { return os.Getenv("MESHTLS_KAFKA") == "full" }

// long skips what takes more than seconds, unless all is to run.
func long(t *testing.T) {
	t.Helper()
	if !full() {
		t.Skip("takes minutes: make test-kafka runs it")
	}
}

// pod makes the network namespace of a pod with eth0 to the test's own. It returns a process that is there: in enters by it. A namespace
// without a name ends with the last process in it, however that ends.
func pod(t *testing.T) (pid int) {
	t.Helper()
	if !confine.Network() {
		absent(t, "network namespaces need root")
	}
	for _, program := range []string{"ip", "nft", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			absent(t, "%v: on Debian or Ubuntu: apt-get install iproute2 nftables util-linux", err)
		}
	}
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		absent(t, "no network namespace: %v", err)
	}
	t.Cleanup(func() {
		exec.Command("ip", "link", "del", "host0").Run() // the kernel takes its time with that of a namespace
		holder.Process.Kill()
		holder.Wait()
	})
	pid = holder.Process.Pid
	run(t, "ip", "link", "add", "host0", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(pid))
	run(t, "ip", "address", "add", hostAddress+"/24", "dev", "host0")
	run(t, "ip", "link", "set", "host0", "up")
	run(t, in(pid, "ip", "address", "add", podAddress+"/24", "dev", "eth0")...)
	run(t, in(pid, "ip", "link", "set", "eth0", "up")...)
	run(t, in(pid, "ip", "link", "set", "lo", "up")...)
	return pid
}

// in returns what runs a program in a pod's network.
func in(pod int, args ...string) []string {
	return append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pod), "--"}, args...)
}

// inside is in as a command that ends with this process. It has one more variable.
func inside(pod int, variable string, args ...string) *exec.Cmd {
	args = in(pod, args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), variable)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func absent(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

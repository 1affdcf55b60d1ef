// Package kafka_test tests delivery with real brokers. Whatever happens to the brokers, every accepted record must be
// accounted for, and the tap's capture must not be affected. Each scenario prints how many records were put, arrived,
// arrived twice and were dropped.
//
// The tests run in a network namespace, and the pod has a second one, so that the tests can interrupt the network.
// They need root, Java and kcat. Without MESHTLS_KAFKA=full only tests that take seconds run; make test-kafka runs
// all.
package kafka_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/confine"
)

// Addresses of the two ends of the veth pair between the test and its pod.
const (
	hostAddress = "10.78.0.2"
	podAddress  = "10.78.0.1"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv("MESHTLS_DRIVER") != "":
		runDriver()
	case os.Getenv("MESHTLS_TRAFFIC") != "":
		makeTraffic()
	case os.Getenv("MESHTLS_FLEET") != "":
		runFleet()
	case os.Getenv("MESHTLS_KNOCK") != "":
		sendRequests()
	}
	os.Exit(confine.Main(m.Run, confine.Options{Network: true}))
}

// full reports whether all tests run, including tests that take minutes.
func full() bool { return os.Getenv("MESHTLS_KAFKA") == "full" }

// skipUnlessFull skips the calling test unless all tests run (see full). Tests that take more than seconds call it.
func skipUnlessFull(t *testing.T) {
	t.Helper()
	if !full() {
		t.Skip("takes minutes: make test-kafka runs it")
	}
}

// pod creates the network namespace of a pod, whose eth0 is connected to the test's namespace. It returns the id of a
// process in the namespace; inPod needs the id to enter the namespace. The namespace has no name, and it ends when its
// last process ends.
func pod(t *testing.T) (pid int) {
	t.Helper()
	if !confine.Network() {
		unavailable(t, "network namespaces need root")
	}
	for _, program := range []string{"ip", "nft", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			unavailable(t, "%v: on Debian or Ubuntu: apt-get install iproute2 nftables util-linux", err)
		}
	}
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		unavailable(t, "no network namespace: %v", err)
	}
	t.Cleanup(func() {
		exec.Command("ip", "link", "del", "host0").Run() // deletes the interface at once; the kernel would delete it some time after its namespace
		holder.Process.Kill()
		holder.Wait()
	})
	pid = holder.Process.Pid
	run(t, "ip", "link", "add", "host0", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(pid))
	run(t, "ip", "address", "add", hostAddress+"/24", "dev", "host0")
	run(t, "ip", "link", "set", "host0", "up")
	run(t, inPod(pid, "ip", "address", "add", podAddress+"/24", "dev", "eth0")...)
	run(t, inPod(pid, "ip", "link", "set", "eth0", "up")...)
	run(t, inPod(pid, "ip", "link", "set", "lo", "up")...)
	return pid
}

// inPod returns a command line that runs a program in a pod's network namespace.
func inPod(pod int, args ...string) []string {
	return append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pod), "--"}, args...)
}

// podCommand returns a command that runs in a pod's network namespace and ends with this process. It has this
// process's environment and one more variable.
func podCommand(pod int, variable string, args ...string) *exec.Cmd {
	args = inPod(pod, args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), variable)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func unavailable(t *testing.T, format string, args ...any) {
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

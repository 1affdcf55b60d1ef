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
	case os.Getuid() == 0 && os.Getenv("MESHTLS_NETNS") == "":
		os.Exit(apart())
	}
	if os.Getenv("MESHTLS_NETNS") != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "loopback: %v: %s", err, out)
		}
	}
	status := m.Run()
	os.RemoveAll(builtIn)
	os.Exit(status)
}

// apart runs this test again in a network namespace of its own, and returns its exit status.
func apart() int {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), "MESHTLS_NETNS=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "no network namespace:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
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

// pod makes the network namespace of a pod with eth0 to the test's own, and returns its name.
func pod(t *testing.T) string {
	t.Helper()
	if os.Getenv("MESHTLS_NETNS") == "" {
		absent(t, "network namespaces need root")
	}
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			absent(t, "%v: on Debian or Ubuntu: apt-get install iproute2 nftables", err)
		}
	}
	name := fmt.Sprint("kafka-", os.Getpid())
	run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	run(t, "ip", "link", "add", "host0", "type", "veth", "peer", "name", "eth0", "netns", name)
	run(t, "ip", "address", "add", hostAddress+"/24", "dev", "host0")
	run(t, "ip", "link", "set", "host0", "up")
	run(t, "ip", "-n", name, "address", "add", podAddress+"/24", "dev", "eth0")
	run(t, "ip", "-n", name, "link", "set", "eth0", "up")
	run(t, "ip", "-n", name, "link", "set", "lo", "up")
	return name
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

package live

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// init keeps the main thread in the host's network namespace. A test ends the thread that it has moved to another namespace,
// but not if it is the main thread.
func init() { runtime.LockOSThread() }

// TestAnnouncements: a new interface is announced without a poll, and nothing is announced after close.
func TestAnnouncements(t *testing.T) {
	runtime.LockOSThread() // the thread ends with the test, because it is never unlocked
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		absent(t, "no network namespace: %v", err)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		absent(t, "no ip(8): %v", err)
	}
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}

	var e events
	announced := make(chan struct{}, 1)
	if err := e.open(func() {
		select {
		case announced <- struct{}{}:
		default:
		}
	}); err != nil {
		t.Fatal(err)
	}
	<-announced // open announces once, for changes before the wait
	for _, name := range []string{"new0", "new1"} {
		ip("link add " + name + " type veth peer name peer-" + name)
		deadline := time.After(time.Minute)
		for links := false; !links; {
			select {
			case <-announced:
				_, links, _ = e.drain()
			case <-deadline:
				t.Fatalf("%s was not announced", name)
			}
		}
	}

	e.close()
	select {
	case <-announced: // from before close
	default:
	}
	ip("link add new2 type veth peer name peer-new2")
	select {
	case <-announced:
		t.Error("an interface was announced after close")
	default:
	}
	if _, _, ok := e.drain(); ok {
		t.Error("the socket is open after close")
	}
}

package exclusive

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"
)

// TestLock: a second process gets the lock only after the first one has released it.
func TestLock(t *testing.T) {
	if os.Getenv("MESHTLS_EXCLUSIVE") != "" {
		Machine(t)
		fmt.Println("held")
		return
	}
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	release, err := Lock()
	if err != nil {
		t.Fatal(err)
	}
	inner, err := Lock()
	if err != nil {
		t.Fatal(err)
	}
	inner()
	inner() // a second call of inner changes nothing

	second := exec.Command(os.Args[0], "-test.run=^TestLock$")
	second.Env = append(os.Environ(), "MESHTLS_EXCLUSIVE=1")
	out, err := second.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	waits := regexp.MustCompile(fmt.Sprintf(`-> FLOCK +ADVISORY +WRITE +%d `, second.Process.Pid))
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		locks, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		if waits.Match(locks) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the second process does not wait for the lock:\n%s", locks)
		}
	}
	release()
	said, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("the second process: %v: %s", err, said)
	}
	if holders.n != 0 {
		t.Errorf("%d callers hold the machine, want 0", holders.n)
	}
}

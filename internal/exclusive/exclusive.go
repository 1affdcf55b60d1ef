package exclusive

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// held counts the callers in this process that hold the machine. The first one takes the
// lock, the last one releases it.
var held struct {
	sync.Mutex
	n    int
	file *os.File
}

// Machine waits until no other process holds the machine, and holds it until t and its
// subtests have ended. A test that holds it may call Machine again. Two parallel tests of
// one process do not exclude each other.
func Machine(t testing.TB) {
	t.Helper()
	release, err := Hold()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
}

// Hold is Machine for a whole package: TestMain calls it before m.Run, and calls release
// after. It waits without a limit; `go test -timeout` is one.
func Hold() (release func(), err error) {
	held.Lock()
	defer held.Unlock()
	if held.n == 0 {
		if held.file, err = open(); err != nil {
			return nil, fmt.Errorf("lock the machine for a test: %w", err)
		}
		if err := lock(held.file); err != nil {
			held.file.Close()
			return nil, fmt.Errorf("lock %s: %w", held.file.Name(), err)
		}
	}
	held.n++
	return sync.OnceFunc(leave), nil
}

func leave() {
	held.Lock()
	defer held.Unlock()
	if held.n--; held.n == 0 {
		held.file.Close() // which unlocks it
	}
}

// open opens the file, which stays: who removes it could let two processes lock two files
// of one name.
func open() (*os.File, error) {
	folder, err := os.UserCacheDir()
	if err != nil {
		folder = os.TempDir()
	}
	folder = filepath.Join(folder, "meshtls-tap")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(folder, "tests.lock"), os.O_CREATE|os.O_RDWR, 0o600)
}

package exclusive

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// holders counts the callers in this process that hold the lock of the machine. The first one locks the file, and the
// last one unlocks it.
var holders struct {
	sync.Mutex
	n    int
	file *os.File
}

// Machine waits until no other process holds the lock of the machine. It then holds the lock until t and its subtests
// have ended. A test that holds the lock may call Machine again. Parallel tests of one process do not exclude each
// other.
func Machine(t testing.TB) {
	t.Helper()
	release, err := Lock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
}

// Lock locks the machine for a whole package: TestMain calls Lock before m.Run, and release after it. Lock waits
// without a time limit; `go test -timeout` bounds the wait.
func Lock() (release func(), err error) {
	holders.Lock()
	defer holders.Unlock()
	if holders.n == 0 {
		if holders.file, err = open(); err != nil {
			return nil, fmt.Errorf("lock the machine for a test: %w", err)
		}
		if err := flock(holders.file); err != nil {
			holders.file.Close()
			return nil, fmt.Errorf("lock %s: %w", holders.file.Name(), err)
		}
	}
	holders.n++
	return sync.OnceFunc(unlock), nil
}

func unlock() {
	holders.Lock()
	defer holders.Unlock()
	if holders.n--; holders.n == 0 {
		holders.file.Close() // closing the file unlocks it
	}
}

// open opens the file. The file is never removed: otherwise two processes could lock two different files of the same
// name.
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

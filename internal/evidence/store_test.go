package evidence_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/evidence"
)

// newStore starts a Store in a new folder, with small bounds.
func newStore(t *testing.T, change func(*evidence.StoreConfig)) (s *evidence.Store, dir string, failed *atomic.Pointer[error]) {
	t.Helper()
	dir, failed = filepath.Join(t.TempDir(), "evidence"), &atomic.Pointer[error]{}
	cfg := evidence.StoreConfig{Dir: dir, Files: 3, Bytes: 1000, Failed: func(err error) { failed.Store(&err) }}
	if change != nil {
		change(&cfg)
	}
	s = evidence.NewStore(cfg)
	t.Cleanup(func() { s.Close(10 * time.Second) })
	return s, cfg.Dir, failed
}

// put writes a file and waits until it is written or has failed.
func put(t *testing.T, s *evidence.Store, name string, n int) {
	t.Helper()
	before := s.Stats()
	if !s.Put(name, bytes.Repeat([]byte{1}, n)) {
		t.Fatalf("%s was dropped", name)
	}
	eventually.True(t, "the file is handled", func() bool {
		now := s.Stats()
		return now.Written+now.Failed == before.Written+before.Failed+1
	})
}

func nameOf(n int) string {
	return evidence.FileName(int64(n)*1e9, "plaintext-edge", "0123456789abcdef"+strconv.Itoa(n))
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestStoreNumber: the oldest files beyond the number are deleted, in the order of their findings, also those of an earlier run. Other files
// in the folder remain.
func TestStoreNumber(t *testing.T) {
	s, dir, _ := newStore(t, nil)
	for n := range 5 {
		put(t, s, nameOf(n), 10)
	}
	if err := os.WriteFile(filepath.Join(dir, "other.pcapng"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Close(10 * time.Second)
	if got, want := namesIn(t, dir), []string{nameOf(2), nameOf(3), nameOf(4), "other.pcapng"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := s.Stats(); got.Files != 3 || got.Written != 5 || got.Failed != 0 || got.Dropped != 0 {
		t.Errorf("%+v", got)
	}

	again, _, _ := newStore(t, func(c *evidence.StoreConfig) { c.Dir = dir })
	put(t, again, nameOf(7), 10)
	eventually.True(t, "three files remain", func() bool {
		return slices.Equal(namesIn(t, dir), []string{nameOf(3), nameOf(4), nameOf(7), "other.pcapng"})
	})
}

// TestStoreFile: a file is whole and only its owner can read it. What an earlier run left incomplete is deleted.
func TestStoreFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, nameOf(1)+".partial"), []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, _ := newStore(t, func(c *evidence.StoreConfig) { c.Dir = dir })
	put(t, s, nameOf(2), 999)
	if got := namesIn(t, dir); !slices.Equal(got, []string{nameOf(2)}) {
		t.Errorf("%q", got)
	}
	info, err := os.Stat(filepath.Join(dir, nameOf(2)))
	if err != nil || info.Mode() != 0o600 || info.Size() != 999 {
		t.Errorf("%v, %v of %d bytes", err, info.Mode(), info.Size())
	}
}

// TestStoreSize: a file that is too large is dropped.
func TestStoreSize(t *testing.T) {
	s, _, _ := newStore(t, nil)
	if s.Put(nameOf(1), make([]byte, 1001)) || s.Stats().Dropped != 1 {
		t.Errorf("%+v", s.Stats())
	}
}

// TestStoreAge: files beyond an age are deleted.
func TestStoreAge(t *testing.T) {
	var later atomic.Int64
	s, dir, _ := newStore(t, func(c *evidence.StoreConfig) {
		c.Age, c.Now = time.Hour, func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	put(t, s, nameOf(1), 10)
	later.Store(int64(2 * time.Hour))
	if err := os.Chtimes(filepath.Join(dir, nameOf(1)), time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if !s.Put(nameOf(2), make([]byte, 10)) {
		t.Fatal("dropped")
	}
	eventually.True(t, "the older file is deleted", func() bool { return !slices.Contains(namesIn(t, dir), nameOf(1)) })
}

// TestStoreQueue: Put never waits for a disk; what does not fit into the queue is dropped and counted.
func TestStoreQueue(t *testing.T) {
	release := make(chan struct{})
	s, _, _ := newStore(t, func(c *evidence.StoreConfig) {
		c.Dir = filepath.Join(c.Dir, "x\x00y") // no such name is valid, so that Failed is called
		c.Failed = func(error) { <-release }
	})
	dropped := 0
	for n := range 20 {
		if !s.Put(nameOf(n), nil) {
			dropped++
		}
	}
	if dropped == 0 || s.Stats().Dropped != uint64(dropped) {
		t.Errorf("%d dropped, %+v", dropped, s.Stats())
	}
	close(release)
}

// TestStoreFolder: a folder that is not writable is reported at the start, and files that cannot be written are counted. A folder that is
// removed while it is in use is created again.
func TestStoreFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, failed := newStore(t, func(c *evidence.StoreConfig) { c.Dir = filepath.Join(file, "folder") })
	eventually.True(t, "the folder is reported", func() bool { return failed.Load() != nil })
	put(t, s, nameOf(1), 10)
	if got := s.Stats(); got.Failed != 1 || got.Written != 0 {
		t.Errorf("%+v", got)
	}

	s, dir, failed := newStore(t, nil)
	put(t, s, nameOf(1), 10)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	put(t, s, nameOf(2), 10)
	if got := namesIn(t, dir); !slices.Equal(got, []string{nameOf(2)}) || failed.Load() != nil {
		t.Errorf("%q", got)
	}
}

// TestStoreClosed: after Close, files are dropped. Close can be called again.
func TestStoreClosed(t *testing.T) {
	s, _, _ := newStore(t, nil)
	s.Close(10 * time.Second)
	s.Close(10 * time.Second)
	if s.Put(nameOf(1), nil) {
		t.Error("queued")
	}
}

// isErr reports whether the last error of a Store is an error.
func isErr(failed *atomic.Pointer[error], target error) bool {
	err := failed.Load()
	return err != nil && errors.Is(*err, target)
}

package evidence_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/evidence"
)

// TestStoreFull: on a full disk a file fails, is counted and leaves no other file. Files are written again once there is space.
func TestStoreFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mount a file system: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })

	s, _, failed := newStore(t, func(c *evidence.StoreConfig) { c.Dir, c.Bytes = dir, 256<<10 })
	put(t, s, nameOf(1), 40<<10)
	put(t, s, nameOf(2), 40<<10)
	if got := s.Stats(); got.Written != 1 || got.Failed != 1 || !isErr(failed, unix.ENOSPC) {
		t.Errorf("%+v", got)
	}
	if got := namesIn(t, dir); len(got) != 1 || got[0] != nameOf(1) {
		t.Errorf("%q", got)
	}
	if err := os.Remove(dir + "/" + nameOf(1)); err != nil {
		t.Fatal(err)
	}
	put(t, s, nameOf(3), 40<<10)
	eventually.True(t, "a file is written", func() bool { return s.Stats().Written == 2 })
}

// TestStoreReadOnly: a file system without write access is reported at the start, not only at the first finding.
func TestStoreReadOnly(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, "size=64k"); err != nil {
		t.Skipf("mount a file system: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	_, _, failed := newStore(t, func(c *evidence.StoreConfig) { c.Dir = dir })
	eventually.True(t, "the folder is reported", func() bool { return isErr(failed, unix.EROFS) })
}

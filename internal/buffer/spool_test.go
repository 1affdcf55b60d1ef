package buffer

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// openSpool returns a buffer with a spool. It is closed at the end of the test.
func openSpool(t *testing.T, cfg SpoolConfig) *Buffer {
	t.Helper()
	b := New(Config{Spool: &cfg, Setting: "TAP_SPOOL_DIR", Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { closeSpool(b) })
	return b
}

func closeSpool(b *Buffer) {
	select {
	case <-b.spool.stop:
	default:
		b.Close()
	}
	<-b.spool.done // Close waits at most two seconds for this
}

// onDisk waits until n records are on disk.
func onDisk(t *testing.T, b *Buffer, n int) {
	t.Helper()
	eventually.True(t, fmt.Sprintf("%d records on disk", n), func() bool {
		queued, _ := b.queue.len()
		return queued == 0 && b.Stats().Spooled == n
	}, b.Stats)
}

// drain takes and acknowledges all records and returns their IDs.
func drain(b *Buffer) (ids []string) {
	for {
		items := b.Take(All, 100, 1<<20)
		if len(items) == 0 {
			return ids
		}
		for _, it := range items {
			ids = append(ids, it.ID)
		}
		b.Ack(items)
	}
}

// TestSpoolReplay: after a restart, records that were not acknowledged are returned again, once, unchanged and in
// order. Acknowledged records are not returned again.
func TestSpoolReplay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	b := openSpool(t, SpoolConfig{Dir: dir})
	put := map[string]Message{}
	for n := range 400 {
		m := sample(datasets[n%4], n)
		put[m.ID] = m
		b.Put(m)
	}
	onDisk(t, b, 400)
	first := b.Take(All, 100, 1<<20)
	var sent, failed []Item
	for i, it := range first { // every third record is acknowledged, as if one of three partitions were available
		if i%3 == 0 {
			sent = append(sent, it)
		} else {
			failed = append(failed, it)
		}
	}
	b.Ack(sent)
	b.Requeue(failed)
	closeSpool(b)

	again := openSpool(t, SpoolConfig{Dir: dir})
	onDisk(t, again, 400-len(sent))
	if s := again.Stats(); s.Recovered != 400-len(sent) || s.Queued != s.Recovered {
		t.Errorf("%+v", s)
	}
	items := again.Take(All, 1000, 1<<30)
	for _, it := range items {
		m := put[it.ID]
		if it.Dataset != m.Dataset || it.Key != m.Key || string(it.Value) != string(m.Value) || !it.Time.Equal(m.Time) {
			t.Errorf("read %+v, put %+v", it.Message, m)
		}
		delete(put, it.ID)
	}
	if !slices.IsSortedFunc(items, func(a, b Item) int { return int(int64(a.Seq - b.Seq)) }) {
		t.Error("not in order of arrival")
	}
	for _, it := range sent {
		if _, ok := put[it.ID]; !ok {
			t.Errorf("%s was acknowledged and returned again", it.ID)
		}
		delete(put, it.ID)
	}
	if len(put) != 0 {
		t.Errorf("%d records were not returned again", len(put))
	}
	again.Ack(items)
	closeSpool(again)
	if files, _ := filepath.Glob(filepath.Join(dir, "*.spool")); len(files) != 0 {
		t.Errorf("files left: %v", files)
	}
}

// TestSpoolTorn truncates the last record at each of its bytes. The records before it are read, and the last one is
// counted as lost.
func TestSpoolTorn(t *testing.T) {
	dir := t.TempDir()
	b := openSpool(t, SpoolConfig{Dir: dir})
	for n := range 5 {
		b.Put(sample(Finding, n))
	}
	onDisk(t, b, 5)
	closeSpool(b)
	files, _ := filepath.Glob(filepath.Join(dir, "finding-*.spool"))
	if len(files) != 1 {
		t.Fatalf("files: %v", files)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	it := Item{Message: sample(Finding, 4)}
	last := len(appendItem(nil, &it, 4))
	for cut := 1; cut <= last; cut++ {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(files[0])), whole[:len(whole)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		b := openSpool(t, SpoolConfig{Dir: dir})
		onDisk(t, b, 4)
		b.Put(sample(Finding, 5)) // this record follows the damaged one
		onDisk(t, b, 5)
		if s := b.Stats(); s.Reasons[dropSpoolDamaged] != 1 {
			t.Errorf("shortened by %d: %+v", cut, s)
		}
		if got := drain(b); len(got) != 5 || got[4] != sample(Finding, 5).ID {
			t.Errorf("shortened by %d: %v", cut, got)
		}
		closeSpool(b)
	}
}

// TestSpoolDamaged flips one byte at any offset. No wrong record is read. Each missing record is counted as lost, at
// least once.
func TestSpoolDamaged(t *testing.T) {
	dir := t.TempDir()
	b := openSpool(t, SpoolConfig{Dir: dir})
	values := map[string]string{}
	for n := range 4 {
		m := sample(Posture, n)
		values[m.ID] = string(m.Value)
		b.Put(m)
	}
	onDisk(t, b, 4)
	closeSpool(b)
	files, _ := filepath.Glob(filepath.Join(dir, "*.spool"))
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := range whole {
		dir := t.TempDir()
		bad := slices.Clone(whole)
		bad[at] ^= 0x41
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(files[0])), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		b := openSpool(t, SpoolConfig{Dir: dir})
		eventually.True(t, "it is open", func() bool {
			b.spool.mu.Lock()
			defer b.spool.mu.Unlock()
			return b.spool.loaded
		}, b.Stats)
		items := b.Take(All, 100, 1<<20)
		for _, it := range items {
			if values[it.ID] != string(it.Value) {
				t.Errorf("byte %d: %q", at, it.Value)
			}
		}
		if lost := b.Stats().Dropped[Posture]; len(items) < 4 && lost == 0 {
			t.Errorf("byte %d: %d records, none counted as lost", at, len(items))
		}
		b.Ack(items)
		closeSpool(b)
	}
}

// TestSpoolFull: the least important records are evicted, but never findings and tap state. Records that do not fit
// wait in memory, and every record is accounted for.
func TestSpoolFull(t *testing.T) {
	b := openSpool(t, SpoolConfig{Dir: t.TempDir(), MaxBytes: 1})
	big := func(dataset string, n int) Message {
		m := sample(dataset, n)
		m.Value = fmt.Appendf(nil, "%q", strings.Repeat("x", 4000))
		return m
	}
	put := 0
	for n := range 200 {
		for _, dataset := range []string{Flow, Posture} {
			b.Put(big(dataset, n))
			put++
		}
	}

	eventually.True(t, "the queue is empty", func() bool { n, _ := b.queue.len(); return n == 0 }, b.Stats)
	s := b.Stats()
	if s.Dropped[Flow] == 0 || s.SpoolBytes > minSpool || s.Dropped[Flow] < s.Dropped[Posture] || int(sum(s.Dropped))+s.Queued != put {
		t.Errorf("flows and posture: %+v", s)
	}
	for n := range 300 {
		b.Put(big(datasets[n%2*2], n)) // a finding or a record of the tap
		put++
	}
	eventually.True(t, "it is full", func() bool { return strings.Contains(b.Stats().SpoolReason, "full") }, b.Stats)
	s = b.Stats()
	if s.Dropped[Finding]+s.Dropped[Tap] != 0 || s.SpoolBytes > minSpool || s.Spooled == s.Queued || int(sum(s.Dropped))+s.Queued != put {
		t.Errorf("findings and tap state: %+v", s)
	}
	got := 0
	eventually.True(t, "all records are taken, from disk and memory", func() bool { got += len(drain(b)); return got >= s.Queued }, b.Stats)
	if s := b.Stats(); got+int(sum(s.Dropped)) != put || s.Queued != 0 || s.Dropped[Finding]+s.Dropped[Tap] != 0 {
		t.Errorf("took %d of %d: %+v", got, put, s)
	}
	b.Put(sample(Tap, 0))
	eventually.True(t, "it is no longer full", func() bool { s := b.Stats(); return s.SpoolReason == "" && s.Spooled == 1 }, b.Stats)
}

// TestSpoolLocked: a directory belongs to one sink. Another sink continues in memory, and takes over the directory when
// the lock ends.
func TestSpoolLocked(t *testing.T) {
	dir := t.TempDir()
	a := openSpool(t, SpoolConfig{Dir: dir})
	a.Put(sample(Finding, 1))
	onDisk(t, a, 1)
	b := openSpool(t, SpoolConfig{Dir: dir})
	b.Put(sample(Finding, 2))
	eventually.True(t, "refused", func() bool {
		s := b.Stats()
		return strings.Contains(s.SpoolReason, "locked by another tap: see TAP_SPOOL_DIR") && s.Queued == 1 && s.Spooled == 0
	}, b.Stats)
	if items := b.Take(All, 10, 1<<20); len(items) != 1 || items[0].disk != nil {
		t.Errorf("took %d", len(items))
	} else {
		b.Requeue(items)
	}
	closeSpool(a)
	onDisk(t, b, 2)
	if s := b.Stats(); s.Recovered != 1 || s.SpoolReason != "" {
		t.Errorf("%+v", s)
	}
}

// TestSpoolNoSpace: a full disk loses no records. They wait in memory and move to the disk when it has space
// again.
func TestSpoolNoSpace(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	filler := filepath.Join(dir, "filler")
	b := openSpool(t, SpoolConfig{Dir: dir, MaxBytes: 64 << 20})
	b.Put(sample(Finding, 0))
	onDisk(t, b, 1)
	f, err := os.Create(filler)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	for n := range 200 {
		b.Put(sample(Finding, 1+n))
	}
	eventually.True(t, "no space", func() bool {
		s := b.Stats()
		return strings.Contains(s.SpoolReason, "no space left on device") && s.Queued == 201
	}, b.Stats)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	onDisk(t, b, 201)
	if got := drain(b); len(got) != 201 || len(slices.Compact(slices.Sorted(slices.Values(got)))) != 201 {
		t.Errorf("%d records", len(got))
	}
}

// TestEvidenceIsNotSpooled: evidence waits in memory, is sent from there although the spool works, and does not survive a restart.
func TestEvidenceIsNotSpooled(t *testing.T) {
	dir := t.TempDir()
	b := openSpool(t, SpoolConfig{Dir: dir})
	file := &File{Name: "a.pcapng", SHA256: "00"}
	for n := range 2 {
		b.Put(Message{Dataset: Evidence, ID: fmt.Sprint("evidence", n), Value: []byte("\n\r\r\n" + recordMagic), File: file})
	}
	b.Put(sample(Finding, 0))
	eventually.True(t, "the finding is on disk", func() bool { return b.Stats().Spooled == 1 }, b.Stats)
	if n, _ := b.Waiting(SetOf(Evidence)); n != 2 || b.Unspooled() != 2 {
		t.Errorf("%d files wait, %d in memory", n, b.Unspooled())
	}
	items := b.Take(SetOf(Evidence), 1, 1<<20)
	if len(items) != 1 || items[0].ID != "evidence0" || items[0].File != file || items[0].disk != nil {
		t.Fatalf("%+v", items)
	}
	b.Ack(items)
	if s := b.Stats(); s.Delivered[Evidence] != 1 || s.Queued != 2 {
		t.Errorf("%+v", s)
	}
	closeSpool(b)
	if got := drain(openSpoolLoaded(t, dir)); !slices.Equal(got, []string{sample(Finding, 0).ID}) {
		t.Errorf("after a restart: %q", got)
	}
}

// openSpoolLoaded returns a buffer whose spool has read its folder.
func openSpoolLoaded(t *testing.T, dir string) *Buffer {
	t.Helper()
	b := openSpool(t, SpoolConfig{Dir: dir})
	eventually.True(t, "the spool is read", func() bool { return b.Stats().Recovered > 0 }, b.Stats)
	return b
}

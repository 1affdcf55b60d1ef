package buffer

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// In a child process the test binary puts one record after another into a spool until it is killed. After each record
// it prints how many records are only in memory.
func init() {
	dir := os.Getenv("MESHTLS_SPOOLER")
	if dir == "" {
		return
	}
	b := New(Config{Spool: &SpoolConfig{Dir: dir}, Log: slog.New(slog.DiscardHandler)})
	for n := 0; ; n++ {
		b.Put(sample(datasets[n%4], n))
		left, _ := b.queue.len()
		fmt.Println(n, left)
		time.Sleep(2 * time.Millisecond) // with this pause the allowance suffices if the machine is not busy
	}
}

// TestSpoolKilled: SIGKILL loses no record for which Put waited. On a busy machine Put's allowance may be used up.
// Then records that were only in memory when Put returned may be lost, and the process has reported their number.
func TestSpoolKilled(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		dir := filepath.Join(dir, fmt.Sprint(round))
		put, safe := spoolAndKill(t, dir, 300+rand.N(300))
		b := openSpool(t, SpoolConfig{Dir: dir})
		b.Put(sample(Tap, -1)) // the last record
		got := map[string]bool{}
		eventually.True(t, "all records are read", func() bool {
			for _, id := range drain(b) {
				got[id] = true
			}
			return got[sample(Tap, -1).ID]
		}, b.Stats)
		closeSpool(b)
		missing := 0
		for n := range put {
			if got[sample(datasets[n%4], n).ID] {
				continue
			}
			missing++
			if n < safe {
				t.Errorf("record %d of %d was on disk and is lost", n, put)
			}
		}

		t.Logf("killed: put %d, on disk when Put returned %d, missing %d", put, safe, missing)
	}
}

// spoolAndKill starts a process that puts records into a spool. It kills the process once the given number of records is on
// disk. It returns how many records the process put, and how many of the first ones were on disk according to the process.
func spoolAndKill(t *testing.T, dir string, records int) (put, safe int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MESHTLS_SPOOLER="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(eventually.Limit, func() { cmd.Process.Kill() })
	for in := bufio.NewScanner(out); in.Scan(); {
		var n, left int
		if k, _ := fmt.Sscan(in.Text(), &n, &left); k != 2 || n != put {
			break // an incomplete line
		}
		put++
		if left == 0 {
			safe = put
		}
		if safe == put && put >= records {
			cmd.Process.Kill()
		}
	}

	cmd.Wait()
	if !late.Stop() || safe < records {
		t.Fatalf("of %d records put %d were on disk within %v", put, safe, eventually.Limit)
	}
	return put, safe
}

// TestSpoolProperty runs random operations on a spool and compares the results with a model. The spool is reopened many
// times, after Close or in the state after SIGKILL. Each record that was put and not acknowledged is returned again. No
// acknowledged record is returned again.
func TestSpoolProperty(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { spoolProperty(t, rand.New(rand.NewPCG(seed, 9))) })
	}
}

func spoolProperty(t *testing.T, chance *rand.Rand) {
	dir := t.TempDir()
	b := openSpool(t, SpoolConfig{Dir: dir, MaxBytes: 64 << 20})
	open := map[string]bool{} // records put and not acknowledged
	acked := map[string]bool{}
	var taken []Item
	n := 0
	for range 120 {
		switch chance.IntN(6) {
		case 0, 1:
			for range chance.IntN(200) {
				m := sample(datasets[chance.IntN(4)], n)
				m.Value = append(m.Value, make([]byte, chance.IntN(3000))...)
				b.Put(m)
				open[m.ID] = true
				n++
			}
		case 2:
			taken = append(taken, b.Take(Set(1+chance.IntN(int(All))), 1+chance.IntN(150), 1<<20)...)
		case 3: // some records are acknowledged, the others requeued
			var sent, failed []Item
			for _, it := range taken {
				if chance.IntN(3) > 0 {
					sent = append(sent, it)
					delete(open, it.ID)
					acked[it.ID] = true
				} else {
					failed = append(failed, it)
				}
			}
			b.Ack(sent)
			b.Requeue(failed)
			taken = nil
		case 4:
			if chance.IntN(4) > 0 {
				continue
			}
			onDisk(t, b, len(open))
			if chance.IntN(2) == 0 {
				closeSpool(b)
			} else {
				dir = copied(t, dir) // the state after SIGKILL
			}
			taken, b = nil, openSpool(t, SpoolConfig{Dir: dir, MaxBytes: 64 << 20})
		case 5:
			if s := b.Stats(); s.Queued > len(open) {
				t.Fatalf("%d queued, want at most %d: %+v", s.Queued, len(open), s)
			}
		}
	}

	b.Requeue(taken)
	onDisk(t, b, len(open))
	for _, id := range drain(b) {
		if acked[id] {
			t.Errorf("%s was acknowledged and returned again", id)
		}
		delete(open, id)
		acked[id] = true
	}

	if len(open) != 0 || sum(b.Stats().Dropped) != 0 {
		t.Errorf("%d records lost: %+v", len(open), b.Stats())
	}
}

// copied copies a spool's files.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	files, _ := filepath.Glob(filepath.Join(dir, "*.spool"))
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(f)), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// FuzzSegment: no bytes of a spool file cause a panic. Records that were read can be read again.
func FuzzSegment(f *testing.F) {
	it := Item{Message: sample(Finding, 1), priority: finding}
	g, err := createSegment(f.TempDir(), finding, 1)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := g.file.WriteAt(appendItem(appendItem(nil, &it, 0), &it, 1), segmentHeader); err != nil {
		f.Fatal(err)
	}
	g.file.Close()
	good, err := os.ReadFile(g.file.Name())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte(segmentMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), segmentName(finding, 1))
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		g, _, err := openSegment(file, 1)
		if err != nil {
			return
		}
		left := g.left
		items, next := g.read(g.cursor, g.size, finding, 1<<30)
		g.file.Close()
		if len(items) != left || next != g.size {
			t.Errorf("read %d records of %d, up to byte %d of %d", len(items), left, next, g.size)
		}
		again, lost, err := openSegment(file, 1)
		if err != nil || lost != 0 && !g.old || again.left != left {
			t.Fatalf("reopened: %v, %d more are lost, %d records and then %d", err, lost, left, again.left)
		}
		again.file.Close()
	})
}

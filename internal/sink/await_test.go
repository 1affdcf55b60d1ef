package sink

import (
	"fmt"
	"testing"
	"time"
)

func TestAllowance(t *testing.T) {
	var a allowance
	now := time.Now()
	for _, step := range []struct {
		after, want, spend time.Duration
	}{
		{0, waitMost, 20 * time.Millisecond},
		{0, 30 * time.Millisecond, 30 * time.Millisecond},
		{0, 0, 10 * time.Millisecond}, // a wait ends late
		{100 * time.Millisecond, 0, 0},
		{100 * time.Millisecond, 10 * time.Millisecond, 0},
		{time.Hour, waitMost, 0},
	} {
		now = now.Add(step.after)
		if got := a.left(now); got != step.want {
			t.Errorf("after %v: %v, want %v", step.after, got, step.want)
		}
		a.spend(step.spend)
	}
}

// TestPutIsOnDisk: what Put returned for, a second spool would find.
func TestPutIsOnDisk(t *testing.T) {
	b := openSpool(t, SpoolConfig{Dir: t.TempDir()})
	defer closeSpool(b)
	eventually(t, "the spool is ready", func() bool { b.spool.mu.Lock(); defer b.spool.mu.Unlock(); return b.spool.ready })
	missed := 0
	const records = 200
	for n := range records {
		b.spool.allowance = allowance{}
		if !b.Put(sample(datasets[n%4], n)) {
			t.Fatal("refused")
		}
		if left, _ := b.Len(); left > 0 {
			missed++
		}
	}
	t.Logf("%d of %d records were in memory alone when Put returned", missed, records)
	if missed > records/10 { // a busy machine
		t.Errorf("Put does not wait")
	}
}

// TestDiskHangs: a disk that takes nothing costs Put its allowance and no more.
func TestDiskHangs(t *testing.T) {
	b := backlog{Queue: NewQueue(0, 0), spool: &spool{}} // its goroutine does not run
	begun := time.Now()
	const records = 200
	for n := range records {
		b.Put(sample(Flow, n))
	}
	took := time.Since(begun)
	t.Logf("%d records in %v", records, took)
	if took > records*waitMost/4 { // 50 ms once, and a tenth of the time
		t.Errorf("Put waited for %v", took)
	}
	for name, stuck := range map[string]*spool{"it failed": {reason: "no space left"}, "it is full": {full: allKinds}} {
		b.spool = stuck
		b.Put(sample(Flow, 0))
		if stuck.allowance.spent > waitMost/2 || stuck.moved != nil {
			t.Errorf("%s: Put waited for %v", name, fmt.Sprint(stuck.allowance.spent))
		}
	}
}

package buffer

import (
	"testing"
	"testing/synctest"
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
		{0, 0, 10 * time.Millisecond}, // a wait that ends late
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

// TestPutIsOnDisk: when Put returns, a second spool would find the record. Put waits only for the disk. In the
// synctest bubble the clock stops while the spool's goroutine works, so the speed of disk and machine has no
// effect.
func TestPutIsOnDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := openSpool(t, SpoolConfig{Dir: dir})
		synctest.Wait() // the spool is ready
		begun := time.Now()
		for n := range 200 {
			if !b.Put(sample(datasets[n%4], n)) {
				t.Fatal("refused")
			}
			if left, _ := b.queue.len(); left > 0 {
				t.Fatalf("Put returned for record %d, and it is only in memory", n)
			}
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("Put waited for %v that were not the disk's", took)
		}
	})
}

// TestDiskHangs: if the disk writes nothing, Put is delayed by at most its allowance.
func TestDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Buffer{queue: newQueue(0, 0), spool: &spool{}} // without the spool's goroutine
		begun := time.Now()
		const records, every = 200, time.Millisecond
		for n := range records {
			b.Put(sample(Flow, n))
			time.Sleep(every)
		}
		took := time.Since(begun)
		waited := took - records*every
		t.Logf("%d records in %v, %v of it waited", records, took, waited)
		if waited < waitMost || waited > waitMost+took/waitShare {
			t.Errorf("Put waited for %v", waited)
		}
		for name, stuck := range map[string]*spool{"it failed": {reason: "no space left"}, "it is full": {full: All}} {
			b.spool = stuck
			begun := time.Now()
			b.Put(sample(Flow, 0))
			if took := time.Since(begun); took > 0 || stuck.progress != nil {
				t.Errorf("%s: Put waited for %v", name, took)
			}
		}
	})
}

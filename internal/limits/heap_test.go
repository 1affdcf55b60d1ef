package limits

import (
	"runtime"
	"testing"
)

// TestTrim: what is left behind goes back once the collector has nothing to do, and not before; and nothing is done for little.
func TestTrim(t *testing.T) {
	var m runtime.MemStats
	now := func() uint64 {
		runtime.ReadMemStats(&m)
		return resident(&m)
	}
	heap := &Heap{}
	heap.Trim()
	heap.Trim()
	const size = 64 << 20
	litter := make([]byte, size)
	for i := range litter {
		litter[i] = 1
	}
	runtime.KeepAlive(litter)
	runtime.GC() // the collector was at work
	full := now()
	cycles := m.NumGC
	heap.Trim()
	if now(); m.NumGC != cycles {
		t.Error("a collection right behind another")
	}
	heap.Trim()
	if left := now(); left > full-size/2 || m.NumGC == cycles {
		t.Errorf("%d bytes of the heap are left of %d", left, full)
	}
	cycles = m.NumGC
	heap.Trim()
	if now(); m.NumGC != cycles {
		t.Error("a collection for nothing")
	}
}

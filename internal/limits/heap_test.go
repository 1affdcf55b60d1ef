package limits

import (
	"runtime"
	"testing"
)

// TestTrim: Trim returns unused memory if no collection has run since the last call. It does nothing for a small amount.
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
	runtime.GC() // a collection has run since the last Trim
	full := now()
	cycles := m.NumGC
	heap.Trim()
	if now(); m.NumGC != cycles {
		t.Error("Trim ran a collection right after another one")
	}
	heap.Trim()
	if left := now(); left > full-size/2 || m.NumGC == cycles {
		t.Errorf("%d bytes of the heap are left of %d", left, full)
	}
	cycles = m.NumGC
	heap.Trim()
	if now(); m.NumGC != cycles {
		t.Error("Trim ran a collection without unused memory")
	}
}

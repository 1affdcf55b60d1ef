package limits

import (
	"runtime"
	"runtime/debug"
)

// Heap returns memory to the node that a burst of connections has left unused: the runtime
// itself keeps as much as its next collection may need, which is half of the heap again. The
// zero value is ready to use, by one goroutine.
type Heap struct {
	cycles uint32 // of the collector, at the last Trim
	kept   uint64 // bytes of the heap that were resident after memory was last returned
}

// trimStep is the least number of bytes to return: a collection of 10,000 connections takes
// some 10 ms.
const trimStep = 2 << 20

// Trim returns unused memory, unless the collector has worked since the last call. Call it
// every few seconds.
func (h *Heap) Trim() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	quiet := m.NumGC == h.cycles
	h.cycles = m.NumGC
	if !quiet || resident(&m) < h.kept+trimStep {
		return
	}
	debug.FreeOSMemory()
	runtime.ReadMemStats(&m)
	h.cycles, h.kept = m.NumGC, resident(&m)
}

// resident returns how many bytes of the heap are not returned to the node.
func resident(m *runtime.MemStats) uint64 { return m.HeapSys - m.HeapReleased }

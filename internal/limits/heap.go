package limits

import (
	"runtime"
	"runtime/debug"
)

// Heap returns unused memory to the node, for example after a burst of connections. By itself the
// runtime retains one and a half times the present size of the heap, because the heap may grow to that
// size before its next collection. The zero value is ready to use. It is not safe for concurrent use.
type Heap struct {
	cycles uint32 // number of collections at the last Trim
	kept   uint64 // resident bytes of the heap after Trim last returned memory
}

// trimStep is how many bytes the resident heap must have grown before Trim returns memory. To return
// memory a collection is needed, which takes some 10 ms for 10,000 connections.
const trimStep = 2 << 20

// Trim returns unused memory to the node if there has been no collection since the last call. Call it every few
// seconds.
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

// resident returns how many bytes of the heap have not been returned to the node.
func resident(m *runtime.MemStats) uint64 { return m.HeapSys - m.HeapReleased }

package main

import (
	"runtime"
	"runtime/debug"
)

// trimmer gives memory back to the node that a burst of connections has left, once it is
// quiet: the runtime itself keeps what its next collection may need, which is half of the
// heap again.
type trimmer struct {
	cycles uint32 // of the collector, at the last look
	kept   uint64 // of the heap, resident after the last time, bytes
}

// trimStep is how much it has to be worth, bytes: a collection of 10,000 connections
// takes some 10 ms.
const trimStep = 2 << 20

// look is to be called every few seconds. While the collector has work nothing is done.
func (t *trimmer) look() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	quiet := m.NumGC == t.cycles
	t.cycles = m.NumGC
	if !quiet || resident(&m) < t.kept+trimStep {
		return
	}
	debug.FreeOSMemory()
	runtime.ReadMemStats(&m)
	t.cycles, t.kept = m.NumGC, resident(&m)
}

// resident is what of the heap is not given back.
func resident(m *runtime.MemStats) uint64 { return m.HeapSys - m.HeapReleased }

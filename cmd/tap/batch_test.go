package main

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
)

// TestBatch: later reads do not overwrite the packets of a batch, and a batch has no packet that
// the filter rejects.
func TestBatch(t *testing.T) {
	w := capturetest.LittleBlocks
	file := append(append(w.Words(0xa1b2c3d4), 2, 0, 4, 0), w.Words(0, 0, 256<<10, 101)...)
	const packets, size = 3000, 400
	for i := range uint32(packets) {
		data := make([]byte, size)
		data[0], data[9], data[3] = 0x45, 17, byte(size>>8)
		copy(data[24:], w.Words(i))
		file = append(append(file, w.Words(i, 0, size, size)...), data...)
	}
	for expression, every := range map[string]uint32{"": 1, "ip[24] & 1 = 0": 2} {
		f, err := parseFilter(expression)
		if err != nil {
			t.Fatal(err)
		}
		c, err := pcapfile.NewReader(iotest.HalfReader(bytes.NewReader(file)))
		if err != nil {
			t.Fatal(err)
		}
		r := newReading(t.Context(), readOptions{filter: f}, streams{out: io.Discard})
		b := batch{file: c, progress: &progress{}, devices: map[pcapfile.Device]uint16{}}
		next, full := uint32(0), 0
		for b.err == nil {
			got := r.batch(&b)
			for i := range got {
				if want := int64(next) * 1e9; got[i].Time != want || !bytes.Equal(got[i].Data[24:28], w.Words(next)) {
					t.Fatalf("%q: a packet of %d ns, want %d with its bytes", expression, got[i].Time, want)
				}
				next += every
			}
			if len(got) == len(b.packets) {
				full++
			}
		}
		if next != packets || full < int(packets/every)/len(b.packets)/2 {
			t.Errorf("%q: %d packets and %d full batches, then %v", expression, next, full, b.err)
		}
	}
}

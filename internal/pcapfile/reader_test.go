package pcapfile

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// readOut returns the contents of a capture: a line for each packet, and one for the error that ends it. If quick is
// set, packets that are completely in the buffer are read by the fast path.
func readOut(r io.Reader, quick bool) (lines []string) {
	c, err := NewReader(r)
	for err == nil {
		var p flow.Packet
		iface := 0
		if !quick || !c.NextBuffered(&p) {
			iface, err = c.Next(&p)
		}
		if err == nil {
			lines = append(lines, fmt.Sprint(p.Time, p.Length, len(p.Data), crc32.ChecksumIEEE(p.Data), p.Link, p.Decapsulate, p.Zone, iface, c.packets))
		}
	}
	return append(lines, err.Error())
}

// TestNextBuffered: the fast path reads the same packets as Next, at any position in the buffer and for any truncation
// of the file.
func TestNextBuffered(t *testing.T) {
	w, r := capturetest.LittleBlocks, rand.New(rand.NewPCG(1, 2))
	head := append(append(w.Words(pcapMicro), 2, 0, 4, 0), w.Words(0, 0, maxPacket, 1)...)
	file := slices.Clone(head)
	for i := range 400 {
		n := r.Uint32N(3000)
		if i%40 == 7 {
			n = maxPacket - r.Uint32N(30)
		}
		data := make([]byte, n)
		for k := 0; k < len(data); k += 61 {
			data[k] = byte(r.Uint32())
		}
		file = append(append(file, w.Words(uint32(i), r.Uint32N(1e6), n, n+r.Uint32N(9))...), data...)
	}

	broken := append(append(slices.Clone(head), w.Words(1, 2, 3, 3)...), 'a', 'b', 'c')
	for _, f := range [][]byte{
		file, file[:len(file)-1], file[:len(file)-20], append(slices.Clone(file), 1, 2, 3), append(slices.Clone(file), w.Words(1, 2, 3)...), head,
		append(slices.Clone(broken), w.Words(1, 2, maxPacket+1, maxPacket+1)...), append(slices.Clone(broken), w.Words(1, 2, 9, 3)...), append(slices.Clone(broken), broken[24:]...),
	} {
		want := readOut(bytes.NewReader(f), false)
		for name, in := range map[string]io.Reader{"whole": bytes.NewReader(f), "in halves": iotest.HalfReader(bytes.NewReader(f)), "with its end": iotest.DataErrReader(bytes.NewReader(f))} {
			if got := readOut(in, true); !slices.Equal(got, want) {
				t.Errorf("%d bytes read %s: %d packets, then %s; want %d, then %s", len(f), name, len(got)-1, got[len(got)-1], len(want)-1, want[len(want)-1])
			}
		}
	}
}

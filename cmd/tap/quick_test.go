package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// readOut returns the content of a capture: a line for each packet, and one for the error that
// ends it. With quick, packets that are completely in the buffer are read by the fast path.
func readOut(r io.Reader, quick bool) (lines []string) {
	c, err := openCapture(r)
	for err == nil {
		var p flow.Packet
		iface := 0
		if !quick || !c.quick(&p) {
			iface, err = c.next(&p)
		}
		if err == nil {
			lines = append(lines, fmt.Sprint(p.Time, p.Length, len(p.Data), crc32.ChecksumIEEE(p.Data), p.Link, p.Tunnels, p.Zone, iface, c.packets))
		}
	}
	return append(lines, err.Error())
}

// TestQuick: the fast path reads the same packets as next, for any place in the buffer and any
// end of the file.
func TestQuick(t *testing.T) {
	w, r := littleBlocks, rand.New(rand.NewPCG(1, 2))
	head := append(append(w.words(pcapMicro), 2, 0, 4, 0), w.words(0, 0, maxPacket, 1)...)
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
		file = append(append(file, w.words(uint32(i), r.Uint32N(1e6), n, n+r.Uint32N(9))...), data...)
	}
	broken := append(append(slices.Clone(head), w.words(1, 2, 3, 3)...), 'a', 'b', 'c')
	for _, f := range [][]byte{
		file, file[:len(file)-1], file[:len(file)-20], append(slices.Clone(file), 1, 2, 3), append(slices.Clone(file), w.words(1, 2, 3)...), head,
		append(slices.Clone(broken), w.words(1, 2, maxPacket+1, maxPacket+1)...), append(slices.Clone(broken), w.words(1, 2, 9, 3)...), append(slices.Clone(broken), broken[24:]...),
	} {
		want := readOut(bytes.NewReader(f), false)
		for name, in := range map[string]io.Reader{"whole": bytes.NewReader(f), "by halves": iotest.HalfReader(bytes.NewReader(f)), "with its end": iotest.DataErrReader(bytes.NewReader(f))} {
			if got := readOut(in, true); !slices.Equal(got, want) {
				t.Errorf("%d bytes read %s: %d packets, then %s; want %d, then %s", len(f), name, len(got)-1, got[len(got)-1], len(want)-1, want[len(want)-1])
			}
		}
	}
}

// TestBatch: later reads overwrite no packet of a batch, and a batch has no packet that the
// filter rejects.
func TestBatch(t *testing.T) {
	w := littleBlocks
	file := append(append(w.words(pcapMicro), 2, 0, 4, 0), w.words(0, 0, maxPacket, 101)...)
	const packets, size = 3000, 400
	for i := range uint32(packets) {
		data := make([]byte, size)
		data[0], data[9], data[3] = 0x45, 17, byte(size>>8)
		copy(data[24:], w.words(i))
		file = append(append(file, w.words(i, 0, size, size)...), data...)
	}
	for expression, every := range map[string]uint32{"": 1, "ip[24] & 1 = 0": 2} {
		f, err := parseFilter(expression)
		if err != nil {
			t.Fatal(err)
		}
		c, err := openCapture(iotest.HalfReader(bytes.NewReader(file)))
		if err != nil {
			t.Fatal(err)
		}
		r := newReading(readOptions{filter: f}, streams{out: io.Discard})
		b := batch{capture: c, progress: &progress{}, names: map[device]uint16{}}
		next, full := uint32(0), 0
		for b.err == nil {
			got := r.batch(&b)
			for i := range got {
				if want := int64(next) * 1e9; got[i].Time != want || !bytes.Equal(got[i].Data[24:28], w.words(next)) {
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

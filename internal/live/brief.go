package live

import (
	"errors"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

const (
	// briefRing is the size in bytes of the ring of CaptureLoopback, and briefBlock that of a block. While the reader gets no CPU
	// time, the kernel fills one block in each briefRetire, so the ring has space for at least 64 packets. A packet of more than
	// about 4,000 bytes is truncated.
	briefRing  = 256 << 10
	briefBlock = 4 << 10

	// briefRetire is how long a packet may wait in the ring of CaptureLoopback.
	briefRetire = time.Millisecond
)

// CaptureLoopback captures on lo into p. It processes packets as a Capture does, but has a ring of its own, which passes each packet
// on within about a millisecond. It returns once packets are captured. The caller must call stop, which does not wait: the kernel
// takes some 20 ms to release a ring.
func CaptureLoopback(filter func(pcapfilter.Config) (pcapfilter.Program, error), p *pipeline.Pipeline) (stop func(), err error) {
	link, err := afpacket.Link(Loopback)
	if err != nil {
		return nil, err
	}
	program, err := filter(pcapfilter.Config{Link: link, Live: true})
	if err != nil {
		return nil, err
	}

	cfg := afpacket.Config{Interface: Loopback, Filter: program, RingBytes: briefRing, BlockBytes: briefBlock, Retire: briefRetire}
	var unapplied pcapfilter.Program
	ring, err := afpacket.Open(cfg)
	if errors.Is(err, afpacket.ErrFilterMemory) {
		cfg.Filter, unapplied = nil, program
		ring, err = afpacket.Open(cfg)
	}
	if err != nil {
		return nil, err
	}

	i := &Interface{name: Loopback, capture: &Capture{pipeline: p}}
	p.Do(func(l *pipeline.Locked) { i.index = l.AddInterface(Loopback) })
	go func() {
		_ = ring.Run(func(b *afpacket.Block) { i.addBlock(link, unapplied, b) }) // after an error no more packets arrive
	}()
	return func() { ring.Close() }, nil
}

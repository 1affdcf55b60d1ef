package offline

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// maxEdges bounds the edges of a capture, each of which takes about 4 KB. The connections of further edges are counted together.
const maxEdges = 1 << 16

// identityPackets is the number of packets that identify a capture, for event.id.
const identityPackets = 64

// capturing is the reading of one capture.
type capturing struct {
	file     *pcapfile.Reader
	pipeline *pipeline.Pipeline
	devices  map[pcapfile.Device]uint16
	packets  [flow.MaxPrefetch]flow.Packet
	err      error // why no packet follows; io.EOF at the end
}

// capture judges a capture.
func capture(ctx context.Context, in io.Reader, run string, add func(*record.Record)) error {
	file, err := pcapfile.NewReader(in)
	if err != nil {
		return err
	}
	c := &capturing{file: file, devices: map[pcapfile.Device]uint16{}, pipeline: pipeline.New(pipeline.Config{
		Loopback: []string{"lo", "lo0"},
		Engine: finding.Config{
			Tap: "read", Unfold: true, MaxEdges: maxEdges, Announcements: -1,
			Findings: true, Posture: true, Flows: true, Reuse: true,
			Emit: func(finding.Record) {}, // add has it already
			Encode: func(b []byte, r *record.Record) []byte {
				r.Meshtls.Run = run
				add(r)
				r.Meshtls.Run = ""
				return b
			},
		},
	})}
	identity := sha256.New()
	for left := identityPackets; c.err == nil && ctx.Err() == nil; {
		packets := c.batch()
		for ; left > 0 && len(packets) > 0; left-- { // one by one, so that each record has the identity that is due at its packet
			p := packets[0]
			identity.Write(binary.BigEndian.AppendUint64(nil, uint64(p.Time)))
			identity.Write(p.Data)
			c.pipeline.Do(func(l *pipeline.Locked) { l.Engine.Capture(identity.Sum(nil)) })
			c.pipeline.Add(p)
			packets = packets[1:]
		}
		c.pipeline.Add(packets...)
	}
	c.pipeline.Flush()
	c.pipeline.Do(func(l *pipeline.Locked) { l.Engine.Flush(l.Latest()) })
	switch {
	case errors.Is(c.err, io.EOF):
		c.err = nil
	case c.err == nil:
		c.err = errInterrupted(ctx, fmt.Sprintf("packet %d", c.file.Packets()))
	}
	if n := c.pipeline.Stats().Panics; n > 0 {
		c.err = errors.Join(c.err, fmt.Errorf("%s caused a fault of this program, and what was known of the connections until then is lost: please report it", counted(n, "packet")))
	}
	return errors.Join(c.err, c.file.Skipped())
}

// batch returns the next packets that are in the reader's buffer. They are valid until the next call.
func (c *capturing) batch() []flow.Packet {
	n := 0
	for n < len(c.packets) {
		p, iface := &c.packets[n], 0
		if !c.file.NextBuffered(p) {
			if n > 0 {
				break // Next may overwrite the previous packets
			}
			if iface, c.err = c.file.Next(p); c.err != nil {
				break
			}
		}
		p.Interface = c.number(c.file.Device(p, iface))
		n++
	}
	return c.packets[:n]
}

// number returns the number that the pipeline has for a device.
func (c *capturing) number(d pcapfile.Device) uint16 {
	n, ok := c.devices[d]
	if !ok {
		c.pipeline.Do(func(p *pipeline.Locked) { n = p.AddInterface(d.Name()) })
		if len(c.devices) < pipeline.MaxInterfaces {
			c.devices[d] = n
		}
	}
	return n
}

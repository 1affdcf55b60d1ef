package main

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// identityPackets is the number of packets of each file that enter the identity of what is read. At the time of a
// record, the identity is the hash of those that precede it: so it does not depend on how a pipe divides the
// packets, and the start of a capture that is still written to gives the same IDs as the whole.
const identityPackets = 64

// captureIdentity identifies captures by their first packets, for event.id. Equal copies of a capture have the
// same identity. The captures of two interfaces differ at least in their times.
type captureIdentity struct {
	sum  hash.Hash
	left int // packets of this file that are still to be added
	now  []byte
}

func newCaptureIdentity() captureIdentity { return captureIdentity{sum: sha256.New()} }

// startFile prepares for the first packet of a further file.
func (c *captureIdentity) startFile() { c.left = identityPackets }

// add adds a packet. The returned bytes are valid until the next call.
func (c *captureIdentity) add(p *flow.Packet) []byte {
	var head [16]byte
	binary.BigEndian.PutUint64(head[:], uint64(p.Time))
	binary.BigEndian.PutUint32(head[8:], uint32(p.Length))
	binary.BigEndian.PutUint32(head[12:], uint32(len(p.Data)))
	c.sum.Write(head[:])
	c.sum.Write(p.Data)
	c.left--
	c.now = c.sum.Sum(c.now[:0])
	return c.now
}

// add passes packets to the pipeline. The first ones of a file are passed one by one, so that each record has the
// identity that is due at its packet.
func (r *reading) add(packets []flow.Packet) {
	for r.identity.left > 0 && len(packets) > 0 {
		identity := r.identity.add(&packets[0])
		r.pipeline.Do(func(p *pipeline.Locked) {
			p.Engine.Capture(identity)
			p.Add(packets[:1])
		})
		packets = packets[1:]
	}
	r.pipeline.Add(packets...)
}

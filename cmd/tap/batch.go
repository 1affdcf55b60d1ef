package main

import (
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// batch is a sequence of packets of a capture file that are in the reader's buffer at the same
// time.
type batch struct {
	file     *pcapfile.Reader
	progress *progress
	devices  map[pcapfile.Device]uint16
	last     pcapfile.Device // the device that captured the previous packet
	number   uint16          // the number that this run gave to the device in last
	packets  [flow.MaxPrefetch]flow.Packet
	err      error // why no packet follows; io.EOF at the end
}

// batch returns the next packets that pass the filter, but only those that are already in the
// buffer. They are valid until the next call.
func (r *reading) batch(b *batch) []flow.Packet {
	n := 0
	for n < len(b.packets) {
		p, iface := &b.packets[n], 0
		if !b.file.NextBuffered(p) {
			if n > 0 {
				break // Next may overwrite the previous packets
			}
			if iface, b.err = b.file.Next(p); b.err != nil {
				break
			}
		}

		b.progress.step(b.file)
		if r.filter.filter != nil {
			passes, err := r.filter.passes(p)
			if b.err = err; err != nil {
				break
			}
			if !passes {
				continue
			}
		}
		p.Interface = r.interfaceOf(b, p, iface)
		n++
	}
	return b.packets[:n]
}

// interfaceOf returns the number that this run uses for the interface that captured p. iface is the number in
// the file.
func (r *reading) interfaceOf(b *batch, p *flow.Packet, iface int) uint16 {
	if d := b.file.Device(p, iface); d != b.last || len(b.devices) == 0 {
		b.last, b.number = d, r.number(b.devices, d)
	}
	return b.number
}

// number returns the number of a device in this run.
func (r *reading) number(devices map[pcapfile.Device]uint16, d pcapfile.Device) uint16 {
	n, ok := devices[d]
	if ok {
		return n
	}
	r.pipeline.Do(func(p *pipeline.Locked) { n = p.AddInterface(d.Name()) })
	if len(devices) < pipeline.MaxInterfaces {
		devices[d] = n
	}
	return n
}

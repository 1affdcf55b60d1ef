package main

import (
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/live"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// batch is a sequence of packets of a capture file that are in the reader's buffer at the same
// time.
type batch struct {
	file     *pcapfile.Reader
	progress *progress
	names    map[device]uint16
	last     device // the device that captured the previous packet
	number   uint16 // the number that this run gave to the device in last
	packets  [flow.MaxPrefetch]flow.Packet
	err      error // why no packet follows; io.EOF at the end

	checked bool // routed is known
	routed  bool // frames between zero addresses come from a device other than lo
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
	name := ""
	if b.file.HasInterfaces() {
		name = b.file.InterfaceName(iface)
	}

	lo := b.onLoopback(p, name)
	if !b.file.HasInterfaces() && lo == b.last.loopback && len(b.names) > 0 {
		return b.number
	}
	d := device{iface: iface, name: name, loopback: lo}
	if d != b.last || len(b.names) == 0 {
		b.last, b.number = d, r.number(b.names, d)
	}
	return b.number
}

// device identifies an interface of a file. The interface "any" stands for two devices, lo and everything else. Each section of a
// pcapng file numbers its interfaces anew. So interfaces of two sections are one device if they have the same number and name.
type device struct {
	iface    int
	name     string
	loopback bool
}

// number returns the number of a device in this run.
func (r *reading) number(names map[device]uint16, d device) uint16 {
	n, ok := names[d]
	if ok {
		return n
	}

	name := d.name
	if d.loopback {
		name = live.Loopback
	}
	r.pipeline.Do(func(p *pipeline.Locked) { n = p.AddInterface(name) })
	if len(names) < pipeline.MaxInterfaces {
		names[d] = n
	}
	return n
}

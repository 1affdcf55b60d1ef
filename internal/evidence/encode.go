package evidence

import (
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// A Finding describes the finding that a file is evidence for.
type Finding struct {
	ID      string // event.id
	Rule    string // rule.id
	Message string
	Names   []Name // of both ends, as far as they are known and may be published

	Application string // program and version
	Filter      string // effective capture filter, empty if there is none
	Interface   string
	Received    uint64 // packets that the interface has captured since the start of the capture
	Dropped     uint64 // packets that were lost because its ring was full
	Counted     bool   // Received and Dropped are known
}

// notes are the sentences of the section comment about the parts that a file leaves out.
const (
	noteReduced = "Reduced: in plaintext x replaces each character, except for words of the protocol in the first line of a segment; the content of protected " +
		"TLS records is replaced by bytes without meaning; checksums no longer match."
	noteMissedStart = "Packets at the start of the connection were no longer stored."
	noteFull        = "Packets after the first 128 KiB are left out, except for the last one."
)

// Encode returns the stored packets of a connection as a pcapng file of at most most bytes. It returns nil if there are none.
func (r *Recorder) Encode(id uint64, f *Finding, most int) []byte {
	t := r.traces[id]
	if t == nil || len(t.packets) == 0 {
		return nil
	}
	frames, packets := slices.Clone(t.frames), slices.Clone(t.packets)
	if r.lateOf == id {
		x := r.late
		x.start = len(frames)
		frames, packets = append(frames, r.lateFrame[:x.captured]...), append(packets, x)
	}
	reduce(t.transport, frames, packets)

	w := blocks{b: make([]byte, 0, min(most, 2*len(frames)+16<<10))}
	w.section(f.Application, f.comment(t))
	ifaces := interfacesOf(packets)
	for _, i := range ifaces {
		w.iface(uint16(i.link), f.Interface, f.Filter, 0)
	}
	if len(f.Names) > 0 {
		w.names(f.Names)
	}
	const reserve = 3<<10 + 64 // the last packet's comment and the statistics
	last := len(packets) - 1
	for i, x := range packets {
		frame, comment := frames[x.start:x.start+x.captured], ""
		if len(w.b)+len(frame)+reserve > most {
			break
		}
		switch i {
		case last:
			comment = "finding " + f.ID + ": " + f.Rule + ": the last packet that was seen before the finding was raised"
		case 0:
			comment = "finding " + f.ID + ": " + f.Rule
		}
		w.packet(slices.Index(ifaces, x.iface()), x.time, frame, x.length, comment)
	}
	if f.Counted {
		for i := range ifaces {
			w.statistics(i, packets[last].time, f.Received, f.Dropped)
		}
	}
	return w.b
}

// comment returns the comment of the section.
func (f *Finding) comment(t *trace) string {
	lines := []string{"finding " + f.ID + ": " + f.Rule, f.Message, noteReduced}
	if t.missedStart {
		lines = append(lines, noteMissedStart)
	}
	if t.full {
		lines = append(lines, noteFull)
	}
	return strings.Join(lines, "\n")
}

// An iface is an interface of a file. A capture file may have several of one name with different link types.
type iface struct {
	number uint16
	link   wire.LinkType
}

func (x *packet) iface() iface { return iface{x.ifaceNumber, x.link} }

func interfacesOf(packets []packet) (out []iface) {
	for i := range packets {
		if n := packets[i].iface(); !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// reduce masks the payload of packets in frames, except for handshakes.
func reduce(transport uint8, frames []byte, packets []packet) {
	if transport == wire.ProtoUDP {
		var g datagrams
		for i := range packets {
			x := &packets[i]
			g.reduce(frames[x.start+x.payload : x.start+x.captured])
		}
		return
	}
	raw := slices.Clone(frames)
	for side := range flow.Side(2) {
		s := stream{raw: raw, out: frames}
		s.reduce(packets, side)
	}
}

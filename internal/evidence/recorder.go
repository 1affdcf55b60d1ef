package evidence

import (
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Bounds for the packets of one connection. Whatever exceeds them is not stored.
const (
	maxTraceBytes   = 128 << 10 // bytes of frames
	maxTracePackets = 1024
	maxFrame        = 20 << 10 // bytes of one frame: a TLS record and its headers. Generic receive offload merges more into one frame
	maxFree         = 16       // traces kept for reuse
	traceOverhead   = 192      // bytes of a trace and its entry in the map
	packetOverhead  = 72       // bytes of a packet
)

// A Recorder stores the packets of connections, within a bound for all of them. When it is full, the connection whose latest
// packet is the oldest is removed. It is not safe for concurrent use.
type Recorder struct {
	max, used int // bytes
	traces    map[uint64]*trace
	oldest    *trace // first of the list of all traces, which newest ends
	newest    *trace
	free      []*trace

	// The latest packet of a connection whose trace is full. It may be the one that raises a finding.
	late      packet
	lateOf    uint64 // the connection's number, 0: none
	lateFrame [2 << 10]byte
}

// trace holds the stored packets of one connection.
type trace struct {
	id          uint64
	prev, next  *trace
	frames      []byte
	packets     []packet
	transport   uint8
	missedStart bool // packets before the first one are not stored
	full        bool // packets after the last one are not stored
}

// packet is one stored packet.
type packet struct {
	time        int64 // ns since the epoch
	start       int   // offset of its frame in trace.frames
	captured    int   // bytes of the frame that are stored
	length      int   // bytes of the frame on the wire
	payload     int   // offset of the payload of TCP or UDP in the frame
	data        int   // bytes of the payload that are stored
	seq         uint32
	side        flow.Side
	flags       uint8 // TCP
	link        wire.LinkType
	ifaceNumber uint16
}

// NewRecorder returns a Recorder that uses at most about max bytes.
func NewRecorder(most int) *Recorder {
	return &Recorder{max: most, traces: map[uint64]*trace{}}
}

// BytesInUse returns the memory of the stored packets in bytes.
func (r *Recorder) BytesInUse() int { return r.used }

// Observe stores a packet of c. It is for flow.Config.Observe. Connections of the tap itself and redirected ones, which never leave the
// pod, are left out.
func (r *Recorder) Observe(c *flow.Conn, p *flow.Packet, d *flow.Decoded) {
	if c.Excluded || c.Redirected != nil {
		return
	}
	at, ok := payloadOffset(p.Data, d.Payload)
	if !ok {
		return
	}
	x := packet{
		time: p.Time, captured: min(at+len(d.Payload), maxFrame), length: max(p.Length, len(p.Data)), payload: at,
		seq: d.Seq, side: sideOf(c, d), flags: d.Flags, link: p.Link, ifaceNumber: p.Interface,
	}
	if x.captured < at {
		return
	}
	x.data = x.captured - at

	t := r.traces[c.ID]
	if t == nil {
		t = r.add(c)
	}
	if t.full || len(t.packets) == maxTracePackets || len(t.frames)+x.captured > maxTraceBytes {
		t.full = true
		r.setLate(c.ID, x, p.Data)
		return
	}
	before := t.size()
	x.start = len(t.frames)
	t.frames = append(t.frames, p.Data[:x.captured]...)
	t.packets = append(t.packets, x)
	r.used += t.size() - before
	r.touch(t)
	for r.used > r.max && r.oldest != nil {
		r.remove(r.oldest)
	}
}

// payloadOffset returns the offset of payload in frame. It returns false if payload is not a part of frame, but of a datagram that was
// reassembled from fragments.
func payloadOffset(frame, payload []byte) (at int, ok bool) {
	at = cap(frame) - cap(payload)
	if at < 0 || at > len(frame) || len(payload) > len(frame)-at {
		return 0, false
	}
	return at, len(payload) == 0 || &frame[at] == &payload[0]
}

// sideOf returns the end of c that sent a packet.
func sideOf(c *flow.Conn, d *flow.Decoded) flow.Side {
	if c.Orig.Port != c.Resp.Port {
		if d.SrcPort == c.Orig.Port {
			return flow.Originator
		}
		return flow.Responder
	}
	source := d.Src[:4]
	if d.IPv6 {
		source = d.Src[:]
	}
	if string(c.Orig.Addr.AsSlice()) == string(source) {
		return flow.Originator
	}
	return flow.Responder
}

// setLate stores the latest packet of a connection whose trace is full.
func (r *Recorder) setLate(id uint64, x packet, frame []byte) {
	n := copy(r.lateFrame[:], frame[:x.captured])
	if n < x.payload {
		return
	}
	x.captured, x.data = n, n-x.payload
	r.late, r.lateOf = x, id
}

// add starts a trace.
func (r *Recorder) add(c *flow.Conn) *trace {
	t := &trace{}
	if last := len(r.free) - 1; last >= 0 {
		t, r.free = r.free[last], r.free[:last]
		r.used -= t.size() // it was counted as free memory
	}
	t.id, t.transport, t.missedStart = c.ID, c.Transport, c.Orig.Packets+c.Resp.Packets > 0
	r.traces[c.ID] = t
	r.used += t.size()
	r.link(t)
	return t
}

// size returns the memory of a trace in bytes.
func (t *trace) size() int { return traceOverhead + cap(t.frames) + cap(t.packets)*packetOverhead }

func (r *Recorder) link(t *trace) {
	t.prev, t.next = r.newest, nil
	if r.newest == nil {
		r.oldest = t
	} else {
		r.newest.next = t
	}
	r.newest = t
}

func (r *Recorder) unlink(t *trace) {
	if t.prev == nil {
		r.oldest = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		r.newest = t.prev
	} else {
		t.next.prev = t.prev
	}
}

// touch makes t the newest trace.
func (r *Recorder) touch(t *trace) {
	if r.newest != t {
		r.unlink(t)
		r.link(t)
	}
}

// Forget removes the packets of a connection, which has ended.
func (r *Recorder) Forget(id uint64) {
	if t := r.traces[id]; t != nil {
		r.remove(t)
	}
}

// remove removes a trace. Small traces are kept for reuse while there is memory.
func (r *Recorder) remove(t *trace) {
	r.unlink(t)
	delete(r.traces, t.id)
	if r.lateOf == t.id {
		r.lateOf = 0
	}
	r.used -= t.size()
	const small = 16 << 10
	if t.size() > small || len(r.free) == maxFree || r.used+t.size() > r.max {
		return
	}
	*t = trace{frames: t.frames[:0], packets: t.packets[:0]}
	r.used += t.size()
	r.free = append(r.free, t)
}

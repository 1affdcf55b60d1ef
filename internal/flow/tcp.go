package flow

// tcpState is what the table remembers of both directions.
type tcpState struct {
	side    [2]direction
	waiting bool // in Table.doomed
}

// direction is one direction of a TCP connection. Offsets count from the byte after the
// SYN, or from the first byte known of where that was not seen.
type direction struct {
	based   bool // isn is known, by the SYN or by a guess
	synSeen bool
	isn     uint32 // sequence number of the byte at offset 0, less one
	next    int64  // offset of the next byte in order
	acked   int64  // the highest offset that the other side acknowledged
	fin     int64  // offset of the FIN, -1 if none
	finSeen bool
	finTold bool
	rst     bool

	held  []held
	size  int   // bytes in held
	since int64 // when the hole in front of held was first met
	proof window
}

// held is a piece that is out of order.
type held struct {
	offset int64
	data   []byte
	gone   int64 // bytes behind data that the snap length cut off
	ack    int64
}

// offset unwraps a sequence number: the offset nearest to the next one expected.
func (d *direction) offset(seq uint32) int64 {
	return d.next + int64(int32(seq-(d.isn+1+uint32(d.next))))
}

// tcp runs the state machine of RFC 9293, as far as an observer can, over a segment.
func (t *Table) tcp(e *entry, side Side, d *Decoded, p *Packet) {
	mine, theirs := &e.tcp.side[side], &e.tcp.side[side.Other()]
	seq := d.Seq
	if d.Flags&flagSYN != 0 {
		if !mine.synSeen {
			mine.based, mine.synSeen, mine.isn = true, true, d.Seq
			e.noteISN(side, d.Seq)
		}
		seq++
	}
	if !mine.based {
		mine.based, mine.isn = true, seq-1
	}
	ack := int64(-1)
	if d.Flags&flagACK != 0 {
		if !theirs.based {
			theirs.based, theirs.isn = true, d.Ack-1
		}
		ack = max(theirs.offset(d.Ack), 0)
		if theirs.finSeen && ack > theirs.fin {
			ack = theirs.fin
		}
		theirs.acked = max(theirs.acked, ack)
	}
	at := mine.offset(seq)
	if d.Length > 0 {
		t.data(e, side, at, d, ack, p.Time)
	}
	if d.Flags&flagFIN != 0 && !mine.finSeen {
		mine.finSeen, mine.fin = true, at+int64(max(d.Length, 0))
	}
	if d.Flags&flagRST != 0 && !mine.rst {
		mine.rst = true
		t.drainSide(e, side)
		e.endpoint(side).RST = true
		e.advance(side, d.Flags)
		t.changed(e)
	} else {
		e.advance(side, d.Flags)
	}
	t.tellFIN(e, side)
	if len(theirs.held) > 0 {
		t.giveUp(e, side.Other(), false)
	}
}

func (e *entry) noteISN(side Side, isn uint32) {
	if side == Originator {
		e.OrigISN, e.OrigISNSeen = isn, true
	} else {
		e.RespISN, e.RespISNSeen = isn, true
	}
}

func (e *entry) endpoint(side Side) *Endpoint {
	if side == Originator {
		return &e.Orig
	}
	return &e.Resp
}

func (t *Table) changed(e *entry) {
	if !e.Excluded {
		t.h.Changed(&e.Conn)
	}
}

// tellFIN tells of a FIN once all data before it was handed on.
func (t *Table) tellFIN(e *entry, side Side) {
	d := &e.tcp.side[side]
	if d.finSeen && !d.finTold && d.next >= d.fin {
		d.finTold = true
		e.endpoint(side).FIN = true
		e.setClosed()
		t.changed(e)
	}
}

// advance moves the connection's state as Zeek's conn_state does.
func (e *entry) advance(side Side, flags uint8) {
	o, r := &e.tcp.side[Originator], &e.tcp.side[Responder]
	if flags&flagRST != 0 {
		switch {
		case side == Originator && o.synSeen && !r.synSeen && e.Resp.Packets == 0:
			e.State = RSTOS0
		case side == Originator:
			e.State = RSTO
		case o.synSeen && !r.synSeen && e.Resp.Bytes == 0:
			e.State = REJ
		case !o.synSeen && r.synSeen:
			e.State = RSTRH
		default:
			e.State = RSTR
		}
		return
	}
	switch e.State {
	case RSTO, RSTR, REJ, RSTOS0, RSTRH:
		return
	}
	e.setClosed()
}

func (e *entry) setClosed() {
	switch e.State {
	case RSTO, RSTR, REJ, RSTOS0, RSTRH:
		return
	}
	o, r := &e.tcp.side[Originator], &e.tcp.side[Responder]
	switch {
	case o.synSeen && r.synSeen || !o.synSeen && !r.synSeen && o.finSeen && r.finSeen:
		switch {
		case o.finSeen && r.finSeen:
			e.State = SF
		case o.finSeen:
			e.State = S2
		case r.finSeen:
			e.State = S3
		default:
			e.State = S1
		}
	case o.synSeen:
		e.State = S0
		if o.finSeen {
			e.State = SH
		} else if e.Resp.Packets > 0 {
			e.State = OTH
		}
	case r.synSeen:
		e.State = OTH
		if r.finSeen {
			e.State = SHR
		}
	}
}

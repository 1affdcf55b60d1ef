//go:build linux

package main

import (
	"encoding/binary"
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// mss is the payload of a full segment at an MTU of 1500, with 12 bytes of timestamps.
const mss = 1448

// connection turns a conversation into frames. A receiver acknowledges every second segment. It acknowledges the last
// segment of a burst with its answer or separately.
type connection struct {
	client, server netip.AddrPort
	talk           *capturetest.Conversation
	seq            [2]uint32 // next sequence numbers of client and server
	acked          [2]uint32 // last acknowledgement numbers that client and server sent
	delay          int64     // time from a packet to its answer, in µs
	at             int64     // time of the next packet, µs
	stage          int
	chunk, from    int  // position in the conversation: number of the chunk, and byte in the chunk
	unacked        int  // segments of the current sender since the last acknowledgement
	open           bool // the connection stays open: no FINs are sent at the end
	done           bool // all frames of the connection were made
	id             uint16
}

// The stages of a connection.
const (
	stageSYN = iota
	stageSYNACK
	stageACK
	stageData
	stageFIN
	stageFINACK
	stageLastACK
)

// TCP flags (RFC 9293, section 3.1).
const (
	fin = 0x01
	syn = 0x02
	psh = 0x08
	ack = 0x10
)

// frame appends the connection's next frame to b. It must not be called once done is set.
func (c *connection) frame(b []byte) []byte {
	stage := c.stage
	switch stage {
	case stageSYN:
		b = c.segment(b, 0, syn, nil)
	case stageSYNACK:
		b = c.segment(b, 1, syn|ack, nil)
	case stageACK:
		b = c.segment(b, 0, ack, nil)
	case stageData:
		return c.data(b)
	case stageFIN, stageFINACK:
		b = c.segment(b, stage-stageFIN, fin|ack, nil)
	default:
		b = c.segment(b, 0, ack, nil)
		c.done = true
	}
	c.stage++
	c.at += c.delay
	return b
}

// data appends an acknowledgement if one is due, otherwise the next segment of data.
func (c *connection) data(b []byte) []byte {
	chunk := c.talk.Chunks[c.chunk]
	side := 0
	if chunk.FromServer {
		side = 1
	}
	if c.unacked == 2 {
		c.unacked = 0
		c.at += 5
		return c.segment(b, 1-side, ack, nil)
	}
	rest := chunk.Data[c.from:]
	n := min(len(rest), mss)
	flags := byte(ack)
	if n == len(rest) {
		flags |= psh
	}
	b = c.segment(b, side, flags, rest[:n])
	c.from, c.unacked = c.from+n, c.unacked+1
	c.at += 12 // the time that a segment takes at 1 Gbit/s
	for c.from == len(c.talk.Chunks[c.chunk].Data) {
		c.chunk, c.from = c.chunk+1, 0
		if c.chunk == len(c.talk.Chunks) {
			c.stage++
			c.at += c.delay
			c.done = c.open
			break
		}
		if c.talk.Chunks[c.chunk].FromServer != chunk.FromServer {
			c.unacked = 0
			c.at += c.delay
		}
	}
	return b
}

// segment appends one Ethernet frame with a TCP segment of a side (0 client, 1 server), and advances that side's sequence and
// acknowledgement numbers.
func (c *connection) segment(b []byte, side int, flags byte, data []byte) []byte {
	from, to := c.client, c.server
	if side == 1 {
		from, to = to, from
	}
	s := segment{from: from, to: to, seq: c.seq[side], flags: flags, id: c.id, stamp: uint32(c.at / 1000), data: data}
	if flags&ack != 0 {
		s.ack = c.seq[1-side]
		c.acked[side] = s.ack
	}
	c.id++
	c.seq[side] += uint32(len(data))
	if flags&(syn|fin) != 0 {
		c.seq[side]++
	}
	return s.append(b)
}

// segment is a TCP segment over IPv4.
type segment struct {
	from, to netip.AddrPort
	seq, ack uint32
	flags    byte
	id       uint16
	stamp    uint32 // value of the timestamps option
	data     []byte
}

// append appends the segment's frame to b, with valid checksums: like the receiver, a live tap drops a segment whose
// checksum is invalid.
func (s *segment) append(b []byte) []byte {
	const ethernet, ip, tcp = 14, 20, 32
	b = append(b, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00)
	at := len(b)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(ip+tcp+len(s.data)))
	b = binary.BigEndian.AppendUint16(b, s.id)
	b = append(b, 0x40, 0, 64, 6, 0, 0)
	b = append(append(b, s.from.Addr().AsSlice()...), s.to.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(b[at+10:], ^sum(0, b[at:]))
	at = len(b)
	b = binary.BigEndian.AppendUint16(b, s.from.Port())
	b = binary.BigEndian.AppendUint16(b, s.to.Port())
	b = binary.BigEndian.AppendUint32(b, s.seq)
	b = binary.BigEndian.AppendUint32(b, s.ack)
	b = append(b, tcp/4<<4, s.flags, 0xff, 0xff, 0, 0, 0, 0)
	b = append(b, 1, 1, 8, 10) // two no-operations, then the timestamps option (RFC 7323)
	b = binary.BigEndian.AppendUint32(b, s.stamp)
	b = binary.BigEndian.AppendUint32(b, s.stamp)
	b = append(b, s.data...)
	pseudo := sum(6+uint32(len(b)-at), append(s.from.Addr().AsSlice(), s.to.Addr().AsSlice()...)) // RFC 9293, section 3.1
	binary.BigEndian.PutUint16(b[at+16:], ^sum(uint32(pseudo), b[at:]))
	return b
}

// sum adds b to a ones' complement sum of 16-bit words (RFC 1071). The checksum is the complement of the result.
func sum(sum uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

package tlslab_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

const (
	flagFIN = 1
	flagRST = 4
)

// direction has the state from which the next packet of one end of a connection is made.
type direction struct {
	last frame  // the end's latest packet; the next packet gets its headers
	next uint32 // sequence number of the next packet
}

// goneOn returns a copy of a capture whose connections do not end. Instead, each end sends its text in further
// packets.
func goneOn(frames []frame, client, server string) (out []frame) {
	ends := map[uint16]*[2]direction{} // the key is the client's port
	var order []uint16
	for _, f := range frames {
		header, payload, ok := tcpPayload(f.data)
		if !ok {
			continue
		}
		data := bytes.Clone(f.data)
		data[header+13] &^= flagFIN
		if f.data[header+13]&flagRST != 0 {
			continue
		}
		from, port := 0, binary.BigEndian.Uint16(data[header:])
		if port == 8443 {
			from, port = 1, binary.BigEndian.Uint16(data[header+2:])
		}
		if ends[port] == nil {
			ends[port] = &[2]direction{}
			order = append(order, port)
		}
		d := &ends[port][from]
		n := 14 + int(binary.BigEndian.Uint16(data[16:])) - payload
		next := binary.BigEndian.Uint32(data[header+4:]) + uint32(n) + uint32(data[header+13]>>1&1)
		if d.last.data == nil || int32(next-d.next) > 0 {
			d.next = next
		}
		d.last = frame{f.time, data}
		out = append(out, d.last)
	}

	now := out[len(out)-1].time
	for _, port := range order {
		for from, text := range []string{client, server} {
			d, other := &ends[port][from], &ends[port][1-from]
			if d.last.data == nil || other.last.data == nil {
				continue
			}
			header, payload, _ := tcpPayload(d.last.data)
			data := append(bytes.Clone(d.last.data[:payload]), text...)
			binary.BigEndian.PutUint16(data[16:], uint16(len(data)-14))
			binary.BigEndian.PutUint32(data[header+4:], d.next)
			binary.BigEndian.PutUint32(data[header+8:], other.next)
			data[header+13] = 0x18
			now += 1e6
			out = append(out, frame{now, data})
			d.next += uint32(len(text))
		}
	}
	return out
}

// TestPlaintextAfterTLS checks connections of every stack that continue after TLS, however TLS ended. If plaintext
// follows, the verdict is plaintext, even if the packet before the plaintext is lost. If unknown bytes follow, the
// verdict is unknown and never mutual.
func TestPlaintextAfterTLS(t *testing.T) {
	const request = "GET /payroll?year=2026 HTTP/1.1\r\nHost: cart:8080\r\nAuthorization: Basic dXNlcjpwYXNz\r\n\r\n"
	const response = "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 20\r\n\r\nname,salary\nbob,1234"
	binary := strings.Repeat("\xd7\x01\x00\xe3\x99\x05\x80\xff\x13\xc4", 30)
	files, rows := manifest(t)
	turned := 0
	for _, file := range files {
		frames := load(t, capturePath(file))
		check := func(what string, part []frame, want verdict.Verdict) {
			ended, _ := replay(part)
			for i, j := range ended {
				if j.Transport != "tcp" || i < len(rows[file]) && rows[file][i]["outcome"] != "established" {
					continue
				}
				if turned++; j.Verdict != want {
					t.Errorf("%s, %s: %s %v, want %s", file, what, j.Verdict, j.Reasons, want)
				}
			}
		}
		text := goneOn(frames, request, response)
		check("text", text, verdict.Plaintext)
		check("bytes", goneOn(frames, binary, binary), verdict.Unknown)
		if len(rows[file]) == 1 && len(text) > 8 {
			lost := len(text) - 3
			check("text, a packet lost before it", slices.Delete(slices.Clone(text), lost, lost+1), verdict.Plaintext)
		}
	}
	t.Logf("%d captures, %d connections", len(files), turned)
	if turned < 100 {
		t.Errorf("%d connections are too few", turned)
	}
}

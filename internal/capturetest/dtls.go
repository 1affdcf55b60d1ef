package capturetest

import (
	"encoding/binary"
	"slices"
)

// DTLSMessage is a DTLS 1.2 handshake message, or a record of another type.
type DTLSMessage struct {
	FromServer bool
	Type       uint8  // of the handshake message
	Body       []byte // body of the handshake message, in the format of DTLS
	Record     []byte // a whole record, instead of Type and Body
}

// DTLS converts a TLS 1.2 conversation to DTLS 1.2 messages: the hellos get their DTLS form, and messages after a
// ChangeCipherSpec become records of epoch 1.
func DTLS(talk *Conversation) []DTLSMessage {
	var out []DTLSMessage
	var sealed [2]bool
	var pending [2][]byte
	for _, c := range talk.Chunks {
		i := index(c.FromServer)
		pending[i] = append(pending[i], c.Data...)
		for len(pending[i]) >= 5 {
			b := pending[i]
			n := 5 + int(b[3])<<8 + int(b[4])
			if n > len(b) {
				break
			}
			pending[i] = b[n:]
			switch typ, body := b[0], b[5:n]; {
			case sealed[i]:
				out = append(out, DTLSMessage{FromServer: c.FromServer, Record: DTLSRecord(typ, 1, body)})
			case typ == 20:
				sealed[i] = true
				out = append(out, DTLSMessage{FromServer: c.FromServer, Record: DTLSRecord(typ, 0, body)})
			case typ == 22:
				out = append(out, dtlsMessages(c.FromServer, body)...)
			default:
				out = append(out, DTLSMessage{FromServer: c.FromServer, Record: DTLSRecord(typ, 0, body)})
			}
		}
	}

	return out
}

// dtlsMessages returns the handshake messages of a TLS record.
func dtlsMessages(fromServer bool, b []byte) (out []DTLSMessage) {
	for len(b) >= 4 {
		n := 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
		m := DTLSMessage{FromServer: fromServer, Type: b[0], Body: slices.Clone(b[4:n])}
		if m.Type == 1 || m.Type == 2 {
			m.Body[0], m.Body[1] = 0xfe, 0xfd
		}
		if m.Type == 1 { // a ClientHello: its DTLS form has a cookie after the session ID, here an empty one
			m.Body = slices.Insert(m.Body, 2+32+1+int(m.Body[34]), 0)
		}
		out, b = append(out, m), b[n:]
	}
	return out
}

// DTLSRecord returns a DTLS 1.2 record.
func DTLSRecord(typ, epoch byte, body []byte) []byte {
	b := []byte{typ, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 7}
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// DTLSFragment returns a fragment of a handshake message that is size bytes long.
func DTLSFragment(typ uint8, size int, seq uint16, offset int, data []byte) []byte {
	b := make([]byte, 12, 12+len(data))
	binary.BigEndian.PutUint32(b, uint32(typ)<<24|uint32(size))
	binary.BigEndian.PutUint16(b[4:], seq)
	b[6], b[7], b[8] = byte(offset>>16), byte(offset>>8), byte(offset)
	b[9], b[10], b[11] = byte(len(data)>>16), byte(len(data)>>8), byte(len(data))
	return append(b, data...)
}

// Datagrams splits messages into fragments of at most size bytes, and puts each fragment and each record into a
// datagram.
func Datagrams(messages []DTLSMessage, size int) []Chunk {
	var out []Chunk
	var seq [2]uint16
	for _, m := range messages {
		if m.Record != nil {
			out = append(out, Chunk{FromServer: m.FromServer, Data: m.Record})
			continue
		}
		i := index(m.FromServer)
		for offset := 0; ; offset += size {
			end := min(offset+size, len(m.Body))
			out = append(out, Chunk{FromServer: m.FromServer, Data: DTLSRecord(22, 0, DTLSFragment(m.Type, len(m.Body), seq[i], offset, m.Body[offset:end]))})
			if end == len(m.Body) {
				break
			}
		}
		seq[i]++
	}
	return out
}

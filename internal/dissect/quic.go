package dissect

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// QUIC versions whose Initial packets can be read (RFC 9000, RFC 9369).
const (
	quicV1 = 1
	quicV2 = 0x6b3343cf
)

// quicVersion holds what differs between the versions (RFC 9001 section 5.2, RFC 9369
// section 3.3).
type quicVersion struct {
	salt        []byte
	key, iv, hp string
	initial     byte // long packet type of an Initial
}

var quicVersions = map[uint32]quicVersion{
	quicV1: {
		salt: []byte{0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a},
		key:  "quic key", iv: "quic iv", hp: "quic hp", initial: 0,
	},
	quicV2: {
		salt: []byte{0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9},
		key:  "quicv2 key", iv: "quicv2 iv", hp: "quicv2 hp", initial: 1,
	},
}

const (
	// maxCrypto bounds the CRYPTO stream that is put together, in bytes.
	maxCrypto = 16 << 10
	// maxInitials bounds the Initial packets that are decrypted for one connection.
	maxInitials = 16
	maxConnID   = 20 // RFC 9000 section 17.2
)

// quic reads a client's Initial packets up to its ClientHello. Their protection is by
// keys that anybody can derive (RFC 9001 section 5.2).
type quic struct {
	parts   []cryptoPart
	packets int
	done    bool
}

type cryptoPart struct {
	offset uint64
	data   []byte
}

// longHeader is what a QUIC long header shows in the clear (RFC 9000 section 17.2).
type longHeader struct {
	version  uint32
	dcid     []byte
	initial  bool
	numberAt int // offset of the packet number
	end      int // offset right after the packet
}

// readLongHeader reads the header of an Initial packet; ok is false for anything else.
func readLongHeader(b []byte) (h longHeader, ok bool) {
	s := cryptobyte.String(b)
	var first, n uint8
	var scid []byte
	if !s.ReadUint8(&first) || first&0xc0 != 0xc0 || !s.ReadUint32(&h.version) {
		return h, false
	}
	v, known := quicVersions[h.version]
	if !known || !s.ReadUint8(&n) || n > maxConnID || !s.ReadBytes(&h.dcid, int(n)) ||
		!s.ReadUint8(&n) || n > maxConnID || !s.ReadBytes(&scid, int(n)) {
		return h, false
	}
	if h.initial = first>>4&3 == v.initial; !h.initial {
		return h, true
	}
	token, ok := readVarint(&s)
	if !ok || token > uint64(len(s)) || !s.Skip(int(token)) {
		return h, false
	}
	length, ok := readVarint(&s)
	if !ok || length > uint64(len(s)) {
		return h, false
	}
	h.numberAt = len(b) - len(s)
	h.end = h.numberAt + int(length)
	return h, true
}

// readVarint reads a variable-length integer (RFC 9000 section 16).
func readVarint(s *cryptobyte.String) (uint64, bool) {
	var b uint8
	if !s.ReadUint8(&b) {
		return 0, false
	}
	v := uint64(b & 0x3f)
	for range 1<<(b>>6) - 1 {
		if !s.ReadUint8(&b) {
			return 0, false
		}
		v = v<<8 | uint64(b)
	}
	return v, true
}

// datagram reads the Initial packets of one datagram of the client and returns its
// ClientHello once that is whole.
func (q *quic) datagram(b []byte) *ClientHello {
	for len(b) > 0 && !q.done && q.packets < maxInitials {
		h, ok := readLongHeader(b)
		if !ok || !h.initial {
			return nil
		}
		q.packets++
		if payload := open(b[:h.end], h); payload != nil {
			q.frames(payload)
		}
		b = b[h.end:]
	}
	hello := q.hello()
	if hello != nil {
		q.done, q.parts = true, nil
	}
	return hello
}

// open removes header and packet protection of a client's Initial (RFC 9001 sections
// 5.3 and 5.4). It returns nil where that fails.
func open(packet []byte, h longHeader) []byte {
	const sample = 16
	if h.numberAt+4+sample > len(packet) {
		return nil
	}
	v := quicVersions[h.version]
	secret, err := hkdf.Extract(sha256.New, h.dcid, v.salt)
	if err != nil {
		return nil
	}
	client := expand(secret, "client in", 32)
	hp, err := aes.NewCipher(expand(client, v.hp, 16))
	if err != nil {
		return nil
	}
	var mask [sample]byte
	hp.Encrypt(mask[:], packet[h.numberAt+4:h.numberAt+4+sample])
	first := packet[0] ^ mask[0]&0x0f
	size := int(first&3) + 1
	header := slices.Clone(packet[:h.numberAt+size])
	header[0] = first
	var number uint64
	for i := range size {
		header[h.numberAt+i] ^= mask[1+i]
		number = number<<8 | uint64(header[h.numberAt+i])
	}
	block, err := aes.NewCipher(expand(client, v.key, 16))
	if err != nil {
		return nil
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil
	}
	nonce := expand(client, v.iv, aead.NonceSize())
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^number)
	payload, err := aead.Open(nil, nonce, packet[h.numberAt+size:], header)
	if err != nil {
		return nil
	}
	return payload
}

// expand is HKDF-Expand-Label of TLS 1.3 without a context (RFC 8446 section 7.1).
func expand(secret []byte, label string, size int) []byte {
	label = "tls13 " + label
	info := append([]byte{byte(size >> 8), byte(size), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), size)
	if err != nil {
		panic(err) // the sizes are constants that SHA-256 allows
	}
	return out
}

// frames gathers the CRYPTO frames of a payload (RFC 9000 section 19).
func (q *quic) frames(payload []byte) {
	const (
		padding, ping, ack, ackECN, crypto = 0, 1, 2, 3, 6
	)
	s := cryptobyte.String(payload)
	for !s.Empty() {
		typ, ok := readVarint(&s)
		switch {
		case !ok:
			return
		case typ == padding || typ == ping:
		case typ == ack || typ == ackECN:
			if !skipACK(&s, typ == ackECN) {
				return
			}
		case typ == crypto:
			offset, ok := readVarint(&s)
			size, ok2 := readVarint(&s)
			var data []byte
			if !ok || !ok2 || size > uint64(len(s)) || !s.ReadBytes(&data, int(size)) {
				return
			}
			if offset <= maxCrypto && offset+size <= maxCrypto {
				q.parts = append(q.parts, cryptoPart{offset, data})
			}
		default:
			return
		}
	}
}

func skipACK(s *cryptobyte.String, ecn bool) bool {
	var fields [4]uint64 // largest, delay, range count, first range
	for i := range fields {
		var ok bool
		if fields[i], ok = readVarint(s); !ok {
			return false
		}
	}
	n := 2 * fields[2]
	if ecn {
		n += 3
	}
	for ; n > 0; n-- {
		if _, ok := readVarint(s); !ok {
			return false
		}
	}
	return true
}

// hello puts the CRYPTO stream in order and reads the ClientHello at its start, nil as
// long as it is not whole.
func (q *quic) hello() *ClientHello {
	slices.SortStableFunc(q.parts, func(a, b cryptoPart) int { return int(a.offset) - int(b.offset) })
	var stream []byte
	for _, p := range q.parts {
		at := uint64(len(stream))
		if p.offset > at {
			break
		}
		if end := p.offset + uint64(len(p.data)); end > at {
			stream = append(stream, p.data[at-p.offset:]...)
		}
	}
	s := cryptobyte.String(stream)
	var typ uint8
	var body cryptobyte.String
	if !s.ReadUint8(&typ) || typ != typeClientHello || !s.ReadUint24LengthPrefixed(&body) {
		return nil
	}
	hello, ok := parseClientHello(body)
	if !ok {
		q.done = true
		return nil
	}
	return hello
}

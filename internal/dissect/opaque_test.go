package dissect

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

var opaqueConnections = flag.Int("opaque", 1200, "how many connections that cannot be read TestOpaqueIsNeverPlaintext makes")

// opaque returns the segments, in order, of one connection with unreadable content.
type opaque func(r *rand.Rand, n int) []segment

type segment struct {
	side Side
	data []byte
}

func noiseOf(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	randomBytes(r, b)
	return b
}

// segmentSize returns a random length as in real traffic: bare headers and keepalives, small messages, full segments.
func segmentSize(r *rand.Rand) int {
	switch r.IntN(10) {
	case 0:
		return 1 + r.IntN(16)
	case 1, 2, 3:
		return 17 + r.IntN(100)
	case 4, 5:
		return 100 + r.IntN(500)
	case 6:
		return 600 + r.IntN(800)
	default:
		return 1448
	}
}

// headed returns messages of ciphertext, each after a plaintext header. least is the minimum size of the ciphertext in bytes: an
// authentication tag and one byte.
func headed(least int, header func(r *rand.Rand, i, n int) []byte) opaque {
	return func(r *rand.Rand, n int) (out []segment) {
		split := r.IntN(8) == 0 // header and body in separate segments
		small := r.IntN(3) == 0
		for i := range n {
			size := max(segmentSize(r), least)
			if small {
				size = least + r.IntN(24)
			}
			h := header(r, i, size)
			side := Side(r.IntN(2))
			if split && len(h) > 0 {
				out = append(out, segment{side, h}, segment{side, noiseOf(r, size)})
				continue
			}
			out = append(out, segment{side, append(h, noiseOf(r, size)...)})
		}
		return out
	}
}

// streamed divides one stream for each side into segments.
func streamed(stream func(r *rand.Rand, n int) []byte) opaque {
	return func(r *rand.Rand, n int) (out []segment) {
		var left [2][]byte
		for i := range left {
			left[i] = stream(r, 64+r.IntN(n*1448))
		}
		for range n {
			side := Side(r.IntN(2))
			size := min(segmentSize(r), len(left[side]))
			if size > 0 {
				out = append(out, segment{side, left[side][:size]})
				left[side] = left[side][size:]
			}
		}
		return out
	}
}

// prose returns compressible text of JSON records.
func prose(r *rand.Rand, n int) []byte {
	words := strings.Fields("the order of customer payment failed with status ok error timeout server request id user name address city invoice total currency EUR USD item quantity price shipped pending returned warehouse")
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "{\"ts\":%d,\"id\":\"%x\",\"%s\":\"%s %s %s\",\"n\":%d}\n", 1700000000+r.IntN(1e8), r.Uint64(), words[r.IntN(len(words))], words[r.IntN(len(words))], words[r.IntN(len(words))], words[r.IntN(len(words))], r.IntN(1e6))
	}
	return b.Bytes()
}

func gzipped(r *rand.Rand, n int) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, 1+r.IntN(9))
	_, _ = w.Write(prose(r, n))
	_ = w.Close()
	return b.Bytes()
}

func deflated(r *rand.Rand, n int) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 1+r.IntN(9))
	_, _ = w.Write(prose(r, n))
	_ = w.Close()
	return b.Bytes()
}

func zstandard(r *rand.Rand, n int) []byte {
	w, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.EncoderLevel(1+r.IntN(3))))
	return w.EncodeAll(prose(r, n), nil)
}

func snappy(r *rand.Rand, n int) []byte { return s2.EncodeSnappy(nil, prose(r, n)) }

// media returns audio or video as codecs write it: packets with small headers and entropy-coded data.
func media(r *rand.Rand, n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		size := 100 + r.IntN(1200)
		switch r.IntN(3) {
		case 0: // MPEG transport stream: packets of 188 bytes, some with stuffing
			b = append(b, 0x47, byte(r.IntN(32)), byte(r.IntN(256)), 0x10|byte(i&15))
			b = append(b, noiseOf(r, 184)...)
		case 1: // H.264 in Annex B
			b = append(b, 0, 0, 0, 1, 0x41, 0x9a)
			b = append(b, noiseOf(r, size)...)
		default: // AAC in ADTS
			b = append(b, 0xff, 0xf1, 0x50, 0x80, byte(size>>3), byte(size<<5)|0x1f, 0xfc)
			b = append(b, noiseOf(r, size)...)
		}
	}
	return b
}

// wrapped returns the streams of TLS handshakes with a client certificate.
var wrapped = sync.OnceValue(func() (all [][2][]byte) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		talks, err := capturetest.TLSTalk(version, capturetest.Presented, 1)
		if err != nil {
			panic(err)
		}
		var streams [2][]byte
		for _, c := range talks[0].Chunks {
			side := 0
			if c.FromServer {
				side = 1
			}
			streams[side] = append(streams[side], c.Data...)
		}
		all = append(all, streams)
	}
	return all
})

// opaques are kinds of connections that are unreadable.
var opaques = map[string]opaque{
	"random":   streamed(noiseOf),
	"gzip":     streamed(gzipped),
	"deflate":  streamed(deflated),
	"zstd":     streamed(zstandard),
	"snappy":   streamed(snappy),
	"media":    streamed(media),
	"16 bytes": headed(16, func(*rand.Rand, int, int) []byte { return nil }),
	"big-endian length of 4": headed(9, func(_ *rand.Rand, _, n int) []byte {
		return binary.BigEndian.AppendUint32(nil, uint32(n))
	}),
	"little-endian length of 4": headed(9, func(_ *rand.Rand, _, n int) []byte {
		return binary.LittleEndian.AppendUint32(nil, uint32(n))
	}),
	"big-endian length of 2": headed(9, func(_ *rand.Rand, _, n int) []byte {
		return binary.BigEndian.AppendUint16(nil, uint16(n))
	}),
	"length of 8 and a type": headed(9, func(r *rand.Rand, _, n int) []byte {
		return append(binary.BigEndian.AppendUint64(nil, uint64(n)), 0, 0, 0, byte(r.IntN(4)))
	}),
	"length and counter": headed(8, func(_ *rand.Rand, i, n int) []byte {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, uint32(n)), uint64(i))
	}),
	"WireGuard": headed(16, func(_ *rand.Rand, i, _ int) []byte {
		return binary.LittleEndian.AppendUint64([]byte{4, 0, 0, 0, 7, 0x5a, 0xe1, 0x30}, uint64(i))
	}),
	"WireGuard that is not answered": func(r *rand.Rand, n int) (out []segment) {
		for range n {
			b := append([]byte{1, 0, 0, 0}, noiseOf(r, 4+32+48+28+16)...)
			out = append(out, segment{Originator, append(b, make([]byte, 16)...)})
		}
		return out
	},
	"OpenVPN": headed(20, func(_ *rand.Rand, i, n int) []byte {
		return binary.BigEndian.AppendUint32([]byte{byte((n + 8) >> 8), byte(n + 8), 0x48, 0, 0, 1}, uint32(i))
	}),
	"OpenVPN's control channel": headed(9, func(r *rand.Rand, i, n int) []byte {
		b := append([]byte{byte((n + 31) >> 8), byte(n + 31), 0x20}, noiseOf(r, 8+20)...)
		return binary.BigEndian.AppendUint32(b, uint32(i))
	}),
	"TLS without its beginning": streamed(func(r *rand.Rand, n int) (b []byte) {
		for len(b) < n {
			size := 24 + r.IntN(4000)
			b = append(append(b, 23, 3, 3, byte(size>>8), byte(size)), noiseOf(r, size)...)
		}
		return b[r.IntN(20):]
	}),
	"QUIC": headed(20, func(r *rand.Rand, _, _ int) []byte {
		return append([]byte{0x40 | byte(r.IntN(64))}, 1, 2, 3, 4, 5, 6, 7, 8)
	}),
	"MTProto": headed(24, func(r *rand.Rand, _, n int) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, uint32(n+8)), "\x11\x22\x93\xf4\xc5\xd6\x77\x88"...)
	}),
	"TeamViewer": headed(16, func(r *rand.Rand, i, n int) []byte {
		b := append([]byte{0x11, 0x30}, binary.LittleEndian.AppendUint16(nil, uint16(n))...)
		b = append(b, 0, byte(r.IntN(3)), 0, 0, byte(r.IntN(8)), 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(r.IntN(2)))
		return binary.LittleEndian.AppendUint32(b, uint32(i))
	}),
	"headers of 40 bytes": headed(16, func(r *rand.Rand, i, n int) []byte {
		b := make([]byte, 40)
		binary.LittleEndian.PutUint32(b, uint32(n))
		binary.LittleEndian.PutUint32(b[4:], uint32(i))
		b[12], b[16] = byte(r.IntN(5)), byte(r.IntN(5))
		return b
	}),
	"a type in text": headed(12, func(_ *rand.Rand, _, n int) []byte {
		return append([]byte("MSG1"), byte(n>>8), byte(n))
	}),
	"SSH without its beginning": streamed(noiseOf),
	"a handshake of TLS in packets": func(r *rand.Rand, n int) (out []segment) {
		all := wrapped()
		streams := all[r.IntN(len(all))]
		for i := range n {
			side := Side(r.IntN(2))
			size := min(100+r.IntN(1100), len(streams[side]))
			b := noiseOf(r, 64+r.IntN(1000)) // after the handshake
			if size > 0 {
				b, streams[side] = streams[side][:size], streams[side][size:]
			}
			h := append([]byte{byte((len(b) + 22) >> 8), byte(len(b) + 22), 0x20, 1, 2, 3, 4, 5, 6, 7, 8, 0}, 0, 0, 0, byte(i))
			out = append(out, segment{side, append(h, b...)})
		}
		return out
	},
	"SMB 3 of another magic": headed(16, func(r *rand.Rand, _, n int) []byte {
		b := append([]byte{0, 0, byte(n >> 8), byte(n), 0xfd, 'X', 'M', 'B'}, noiseOf(r, 16+11)...)
		return append(b, 0, 0, 0, 0, 0, byte(n), byte(n>>8), 0, 0, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0)
	}),
}

// TestOpaqueIsNeverPlaintext checks that a session never calls an unreadable connection plaintext or encrypted, over TCP and over UDP.
// -opaque=100000 takes some minutes.
func TestOpaqueIsNeverPlaintext(t *testing.T) {
	wrong, made := 0, 0
	names := slices.Sorted(maps.Keys(opaques))
	for i := range *opaqueConnections {
		name := names[i%len(names)]
		r := rand.New(rand.NewPCG(11, uint64(i)))
		segments := opaques[name](r, 1+r.IntN(64))
		s, u := New(), New()
		var at [2]int64
		for _, x := range segments {
			s.Data(x.side, at[x.side], x.data, at[x.side.Other()], 0)
			at[x.side] += int64(len(x.data))
			if len(x.data) > 0 {
				u.Datagram(x.side, x.data)
			}
		}
		s.Conclude()
		u.Conclude()
		made++
		for side := range Side(2) {
			for over, x := range map[string]*Session{"TCP": s, "UDP": u} {
				kind, protocol := x.Kind(side)
				if kind == KindText && (name == "snappy" || name == "zstd") {
					continue // literals and stored blocks are text
				}
				switch kind {
				case KindPlain, KindText, KindStructured, KindEncrypted:
					wrong++
					t.Errorf("connection %d, %s over %s: side %d is of kind %d %q; its segments begin %s", i, name, over, side, kind, protocol, begin(segments, side))
				default:
				}
			}
		}
	}
	t.Logf("%d of %d connections of %d kinds that cannot be read were called plaintext or encrypted", wrong, made, len(opaques))
}

func begin(segments []segment, side Side) string {
	var out []string
	for _, x := range segments {
		if x.side == side && len(out) < 3 {
			out = append(out, fmt.Sprintf("%s (%d bytes)", hex.EncodeToString(x.data[:min(len(x.data), 24)]), len(x.data)))
		}
	}
	return strings.Join(out, ", ")
}

// TestOpaqueInTheMiddle checks that no recognizer matches a later segment of an unreadable connection, wherever the segment begins.
func TestOpaqueInTheMiddle(t *testing.T) {
	for name, make := range opaques {
		for i := range max(*opaqueConnections/len(opaques), 1) {
			r := rand.New(rand.NewPCG(12, uint64(i)))
			for _, x := range make(r, 1+r.IntN(16)) {
				if len(x.data) == 0 {
					continue
				}
				for k := range protocols.TCP {
					c := &protocols.TCP[k]
					if a := max(c.Client(x.data), c.Server(x.data)); a == protocols.Yes {
						t.Errorf("%s: %s matches %x", name, c.Protocol, x.data[:min(len(x.data), 32)])
					}
				}
			}
		}
	}
}

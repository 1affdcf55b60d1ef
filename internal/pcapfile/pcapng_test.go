package pcapfile

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// packets returns all packets of a file, one line each: interface, name, link type, ns, data. It also returns the error
// that ended the file.
func packets(r io.Reader) (lines []string, err error) {
	c, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	for {
		var p flow.Packet
		iface, err := c.Next(&p)
		if errors.Is(err, io.EOF) {
			return lines, c.Skipped()
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, fmt.Sprintf("%d %q %d %d %s", iface, c.InterfaceName(iface), p.Link, p.Time, p.Data))
	}
}

func TestPcapng(t *testing.T) {
	const raw = 101
	w := capturetest.LittleBlocks
	start := bytes.Join([][]byte{w.Section(1), w.Interface(raw, 0, w.Option(2, "eth0"))}, nil)
	for _, test := range []struct {
		name string
		file []byte
		want string // lines of packets, separated by ";"
		err  string // part of the error; empty: no error
	}{
		{name: "both byte orders and sections", file: bytes.Join([][]byte{
			start, w.Packet(0, 1, "ab"),
			capturetest.BigBlocks.Section(1), capturetest.BigBlocks.Interface(276, 0, capturetest.BigBlocks.Option(2, "eth1")), capturetest.BigBlocks.Packet(0, 2, "cd"),
		}, nil), want: `0 "eth0" 101 1000 ab;0 "eth1" 276 2000 cd`},
		{name: "time stamps", file: bytes.Join([][]byte{
			w.Section(1),
			w.Interface(raw, 0, w.Option(9, "\x09")), w.Packet(0, 1_000_000_001, "a"),
			w.Interface(raw, 0, w.Option(9, "\x00")), w.Packet(1, 2, "b"),
			w.Interface(raw, 0, w.Option(9, "\x0c")), w.Packet(2, 3_000_000_004_000, "c"),
			w.Interface(raw, 0, w.Option(9, "\x81")), w.Packet(3, 3, "d"),
			w.Interface(raw, 0, w.Option(9, "\xbf")), w.Packet(4, 1<<63, "e"),
			w.Interface(raw, 0, w.Option(9, "\x14")), w.Packet(5, 1<<63, "f"),
			w.Interface(raw, 0, w.Option(9, "\xff")), w.Packet(6, 1<<63, "g"),
			w.Interface(raw, 0, w.Option(14, "\x02\x00\x00\x00\x00\x00\x00\x00")), w.Packet(7, 1, "h"),
			w.Interface(raw, 0, w.Option(9, ""), w.Option(14, "\x02")), w.Packet(8, 1, "i"),
		}, nil), want: `0 "" 101 1000000001 a;1 "" 101 2000000000 b;2 "" 101 3000000004 c;3 "" 101 1500000000 d;4 "" 101 1000000000 e;` +
			`5 "" 101 0 f;6 "" 101 0 g;7 "" 101 2000001000 h;8 "" 101 1000 i`},
		{name: "simple packets, truncated to the interface's snap length", file: bytes.Join([][]byte{
			w.Section(1), w.Interface(raw, 2), w.Block(ngSimple, w.Words(9), []byte("ab")), w.Simple("c"),
		}, nil), want: `0 "" 101 0 ab;0 "" 101 0 c`},
		{name: "the obsolete packet block", file: bytes.Join([][]byte{
			start, w.Block(ngPacket, w.AppendUint16(w.AppendUint16(nil, 0), 7), w.Words(0, 3, 2, 2), []byte("ab")),
		}, nil), want: `0 "eth0" 101 3000 ab`},
		{name: "blocks and options that are skipped", file: bytes.Join([][]byte{
			w.Section(1, w.Option(1, strings.Repeat("comment", 999)), w.Option(0, "")), w.Block(4, make([]byte, 600<<10)), w.Block(10, make([]byte, 1000)),
			w.Interface(raw, 0, w.Option(1, strings.Repeat("c", 60000)), w.Option(2, "too far")), w.Block(0x80000001), w.Packet(0, 1, "ab", w.Option(1, "comment"), w.Option(0, "")),
			w.Block(5, w.Words(7, 0, 0)),
		}, nil), want: `0 "" 101 1000 ab`},
		{name: "an option that is longer than its block", file: bytes.Join([][]byte{
			w.Section(1), w.Interface(raw, 0, []byte{2, 0, 0xff, 0xff, 'e', 't', 'h', '0'}), w.Packet(0, 1, "ab"),
		}, nil), want: `0 "" 101 1000 ab`},
		{name: "a long name", file: bytes.Join([][]byte{
			w.Section(1), w.Interface(raw, 0, w.Option(2, strings.Repeat("x", 1000))), w.Packet(0, 1, "ab"),
		}, nil), want: `0 "` + strings.Repeat("x", 64) + `" 101 1000 ab`},
		{name: "an unknown version", file: bytes.Join([][]byte{
			start, w.Packet(0, 1, "ab"), w.Section(2), w.Interface(raw, 0), w.Packet(0, 2, "no"), start, w.Packet(0, 3, "cd"),
		}, nil), want: `0 "eth0" 101 1000 ab;0 "eth0" 101 3000 cd`, err: "1 sections of an unknown version of pcapng: 2 blocks skipped"},
		{name: "more interfaces than are kept", file: bytes.Join([][]byte{
			start, bytes.Repeat(w.Interface(raw, 0), 5000), w.Packet(5000, 1, "no"), w.Packet(4095, 1, "ab"), w.Packet(4096, 1, "no"), w.Packet(0, 2, "cd"),
		}, nil), want: `4095 "" 101 1000 ab;0 "eth0" 101 2000 cd`, err: "more than 4096 interfaces: 2 packets"},
		{name: "an interface without a description", file: bytes.Join([][]byte{start, w.Packet(0, 1, "ab"), w.Packet(1, 1, "no")}, nil),
			want: `0 "eth0" 101 1000 ab`, err: "corrupt in packet 2, which starts at byte 92: a packet of interface 1 without a description: the section has 1 interfaces"},
		{name: "no interface", file: bytes.Join([][]byte{w.Section(1), w.Simple("ab")}, nil), err: "without a description: the section has 0 interfaces"},
		{name: "a packet longer than its block", file: bytes.Join([][]byte{start, w.Block(ngEnhanced, w.Words(0, 0, 0, 9, 9), []byte("abcd"))}, nil),
			err: "a packet of 9 bytes in a block with space for 4"},
		{name: "a packet of 4 GB", file: bytes.Join([][]byte{start, w.Block(ngEnhanced, w.Words(0, 0, 0, 0xffffffff, 0xffffffff), []byte("abcd"))}, nil),
			err: "a packet of 4294967295 bytes, expected 262144 at most"},
		{name: "a block of 4 GB", file: append(bytes.Clone(start), w.Words(4, 0xfffffffc)...), err: "truncated in packet 1"},
		{name: "a block of 8 bytes", file: append(bytes.Clone(start), w.Words(4, 8)...), err: "a block of 8 bytes, expected 12 or more"},
		{name: "a block of 13 bytes", file: append(bytes.Clone(start), w.Words(4, 13)...), err: "a block of 13 bytes"},
		{name: "a section header of 12 bytes", file: w.Block(ngSection, w.Words(0x1a2b3c4d, 1, 1, 1))[:20], err: "truncated in its section header"},
		{name: "a section header that is too short", file: append(w.Words(ngSection, 12, 0x1a2b3c4d), make([]byte, 20)...), err: "a section header of 12 bytes, expected 28 or more"},
		{name: "no byte order", file: make([]byte, 0, 64), err: "the file is empty"},
		{name: "a wrong byte order", file: w.Block(ngSection, make([]byte, 40)), err: "a section header without a byte-order magic"},
		{name: "an interface that is too short", file: bytes.Join([][]byte{w.Section(1), w.Block(ngInterface, []byte("abcd"))}, nil), err: "an interface description that is too short"},
		{name: "a packet block that is too short", file: bytes.Join([][]byte{start, w.Block(ngEnhanced)}, nil), err: "a packet block that is too short"},
	} {
		t.Run(test.name, func(t *testing.T) {
			lines, err := packets(bytes.NewReader(test.file))
			if got := strings.Join(lines, ";"); got != test.want {
				t.Errorf("got\n%s, want\n%s", got, test.want)
			}
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got error %v, want %q", err, test.err)
			}
		})
	}
}

// TestPcapngTruncated: a file that ends within a block gives an error, and a file that ends after a block gives none.
func TestPcapngTruncated(t *testing.T) {
	w := capturetest.BigBlocks
	blocks := [][]byte{w.Section(1), w.Interface(101, 0, w.Option(2, "eth0")), w.Packet(0, 1, "ab"), w.Block(5, w.Words(0, 0, 0)), w.Simple("abc")}
	file, ends := bytes.Join(blocks, nil), map[int]bool{}
	for n := range blocks {
		ends[len(bytes.Join(blocks[:n+1], nil))] = true
	}
	for n := 1; n <= len(file); n++ {
		_, err := packets(bytes.NewReader(file[:n]))
		if ends[n] != (err == nil) {
			t.Errorf("truncated to %d of %d bytes: error %v", n, len(file), err)
		}
	}
}

// TestPcapVersions: the reader accepts all versions that libpcap reads.
func TestPcapVersions(t *testing.T) {
	file := func(magic uint32, major, minor uint16, header ...uint32) []byte {
		w := capturetest.BigBlocks
		b := w.AppendUint16(w.AppendUint16(w.Words(magic), major), minor)
		b = append(b, w.Words(0, 0, 0xffff, 101)...)
		return append(append(b, w.Words(append([]uint32{1, 2}, header...)...)...), "abc"...)
	}

	for _, test := range []struct {
		file []byte
		want string
	}{
		{file(pcapMicro, 2, 4, 3, 9), "1000002000 abc"},
		{file(pcapNano, 2, 4, 3, 9), "1000000002 abc"},
		{file(pcapPatched, 2, 4, 3, 9, 7, 7), "1000002000 abc"},
		{file(pcapMicro, 2, 3, 3, 9), "1000002000 abc"},
		{file(pcapMicro, 2, 3, 9, 3), "1000002000 abc"},
		{file(pcapMicro, 2, 2, 9, 3), "1000002000 abc"},
		{file(pcapMicro, 2, 0, 9, 3), "1000002000 abc"},
		{file(pcapMicro, 543, 0, 9, 3), "1000002000 abc"},
		{file(pcapMicro, 2, 5, 3, 9), "pcap version 2.5 is not supported: expected 2.4"},
		{file(pcapMicro, 3, 0, 3, 9), "pcap version 3.0"},
	} {
		lines, err := packets(bytes.NewReader(test.file))
		if got := strings.Join(lines, ";") + fmt.Sprint(err); !strings.Contains(got, test.want) {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

// FuzzCapture: for any bytes the reader does not panic or loop forever, and returns only packets that are in the file.
func FuzzCapture(f *testing.F) {
	for _, w := range []capturetest.Blocks{capturetest.LittleBlocks, capturetest.BigBlocks} {
		f.Add(bytes.Join([][]byte{
			w.Section(1), w.Interface(101, 2, w.Option(2, "eth0"), w.Option(9, "\x89"), w.Option(14, "\x02\x00\x00\x00\x00\x00\x00\x00")), w.Packet(0, 1, "abc"),
			w.Block(ngPacket, w.Words(0, 0, 3, 2, 2), []byte("ab")), w.Simple("abc"), w.Block(5, w.Words(0, 0, 0)),
		}, nil))
		f.Add(append(append(w.Words(pcapMicro), w.AppendUint16(w.AppendUint16(nil, 2), 4)...), w.Words(0, 0, 0xffff, 101, 1, 2, 3, 3, 0x61626300)...))
	}

	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		var p flow.Packet
		for n, bytes := 0, 0; err == nil; n++ {
			if _, err = c.Next(&p); err != nil {
				break
			}
			bytes += len(p.Data) + 16
			if file[0] != 0x1f && bytes > len(file) {
				t.Fatalf("%d packets of %d bytes, headers included, in a file of %d", n+1, bytes, len(file))
			}
			if len(p.Data) > maxPacket || p.Length < len(p.Data) {
				t.Fatalf("a packet of %d bytes, %d captured", p.Length, len(p.Data))
			}
		}

		if c.position() > int64(len(file)) && file[0] != 0x1f {
			t.Errorf("at byte %d of %d", c.position(), len(file))
		}
		if got, want := readOut(bytes.NewReader(file), true), readOut(bytes.NewReader(file), false); !slices.Equal(got, want) {
			t.Errorf("the fast path reads %q, want %q", got, want)
		}
	})
}

// TestPcapngPieces: packets are the same however much of the file each read returns, and wherever the buffer ends.
func TestPcapngPieces(t *testing.T) {
	w, r := capturetest.LittleBlocks, rand.New(rand.NewPCG(3, 4))
	file := bytes.Join([][]byte{w.Section(1), w.Interface(101, 0, w.Option(2, "eth0"))}, nil)
	var want []string
	for i := range 2000 {
		data := make([]byte, r.IntN(1500))
		for k := range data {
			data[k] = byte(r.Uint32())
		}
		want = append(want, fmt.Sprintf("%x", sha256.Sum256(data)))
		file = append(file, w.Packet(0, uint64(i), string(data))...)
	}
	for name, in := range map[string]io.Reader{
		"whole": bytes.NewReader(file), "in halves": iotest.HalfReader(bytes.NewReader(file)), "byte by byte": iotest.OneByteReader(bytes.NewReader(file)),
	} {
		c, err := NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			var p flow.Packet
			if _, err := c.Next(&p); err != nil {
				t.Fatal(name, i, err)
			}
			if got := fmt.Sprintf("%x", sha256.Sum256(p.Data)); got != want[i] {
				t.Errorf("%s: packet %d of %d bytes has other data", name, i, len(p.Data))
			}
		}
	}
}

// TestPcapngReadError: an error of the input is reported unchanged, at any position.
func TestPcapngReadError(t *testing.T) {
	w, broken := capturetest.LittleBlocks, errors.New("the disk is broken")
	file := bytes.Join([][]byte{w.Section(1), w.Interface(101, 0, w.Option(2, "eth0")), w.Packet(0, 1, "ab"), w.Packet(0, 2, "cd")}, nil)
	for n := range len(file) {
		if _, err := packets(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
			t.Errorf("after %d of %d bytes: %v", n, len(file), err)
		}
	}
}

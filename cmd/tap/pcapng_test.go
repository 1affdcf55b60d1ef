package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// blockWriter writes pcapng blocks in one byte order.
type blockWriter struct{ binary.AppendByteOrder }

var littleBlocks, bigBlocks = blockWriter{binary.LittleEndian}, blockWriter{binary.BigEndian}

func (w blockWriter) block(kind uint32, body ...[]byte) []byte {
	joined := bytes.Join(body, nil)
	joined = append(joined, make([]byte, -len(joined)&3)...)
	size := uint32(len(joined) + 12)
	b := w.AppendUint32(w.AppendUint32(nil, kind), size)
	return w.AppendUint32(append(b, joined...), size)
}

func (w blockWriter) words(n ...uint32) (b []byte) {
	for _, n := range n {
		b = w.AppendUint32(b, n)
	}
	return b
}

func (w blockWriter) section(major uint16, options ...[]byte) []byte {
	head := w.AppendUint16(w.AppendUint16(w.words(0x1a2b3c4d), major), 0)
	return w.block(ngSection, append([][]byte{head, bytes.Repeat([]byte{0xff}, 8)}, options...)...)
}

func (w blockWriter) option(code uint16, value string) []byte {
	b := w.AppendUint16(w.AppendUint16(nil, code), uint16(len(value)))
	return append(append(b, value...), make([]byte, -len(value)&3)...)
}

func (w blockWriter) iface(link uint16, snap uint32, options ...[]byte) []byte {
	return w.block(ngInterface, append([][]byte{w.AppendUint16(w.AppendUint16(nil, link), 0), w.words(snap)}, options...)...)
}

func (w blockWriter) packet(iface uint32, stamp uint64, data string, options ...[]byte) []byte {
	padded := append([]byte(data), make([]byte, -len(data)&3)...)
	n := uint32(len(data))
	return w.block(ngEnhanced, append([][]byte{w.words(iface, uint32(stamp>>32), uint32(stamp), n, n), padded}, options...)...)
}

func (w blockWriter) simple(data string) []byte {
	return w.block(ngSimple, w.words(uint32(len(data))), []byte(data))
}

// packets reads all packets of a file, one line each: interface, name, link type, ns, data. It returns the error that ended it.
func packets(r io.Reader) (lines []string, err error) {
	c, err := openCapture(r)
	if err != nil {
		return nil, err
	}
	for {
		var p flow.Packet
		iface, err := c.next(&p)
		if errors.Is(err, io.EOF) {
			return lines, c.skips.err()
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, fmt.Sprintf("%d %q %d %d %s", iface, c.source.interfaceName(iface), p.Link, p.Time, p.Data))
	}
}

func TestPcapng(t *testing.T) {
	const raw = 101
	w := littleBlocks
	start := bytes.Join([][]byte{w.section(1), w.iface(raw, 0, w.option(2, "eth0"))}, nil)
	for _, test := range []struct {
		name string
		file []byte
		want string // lines of packets, with ";" between them
		err  string // part of the error, empty: none
	}{
		{name: "both byte orders and sections", file: bytes.Join([][]byte{
			start, w.packet(0, 1, "ab"),
			bigBlocks.section(1), bigBlocks.iface(276, 0, bigBlocks.option(2, "eth1")), bigBlocks.packet(0, 2, "cd"),
		}, nil), want: `0 "eth0" 101 1000 ab;0 "eth1" 276 2000 cd`},
		{name: "time stamps", file: bytes.Join([][]byte{
			w.section(1),
			w.iface(raw, 0, w.option(9, "\x09")), w.packet(0, 1_000_000_001, "a"),
			w.iface(raw, 0, w.option(9, "\x00")), w.packet(1, 2, "b"),
			w.iface(raw, 0, w.option(9, "\x0c")), w.packet(2, 3_000_000_004_000, "c"),
			w.iface(raw, 0, w.option(9, "\x81")), w.packet(3, 3, "d"),
			w.iface(raw, 0, w.option(9, "\xbf")), w.packet(4, 1<<63, "e"),
			w.iface(raw, 0, w.option(9, "\x14")), w.packet(5, 1<<63, "f"),
			w.iface(raw, 0, w.option(9, "\xff")), w.packet(6, 1<<63, "g"),
			w.iface(raw, 0, w.option(14, "\x02\x00\x00\x00\x00\x00\x00\x00")), w.packet(7, 1, "h"),
			w.iface(raw, 0, w.option(9, ""), w.option(14, "\x02")), w.packet(8, 1, "i"),
		}, nil), want: `0 "" 101 1000000001 a;1 "" 101 2000000000 b;2 "" 101 3000000004 c;3 "" 101 1500000000 d;4 "" 101 1000000000 e;` +
			`5 "" 101 0 f;6 "" 101 0 g;7 "" 101 2000001000 h;8 "" 101 1000 i`},
		{name: "simple packets, cut by the interface's snap length", file: bytes.Join([][]byte{
			w.section(1), w.iface(raw, 2), w.block(ngSimple, w.words(9), []byte("ab")), w.simple("c"),
		}, nil), want: `0 "" 101 0 ab;0 "" 101 0 c`},
		{name: "the obsolete packet block", file: bytes.Join([][]byte{
			start, w.block(ngPacket, w.AppendUint16(w.AppendUint16(nil, 0), 7), w.words(0, 3, 2, 2), []byte("ab")),
		}, nil), want: `0 "eth0" 101 3000 ab`},
		{name: "blocks and options that are skipped", file: bytes.Join([][]byte{
			w.section(1, w.option(1, strings.Repeat("comment", 999)), w.option(0, "")), w.block(4, make([]byte, 600<<10)), w.block(10, make([]byte, 1000)),
			w.iface(raw, 0, w.option(1, strings.Repeat("c", 60000)), w.option(2, "too far")), w.block(0x80000001), w.packet(0, 1, "ab", w.option(1, "comment"), w.option(0, "")),
			w.block(5, w.words(7, 0, 0)),
		}, nil), want: `0 "" 101 1000 ab`},
		{name: "an option that is longer than its block", file: bytes.Join([][]byte{
			w.section(1), w.iface(raw, 0, []byte{2, 0, 0xff, 0xff, 'e', 't', 'h', '0'}), w.packet(0, 1, "ab"),
		}, nil), want: `0 "" 101 1000 ab`},
		{name: "a long name", file: bytes.Join([][]byte{
			w.section(1), w.iface(raw, 0, w.option(2, strings.Repeat("x", 1000))), w.packet(0, 1, "ab"),
		}, nil), want: `0 "` + strings.Repeat("x", 64) + `" 101 1000 ab`},
		{name: "a version that is not known", file: bytes.Join([][]byte{
			start, w.packet(0, 1, "ab"), w.section(2), w.iface(raw, 0), w.packet(0, 2, "no"), start, w.packet(0, 3, "cd"),
		}, nil), want: `0 "eth0" 101 1000 ab;0 "eth0" 101 3000 cd`, err: "1 sections of an unknown version of pcapng: 2 blocks skipped"},
		{name: "more interfaces than are kept", file: bytes.Join([][]byte{
			start, bytes.Repeat(w.iface(raw, 0), 5000), w.packet(5000, 1, "no"), w.packet(4095, 1, "ab"), w.packet(4096, 1, "no"), w.packet(0, 2, "cd"),
		}, nil), want: `4095 "" 101 1000 ab;0 "eth0" 101 2000 cd`, err: "more than 4096 interfaces: 2 packets"},
		{name: "an interface that is not there", file: bytes.Join([][]byte{start, w.packet(0, 1, "ab"), w.packet(1, 1, "no")}, nil),
			want: `0 "eth0" 101 1000 ab`, err: "corrupt in packet 2, which begins at byte 92: a packet of interface 1, of which there is no description: 1 came before"},
		{name: "no interface", file: bytes.Join([][]byte{w.section(1), w.simple("ab")}, nil), err: "of which there is no description: 0 came before"},
		{name: "a packet longer than its block", file: bytes.Join([][]byte{start, w.block(ngEnhanced, w.words(0, 0, 0, 9, 9), []byte("abcd"))}, nil),
			err: "a packet of 9 bytes in a block with room for 4"},
		{name: "a packet of 4 GB", file: bytes.Join([][]byte{start, w.block(ngEnhanced, w.words(0, 0, 0, 0xffffffff, 0xffffffff), []byte("abcd"))}, nil),
			err: "a packet of 4294967295 bytes, expected 262144 at most"},
		{name: "a block of 4 GB", file: append(bytes.Clone(start), w.words(4, 0xfffffffc)...), err: "truncated in packet 1"},
		{name: "a block of 8 bytes", file: append(bytes.Clone(start), w.words(4, 8)...), err: "a block of 8 bytes, expected 12 or more"},
		{name: "a block of 13 bytes", file: append(bytes.Clone(start), w.words(4, 13)...), err: "a block of 13 bytes"},
		{name: "a section header of 12 bytes", file: w.block(ngSection, w.words(0x1a2b3c4d, 1, 1, 1))[:20], err: "truncated in its section header"},
		{name: "a section header that is too short", file: append(w.words(ngSection, 12, 0x1a2b3c4d), make([]byte, 20)...), err: "a section header of 12 bytes, expected 28 or more"},
		{name: "no byte order", file: make([]byte, 0, 64), err: "the file is empty"},
		{name: "a wrong byte order", file: w.block(ngSection, make([]byte, 40)), err: "a section header without a byte-order magic"},
		{name: "an interface that is too short", file: bytes.Join([][]byte{w.section(1), w.block(ngInterface, []byte("abcd"))}, nil), err: "an interface description that is too short"},
		{name: "a packet block that is too short", file: bytes.Join([][]byte{start, w.block(ngEnhanced)}, nil), err: "a packet block that is too short"},
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

// TestPcapngTruncated: cut anywhere but between two blocks, a file says so, and what was before is read.
func TestPcapngTruncated(t *testing.T) {
	w := bigBlocks
	blocks := [][]byte{w.section(1), w.iface(101, 0, w.option(2, "eth0")), w.packet(0, 1, "ab"), w.block(5, w.words(0, 0, 0)), w.simple("abc")}
	file, ends := bytes.Join(blocks, nil), map[int]bool{}
	for n := range blocks {
		ends[len(bytes.Join(blocks[:n+1], nil))] = true
	}
	for n := 1; n <= len(file); n++ {
		_, err := packets(bytes.NewReader(file[:n]))
		if ends[n] != (err == nil) {
			t.Errorf("cut at %d of %d: error %v", n, len(file), err)
		}
	}
}

// TestPcapVersions: what libpcap reads is read.
func TestPcapVersions(t *testing.T) {
	file := func(magic uint32, major, minor uint16, header ...uint32) []byte {
		w := bigBlocks
		b := w.AppendUint16(w.AppendUint16(w.words(magic), major), minor)
		b = append(b, w.words(0, 0, 0xffff, 101)...)
		return append(append(b, w.words(append([]uint32{1, 2}, header...)...)...), "abc"...)
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
		{file(pcapMicro, 2, 5, 3, 9), "pcap version 2.5 is not known here: expected 2.4"},
		{file(pcapMicro, 3, 0, 3, 9), "pcap version 3.0"},
	} {
		lines, err := packets(bytes.NewReader(test.file))
		if got := strings.Join(lines, ";") + fmt.Sprint(err); !strings.Contains(got, test.want) {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

// repeated reads as a file that begins with head and goes on with n times block, without being there as a whole.
func repeated(head, block []byte, n int) io.Reader {
	some := bytes.Repeat(block, 1000)
	readers := []io.Reader{bytes.NewReader(head)}
	for range n / 1000 {
		readers = append(readers, bytes.NewReader(some))
	}
	return io.MultiReader(readers...)
}

// TestHostileFilesTakeNoMemory: however many blocks a file has, and whatever they claim, what `tap read` allocates for it in all
// is what it allocates for a small one and little more. (845 MB were resident for the first of these, and its gzip has 48 kB.)
func TestHostileFilesTakeNoMemory(t *testing.T) {
	norace(t)
	w := littleBlocks
	start := append(w.section(1), w.iface(101, 0)...)
	record := w.words(1, 0, 0, 0)
	classic := append(append(w.words(pcapMicro), 2, 0, 4, 0), w.words(0, 0, 0xffffffff, 101)...)
	const n, most = 1_000_000, 4 << 20
	var sections []byte
	for i := range n / 50 {
		sections = append(append(append(sections, w.section(1)...), w.iface(101, 0, w.option(2, fmt.Sprintf("%60d", i)))...), w.packet(0, 1, "")...)
	}
	for name, file := range map[string]io.Reader{
		"interfaces":      repeated(w.section(1), w.iface(1, 0xffffffff), n),
		"interface names": repeated(w.section(1), w.iface(1, 0, w.option(2, strings.Repeat("n", 200))), n/5),
		"sections":        repeated(nil, w.section(1), n),
		"sections, each with an interface of another name and a packet": bytes.NewReader(sections),
		"packets":           repeated(start, w.packet(0, 1, ""), n),
		"empty packets":     repeated(start, w.simple(""), n),
		"comments":          repeated(start, w.packet(0, 1, "", w.option(1, "1"), w.option(1, "2"), w.option(1, "3")), n/5),
		"statistics":        repeated(start, w.block(5, w.words(0, 0, 0)), n),
		"name resolution":   repeated(start, w.block(4, w.AppendUint16(w.AppendUint16(nil, 1), 8), []byte("\x7f\x00\x00\x01abc\x00"), w.words(0)), n),
		"secrets":           repeated(start, w.block(10, w.words(0x544c534b, 4), []byte("abcd")), n),
		"a secret of 64 MB": io.MultiReader(bytes.NewReader(append(bytes.Clone(start), w.words(10, 64<<20)...)), repeated(nil, make([]byte, 64), n)),
		"unknown blocks":    repeated(start, w.block(0x0bad), n),
		"unknown version":   repeated(w.section(9), w.iface(1, 0), n),
		"unknown links":     repeated(append(w.section(1), w.iface(9999, 0)...), w.packet(0, 1, "a"), n/5),
		"packets of pcap":   repeated(classic, record, n),
	} {
		t.Run(name, func(t *testing.T) {
			small := allocatedBy(t, bytes.NewReader(append(bytes.Clone(start), w.packet(0, 1, "")...)))
			if got := allocatedBy(t, file) - small; got > most {
				t.Errorf("%d bytes allocated beyond the %d that a small file takes, want %d at most", got, small, most)
			}
		})
	}
}

// allocatedBy returns how many bytes `tap read` allocates in all for a file, which it reads from a pipe of gzip.
func allocatedBy(t *testing.T, file io.Reader) int64 {
	t.Helper()
	name := filepath.Join(t.TempDir(), "capture.gz")
	f, err := os.Create(name) //nolint:gosec // the test's own
	if err != nil {
		t.Fatal(err)
	}
	z, _ := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if _, err := io.Copy(z, file); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = read([]string{"--output=text", name}, streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	runtime.ReadMemStats(&after)
	t.Log(err)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// FuzzCapture: no bytes make the reader panic, go on without end, or return a packet that is not in the file.
func FuzzCapture(f *testing.F) {
	for _, w := range []blockWriter{littleBlocks, bigBlocks} {
		f.Add(bytes.Join([][]byte{
			w.section(1), w.iface(101, 2, w.option(2, "eth0"), w.option(9, "\x89"), w.option(14, "\x02\x00\x00\x00\x00\x00\x00\x00")), w.packet(0, 1, "abc"),
			w.block(ngPacket, w.words(0, 0, 3, 2, 2), []byte("ab")), w.simple("abc"), w.block(5, w.words(0, 0, 0)),
		}, nil))
		f.Add(append(append(w.words(pcapMicro), w.AppendUint16(w.AppendUint16(nil, 2), 4)...), w.words(0, 0, 0xffff, 101, 1, 2, 3, 3, 0x61626300)...))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := openCapture(bytes.NewReader(file))
		if err != nil {
			return
		}
		var p flow.Packet
		for n, bytes := 0, 0; err == nil; n++ {
			if _, err = c.next(&p); err != nil {
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
			t.Errorf("the short way reads %q, want %q", got, want)
		}
	})
}

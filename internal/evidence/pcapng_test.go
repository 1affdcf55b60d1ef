package evidence_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/confine"
	"github.com/meshtls-tap/meshtls-tap/internal/evidence"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

var sample = evidence.Finding{
	ID: "0123456789abcdef", Rule: "plaintext-edge", Message: "shop/web spoke HTTP in plaintext.", Application: "meshtls-tap 1.2.3",
	Filter: "tcp or udp", Interface: "eth0", Received: 812, Dropped: 3, Counted: true,
	Names: []evidence.Name{{netip.MustParseAddr("10.0.0.1"), "web.shop"}, {netip.MustParseAddr("2001:db8::1"), "spiffe://cluster.local/ns/shop/sa/db"}},
}

// plainFile returns the evidence for a request in plaintext.
func plainFile(t *testing.T) []byte {
	t.Helper()
	talk, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	return fileOf(packetsOf(talk.Packets(capturetest.Options{})), evidence.NewRecorder(1<<20), fileBytes)
}

// fileOf returns the evidence of the first connection at its end, nil if there is none.
func fileOf(packets []flow.Packet, rec *evidence.Recorder, most int) (out []byte) {
	p := pipeline.New(pipeline.Config{
		Table: flow.Config{Observe: rec.Observe}, Ended: rec.Forget,
		Judged: func(j *verdict.Judged) {
			if j.Ended && j.ID == 1 {
				out = rec.Encode(j.ID, &sample, most)
			}
		},
	})
	p.Add(packets...)
	p.Flush()
	return out
}

// TestFile: pcapgo reads all blocks: the section with its comment, the interface with name, filter and drops, the packets with their time and length.
func TestFile(t *testing.T) {
	file := plainFile(t)
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	section := r.SectionInfo()
	if section.Application != "meshtls-tap 1.2.3" || !strings.HasPrefix(section.Comment, "finding 0123456789abcdef: plaintext-edge\nshop/web spoke HTTP in plaintext.\nReduced: ") {
		t.Errorf("%+v", section)
	}
	packets := 0
	for ; ; packets++ {
		data, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if want := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(packets) * time.Millisecond); !ci.Timestamp.Equal(want) || ci.Length < len(data) {
			t.Errorf("packet %d: %v, %d of %d bytes", packets, ci.Timestamp, len(data), ci.Length)
		}
	}
	i, err := r.Interface(0)
	if err != nil || i.Name != "eth0" || i.Filter != "tcp or udp" || i.LinkType != layers.LinkTypeEthernet || i.Statistics.PacketsReceived != 812 || i.Statistics.PacketsDropped != 3 {
		t.Errorf("%v, %+v", err, i)
	}
	if packets < 7 || r.NInterfaces() != 1 {
		t.Errorf("%d packets, %d interfaces", packets, r.NInterfaces())
	}
	if !bytes.Contains(file, []byte("GET /x")) || !bytes.Contains(file, []byte("HTTP/1.1 200 OK\r\n")) {
		t.Error("the request line is missing")
	}
}

// TestBlocks checks what pcapgo skips: the names, and the comments of the first and the last packet.
func TestBlocks(t *testing.T) {
	file := plainFile(t)
	var kinds []uint32
	var comments []string
	names := ""
	for b := file; len(b) > 0; {
		kind, size := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		if size%4 != 0 || binary.LittleEndian.Uint32(b[size-4:]) != size {
			t.Fatalf("a block of %d bytes", size)
		}
		if len(kinds) == 0 || kinds[len(kinds)-1] != kind {
			kinds = append(kinds, kind)
		}
		switch kind {
		case 4:
			names = string(b[8 : size-4])
		case 6:
			options := b[28+(binary.LittleEndian.Uint32(b[20:])+3)&^3 : size-4]
			if len(options) > 0 {
				comments = append(comments, string(options[4:4+binary.LittleEndian.Uint16(options[2:])]))
			}
		}
		b = b[size:]
	}
	if got := fmt.Sprint(kinds); got != fmt.Sprint([]uint32{0x0a0d0d0a, 1, 4, 6, 5}) {
		t.Errorf("blocks %s", got)
	}
	if want := "\x01\x00\x0d\x00\x0a\x00\x00\x01web.shop\x00\x00\x00\x00"; !strings.HasPrefix(names, want) || !strings.Contains(names, "spiffe://cluster.local/ns/shop/sa/db\x00") {
		t.Errorf("names %q", names)
	}
	if len(comments) != 2 || comments[0] != "finding 0123456789abcdef: plaintext-edge" || !strings.HasPrefix(comments[1], comments[0]+": the last packet") {
		t.Errorf("comments %q", comments)
	}
}

// TestWireshark: tshark reads the file without a complaint, and shows comments, names and a masked request.
func TestWireshark(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed")
	}
	name := filepath.Join(t.TempDir(), "a.pcapng")
	if err := os.WriteFile(name, plainFile(t), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string { return confine.Tshark(t, name, args...) }
	if out := run("-T", "fields", "-e", "frame.comment", "-Y", "frame.comment"); strings.Count(out, "finding 0123456789abcdef: plaintext-edge") != 2 {
		t.Errorf("comments: %s", out)
	}
	if out := run("-N", "n", "-T", "fields", "-e", "ip.src_host"); !strings.Contains(out, "web.shop") {
		t.Errorf("names: %s", out)
	}
	if out := run("-d", "tcp.port==443,http", "-T", "fields", "-e", "tcp.payload"); !strings.Contains(out, "474554202f") { // GET /
		t.Errorf("payloads: %s", out)
	}
}

// TestEncodeSize: a file is never larger than its bound.
func TestEncodeSize(t *testing.T) {
	mixed, err := capturetest.Mixed(time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	packets := packetsOf(mixed)
	for _, most := range []int{8 << 10, 20 << 10, fileBytes} {
		for _, x := range []evidence.Finding{sample, {ID: "1", Rule: strings.Repeat("r", 5000), Message: strings.Repeat("m", 5000), Filter: strings.Repeat("f", 5000)}} {
			rec := evidence.NewRecorder(16 << 20)
			largest := 0
			p := pipeline.New(pipeline.Config{Table: flow.Config{Observe: rec.Observe}, Ended: rec.Forget, Judged: func(j *verdict.Judged) {
				if j.Ended {
					largest = max(largest, len(rec.Encode(j.ID, &x, most)))
				}
			}})
			p.Add(packets...)
			p.Flush()
			if largest > most || largest == 0 {
				t.Errorf("%d bytes, at most %d expected", largest, most)
			}
		}
	}
}

package evidence_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/evidence"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestRecorderBound: for any traffic, a Recorder stays within its bound, and it is empty after the connections have ended, except for memory
// that it reuses.
func TestRecorderBound(t *testing.T) {
	mixed, err := capturetest.Mixed(time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, most := range []int{64 << 10, 1 << 20} {
		rec := evidence.NewRecorder(most)
		p := pipeline.New(pipeline.Config{Table: flow.Config{Observe: rec.Observe}, Ended: rec.Forget, Judged: func(*verdict.Judged) {}})
		largest := 0
		for _, x := range packetsOf(mixed) {
			p.Add(x)
			largest = max(largest, rec.BytesInUse())
		}
		if largest > most || largest < 32<<10 {
			t.Errorf("%d bytes, at most %d expected", largest, most)
		}
		p.Flush()
		if rec.BytesInUse() > min(most, 16*(16<<10+1000)) {
			t.Errorf("%d bytes after the end", rec.BytesInUse())
		}
	}
}

// TestRecorderEvicts: when a Recorder is full, the connection whose latest packet is the oldest is removed.
func TestRecorderEvicts(t *testing.T) {
	rec := evidence.NewRecorder(64 << 10)
	p := pipeline.New(pipeline.Config{Table: flow.Config{Observe: rec.Observe}, Judged: func(*verdict.Judged) {}})
	talk := &capturetest.Conversation{Chunks: []capturetest.Chunk{client("GET / HTTP/1.1\r\n"), client(string(make([]byte, 1400)))}}
	has := func(id uint64) bool { return rec.Encode(id, &sample, fileBytes) != nil }
	for n := range 40 {
		frames := talk.Packets(capturetest.Options{NoFIN: true, Client: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(40000+n))})
		p.Add(packetsOf(frames)...)
		if n == 9 { // the first connection continues
			p.Add(packetsOf(talk.Packets(capturetest.Options{NoFIN: true, NoSYN: true, Client: netip.MustParseAddrPort("10.0.0.1:40000")}))...)
		}
		if n == 10 && (!has(1) || has(0) || !has(11)) {
			t.Errorf("after 11 connections: %v %v", has(1), has(11))
		}
	}
	if has(1) || has(2) || !has(40) {
		t.Errorf("%v %v %v", has(1), has(2), has(40))
	}
}

// TestRecorderLatePacket: of a long connection, the latest packet is in the evidence, and the comment names the parts that are left out.
func TestRecorderLatePacket(t *testing.T) {
	talks, err := capturetest.TLSTalk(0x0304, capturetest.Presented, 1)
	if err != nil {
		t.Fatal(err)
	}
	record := "\x17\x03\x03\x3f\xff" + string(make([]byte, 0x3fff))
	chunks := joined(talks[0].Chunks[:len(talks[0].Chunks)-2], []capturetest.Chunk{client(record), client(record), client(record), client(record), client(record), client(record), client(record), client(record), client(record)})
	packets := packetsOf(chunks.Packets(capturetest.Options{NoFIN: true}))
	rec := evidence.NewRecorder(1 << 20)
	file := fileOf(packets, rec, fileBytes)
	got := packetsIn(t, bytes.NewReader(file))
	if last := packets[len(packets)-1]; len(got) >= len(packets) || got[len(got)-1].Time != last.Time || !bytes.Contains(file, []byte("Packets after the first 128 KiB are left out")) {
		t.Errorf("%d of %d packets", len(got), len(packets))
	}
}

// TestRecorderLateStart: the comment reports that earlier packets are missing.
func TestRecorderLateStart(t *testing.T) {
	rec := evidence.NewRecorder(1 << 20)
	talk := &capturetest.Conversation{Chunks: []capturetest.Chunk{client("GET / HTTP/1.1\r\n\r\n")}}
	var file []byte
	p := pipeline.New(pipeline.Config{Table: flow.Config{Observe: rec.Observe}, Judged: func(j *verdict.Judged) { file = rec.Encode(j.ID, &sample, fileBytes) }})
	packets := packetsOf(talk.Packets(capturetest.Options{}))
	p.Add(packets[:2]...)
	rec.Forget(1)
	p.Add(packets[2:]...)
	p.Flush()
	if !bytes.Contains(file, []byte("Packets at the start of the connection were no longer stored.")) {
		t.Errorf("%q", file)
	}
}

// TestRetransmissions: bytes that are sent again are masked in the same manner, and differ where the originals differ.
func TestRetransmissions(t *testing.T) {
	from, to := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80")
	segment := func(seq uint32, data string) flow.Packet {
		frame := capturetest.TCPFrame(from, to, layers.TCP{Seq: seq, ACK: true, Ack: 1}, []byte(data))
		return flow.Packet{Time: 1, Data: frame, Length: len(frame), Link: wire.LinkEthernet}
	}
	request := "GET /secret-of-alice HTTP/1.1\r\nHost: a\r\n\r\n"
	file := fileOf([]flow.Packet{
		segment(100, request), segment(100, request), segment(105, request[5:]), segment(105, "SECRET"+request[11:]), segment(110, request[10:20]),
	}, evidence.NewRecorder(1<<20), fileBytes)
	var payloads []string
	for _, p := range packetsIn(t, bytes.NewReader(file)) {
		var d flow.Decoded
		if !flow.Decode(&p, &d) {
			t.Fatal("not decoded")
		}
		payloads = append(payloads, string(d.Payload))
	}
	const end = " HTTP/1.1\r\nxxxxxxx\r\n\r\n"
	want := []string{"GET /xxxxxxxxxxxxxxx" + end, "GET /xxxxxxxxxxxxxxx" + end, "xxxxxxxxxxxxxxx" + end, "yyyyyyxxxxxxxxx" + end, "xxxxxxxxxx"}
	if len(payloads) != len(want) {
		t.Fatalf("%q", payloads)
	}
	for i := range want {
		if payloads[i] != want[i] {
			t.Errorf("packet %d: %q, want %q", i, payloads[i], want[i])
		}
	}
}

// FuzzEncode checks that no packets make the encoder panic, and that files are whole and within their bound.
func FuzzEncode(f *testing.F) {
	for _, s := range capturetest.ProtocolSamples {
		f.Add([]byte(s.Client), []byte(s.Server), uint8(3), false)
	}
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"), []byte("\x16\xfe\xfd"), uint8(7), true)
	f.Fuzz(func(t *testing.T, a, b []byte, step uint8, udp bool) {
		from, to := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80")
		var packets []flow.Packet
		add := func(frame []byte) {
			n := len(frame)
			if step%5 == 0 { // truncated
				n -= min(n-54, int(step)/2)
			}
			packets = append(packets, flow.Packet{Time: int64(len(packets)), Data: frame[:n], Length: len(frame), Link: wire.LinkEthernet})
		}
		size := max(int(step), 1)
		for i := 0; i < max(len(a), len(b)) && len(packets) < 200; i += size {
			x, y := a[min(i, len(a)):min(i+size, len(a))], b[min(i, len(b)):min(i+size, len(b))]
			if udp {
				add(capturetest.UDPFrame(from, to, x))
				add(capturetest.UDPFrame(to, from, y))
				continue
			}
			add(capturetest.TCPFrame(from, to, layers.TCP{Seq: uint32(i) ^ uint32(step&4), ACK: true}, x))
			add(capturetest.TCPFrame(to, from, layers.TCP{Seq: uint32(i), ACK: true}, y))
		}
		file := fileOf(packets, evidence.NewRecorder(1<<20), 64<<10)
		if len(file) > 64<<10 {
			t.Fatalf("%d bytes", len(file))
		}
		for len(file) > 0 {
			size := binary.LittleEndian.Uint32(file[4:])
			if uint64(size) > uint64(len(file)) || binary.LittleEndian.Uint32(file[size-4:]) != size {
				t.Fatalf("a block of %d bytes in %d", size, len(file))
			}
			file = file[size:]
		}
	})
}

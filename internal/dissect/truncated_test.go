package dissect_test

import (
	"crypto/tls"
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// playTruncated passes a conversation to a session. Protected records are truncated to their headers.
func playTruncated(s *dissect.Session, talk *capturetest.Conversation) {
	var at [2]int64
	for _, c := range talk.Chunks {
		side := dissect.Originator
		if c.FromServer {
			side = dissect.Responder
		}
		for data := c.Data; len(data) > 0; {
			n := 5 + int(binary.BigEndian.Uint16(data[3:]))
			keep := n
			if data[0] == 23 {
				keep = 5
			}
			s.Data(side, at[side], data[:keep], int64(c.Read), 0)
			at[side] += int64(n)
			if keep < n {
				s.Truncated(side, at[side], int64(n-keep), false)
			}
			data = data[n:]
		}
	}
}

// TestTruncatedWithinProtectedRecords checks that the contents of protected records are not needed: truncated bytes within them do not count as
// missing.
func TestTruncatedWithinProtectedRecords(t *testing.T) {
	talk := record(t, tls.VersionTLS13, capturetest.Presented)
	whole, cut := dissect.New(), dissect.New()
	play(whole, talk, 1<<16)
	playTruncated(cut, talk)
	for _, side := range []dissect.Side{dissect.Originator, dissect.Responder} {
		a, completeA := whole.TLS().Records(side)
		b, completeB := cut.TLS().Records(side)
		if !completeA || !completeB || len(a) == 0 || !reflect.DeepEqual(a, b) {
			t.Errorf("side %d: records %v of complete ones, %v of truncated ones", side, a, b)
		}
		seenA, _ := whole.Seen(side)
		if seen, missed := cut.Seen(side); seen != seenA || missed != 0 {
			t.Errorf("side %d: %d bytes seen and %d missed, want %d and none", side, seen, missed, seenA)
		}
	}
	if whole.Revision() == 0 || cut.TLS().AppRecords != whole.TLS().AppRecords {
		t.Errorf("%v, want %v", cut.TLS().AppRecords, whole.TLS().AppRecords)
	}
}

// protected returns a protected record of a size.
func protected(size int) []byte {
	return append([]byte{23, 3, 3, byte(size >> 8), byte(size)}, make([]byte, size)...)
}

// TestTruncatedOverRecords checks truncation across the end of a record: the position is unknown until a segment begins with a header. The
// truncated record counts as ended. bulk decides whether the bytes after that record count as missing.
func TestTruncatedOverRecords(t *testing.T) {
	for _, bulk := range []bool{false, true} {
		s := dissect.New()
		first := append(protected(100), protected(200)...)
		s.Data(dissect.Originator, 0, first[:110], 0, 0) // two headers
		s.Truncated(dissect.Originator, 5000, 5000-110, bulk)
		list, complete := s.TLS().Records(dissect.Originator)
		if complete || len(list) != 2 || list[0].Length != 100 || list[1].Length != 200 || list[1].End != 310 {
			t.Errorf("bulk %t: %v, complete %t", bulk, list, complete)
		}
		want := int64(5000 - 310)
		if bulk {
			want = 0
		}
		if seen, missed := s.Seen(dissect.Originator); missed != want || seen != 5000-want {
			t.Errorf("bulk %t: %d bytes seen, %d missed, want %d", bulk, seen, missed, want)
		}
		s.Data(dissect.Originator, 5000, []byte("the middle of a record, 48 KiB of which"), 0, 0)
		s.Truncated(dissect.Originator, 50000, 44000, bulk)
		if !s.TLS().Broken(dissect.Originator) || s.TLS().LostHandshake[dissect.Originator] == bulk {
			t.Errorf("bulk %t: %+v", bulk, s.TLS())
		}
		s.Data(dissect.Originator, 50000, append(protected(10), protected(10)...), 0, 0)
		if s.TLS().Broken(dissect.Originator) || s.TLS().AppRecords[dissect.Originator] != 4 {
			t.Errorf("bulk %t: %+v", bulk, s.TLS())
		}
	}
}

// TestTruncatedHandshake checks that truncated bytes of a plaintext handshake count as missing, with or without bulk.
func TestTruncatedHandshake(t *testing.T) {
	talk := record(t, tls.VersionTLS12, capturetest.Presented)
	for _, bulk := range []bool{false, true} {
		s := dissect.New()
		hello, answer := talk.Chunks[0].Data, talk.Chunks[1].Data
		s.Data(dissect.Originator, 0, hello, 0, 0)
		s.Data(dissect.Responder, 0, answer[:200], int64(len(hello)), 0)
		s.Truncated(dissect.Responder, int64(len(answer)), int64(len(answer)-200), bulk)
		if _, missed := s.Seen(dissect.Responder); missed != int64(len(answer)-200) || !s.TLS().LostHandshake[dissect.Responder] {
			t.Errorf("bulk %t: %d bytes missed, %+v", bulk, missed, s.TLS())
		}
	}
}

// TestTruncatedPlaintext checks that recognized plaintext stays recognized and its truncated bytes do not count as missing. Truncated bytes
// of an unrecognized direction count as missing.
func TestTruncatedPlaintext(t *testing.T) {
	s := dissect.New()
	s.Data(dissect.Originator, 0, []byte("POST /items HTTP/1.1\r\nHost: cart\r\nContent-Length: 90000\r\n\r\nbody"), 0, 0)
	before := s.Revision()
	s.Truncated(dissect.Originator, 90000, 89000, false)
	s.Data(dissect.Responder, 0, []byte("HTTP/1.1 200 OK\r\n\r\n"), 90000, 0)
	if kind, protocol := s.Kind(dissect.Originator); kind != dissect.KindPlain || protocol != "http" || s.HTTP() == nil || s.HTTP().Status != 200 {
		t.Errorf("%v %s, %+v", kind, protocol, s.HTTP())
	}
	if _, missed := s.Seen(dissect.Originator); missed != 0 || before == s.Revision() {
		t.Errorf("%d bytes missed", missed)
	}
	s = dissect.New()
	s.Data(dissect.Originator, 0, []byte{0x16}, 0, 0)
	s.Truncated(dissect.Originator, 500, 499, true)
	if _, missed := s.Seen(dissect.Originator); missed != 499 {
		t.Errorf("%d bytes missed of a start, want 499", missed)
	}
}

// TestTruncatedFinished checks that a finished session only counts bytes.
func TestTruncatedFinished(t *testing.T) {
	s := dissect.New()
	s.Data(dissect.Originator, 0, protected(100), 0, 0)
	s.Finish()
	s.Truncated(dissect.Originator, 1000, 895, false)
	if seen, missed := s.Seen(dissect.Originator); seen != 1000 || missed != 0 {
		t.Errorf("%d bytes seen, %d missed", seen, missed)
	}
}

// FuzzTruncated truncates streams anywhere, and checks that the dissector does not panic and counts every byte once.
func FuzzTruncated(f *testing.F) {
	f.Add(append(protected(100), protected(20)...), protected(40), uint16(30), uint16(60), true)
	f.Add([]byte("GET / HTTP/1.1\r\nHost: cart\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\n\r\nbody"), uint16(20), uint16(1000), false)
	f.Add([]byte{22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3}, []byte{22, 3, 3, 0, 80, 2, 0, 0, 76, 3, 3}, uint16(8), uint16(190), true)
	f.Fuzz(func(t *testing.T, client, server []byte, keep, cut uint16, bulk bool) {
		s := dissect.New()
		var at [2]int64
		streams := [2][]byte{client, server}
		for len(streams[0])+len(streams[1]) > 0 {
			for i, side := range []dissect.Side{dissect.Originator, dissect.Responder} {
				n := min(int(keep)+1, len(streams[i]))
				s.Data(side, at[i], streams[i][:n], at[1-i], 0)
				streams[i] = streams[i][n:]
				at[i] += int64(n)
				if cut > 0 {
					at[i] += int64(cut)
					s.Truncated(side, at[i], int64(cut), bulk)
				}
			}
		}
		s.Conclude()
		for i, side := range []dissect.Side{dissect.Originator, dissect.Responder} {
			if seen, missed := s.Seen(side); s.Failed() || seen+missed != at[i] || missed < 0 {
				t.Fatalf("side %d: %d bytes seen, %d missed, of %d; failed %t", i, seen, missed, at[i], s.Failed())
			}
		}
	})
}

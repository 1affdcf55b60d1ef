package dissect

import (
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// heads are the headers that two ends send over HTTP/1.
var heads = [][2]string{
	{"GET /a?b=c HTTP/1.1\r\nHost: shop.example:80\r\nUser-Agent: curl/8\r\nAuthorization: Basic x\r\n\r\n", "HTTP/1.1 200 OK\r\nUpgrade: none\r\nDate: now\r\n\r\nbody"},
	{"get / http/1.1\nhOST:\t10.0.0.1 \nuser-AGENT:\n\n", "HTTP/1.0 404\n\n"},
	{"POST / HTTP/1.0\r\nhost: a\r\nhost: b\r\ncontent-length: 00\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n\r\n"},
	{"GET / HTTP/1.1\r\nhost: " + strings.Repeat("a", maxValue) + "\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"},
	{"GET /" + strings.Repeat("a", protocols.MaxTarget) + " HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", "HTTP/1.1 101 Switching\r\n\r\n"},
	{"CONNECT db.example:5432 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200\r\n\r\nSSH-2.0-x\r\n"},
}

// said has the facts that a session found in a conversation over HTTP/1.
type said struct {
	http           HTTP
	request        bool
	kinds          [2]Kind
	first, another string
}

// talked passes both ends' bytes to a session in pieces.
func talked(s *Session, talk [2]string, piece int) (out said) {
	for side, text := range talk {
		for at := 0; at < len(text); at += piece {
			s.Data(Side(side), int64(at), []byte(text[at:min(at+piece, len(text))]), -1, 0)
		}
	}
	out.request = s.OneRequest()
	out.kinds[0], out.first = s.Kind(Originator)
	out.kinds[1], out.another = s.Kind(Responder)
	if h := s.HTTP(); h != nil {
		out.http = *h
	}
	return out
}

// TestHeadsInPieces checks that a line gives the same result in one piece, which is not copied, and in several pieces. The session may
// be new, or reuse the memory of a dropped one.
func TestHeadsInPieces(t *testing.T) {
	for _, talk := range heads {
		want := talked(New(), talk, 1<<20)
		m := &Pool{}
		for _, piece := range []int{1 << 20, 1000, 100, 17, 16, 5, 3, 2, 1} {
			s := m.New()
			if got := talked(s, talk, piece); got != want {
				t.Errorf("%.40q in pieces of %d:\n%+v, in one:\n%+v", talk[0], piece, got, want)
			}
			s.SetConclusion(true)
			s.Finish()
			s.Drop()
		}
		if m.BytesInUse() != 0 {
			t.Errorf("%.40q: %d bytes are in use of none", talk[0], m.BytesInUse())
		}
	}
}

// TestHeadAllocations checks that a short request allocates only the names in it.
func TestHeadAllocations(t *testing.T) {
	m := &Pool{}
	talk := [2][]byte{[]byte("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: close\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\nDate: now\r\n\r\n")}
	n := testing.AllocsPerRun(100, func() {
		s := m.New()
		for side, b := range talk {
			s.Data(Side(side), 0, b, -1, 0)
		}
		if s.HTTP().Host != "127.0.0.1" || s.HTTP().Status != 200 {
			t.Errorf("%+v", s.HTTP())
		}
		s.SetConclusion(true)
		s.Finish()
		s.Drop()
	})
	if n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func TestNegotiatesLine(t *testing.T) {
	for line, want := range map[string]bool{
		"": true, "\r\n": true, "EHLO a b\r\n": true, "ehlo a b c\r\n": false, "STARTTLS\r\n": true, "starttls x\r\n": false, "a1 StartTLS\r\n": true,
		"AUTH tls\r\n": true, "AUTH PLAIN\r\n": false, "AUTH\r\n": false, "mode reader\r\n": true, "mode x\r\n": false, "noop\r\n": true, "GET / HTTP/1.1\r\n": false,
		"a NOOP x\r\n": false, "USER x\r\n": false, "cap ls\r\n": true,
	} {
		if got := negotiatesLine([]byte(line)); got != want {
			t.Errorf("negotiatesLine(%q) = %v", line, got)
		}
	}
}

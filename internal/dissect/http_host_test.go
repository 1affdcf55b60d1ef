package dissect

import (
	"strings"
	"testing"
)

// TestHost checks that an invalid host is stored neither as a request's host nor in its path.
func TestHost(t *testing.T) {
	const bad = ""
	for _, c := range []struct{ request, host, path string }{
		{"GET /a?x=1 HTTP/1.1\r\nHost: Shop.example:80\r\n\r\n", "shop.example", "/a"},
		{"GET / HTTP/1.1\r\nHost: tok3n@shop.example\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: a.example/s3cr3t?x=s3cr3t\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: 2600:1f13::20\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: [2600:1f13::20]:80\r\n\r\n", "2600:1f13::20", "/"},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: A\r\n\r\n", "a", "/"},
		{"GET / HTTP/1.1\r\nHost: " + strings.Repeat("a.", 200) + "\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: " + strings.Repeat("a.", 120) + strings.Repeat(" ", 100) + "x\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: a\x1b[31m\r\n\r\n", bad, "/"},
		{"GET http://u:abspass@abs.example/p HTTP/1.1\r\nHost: abs.example\r\n\r\n", bad, "/p"},
		{"GET http://abs.example:80/p?q HTTP/1.1\r\nHost: tok3n@x\r\n\r\n", "abs.example", "/p"},
		{"GET http://abs.example?q HTTP/1.1\r\n\r\n", "abs.example", ""},
		{"CONNECT db.shop:5432 HTTP/1.1\r\nHost: x\r\n\r\n", "db.shop", ""},
		{"CONNECT tok3n@db.shop:5432 HTTP/1.1\r\n\r\n", bad, ""},
		{"CONNECT db.shop HTTP/1.1\r\n\r\n", bad, ""},
		{"CONNECT s3cr3t/path HTTP/1.1\r\n\r\n", bad, ""},
	} {
		s := New()
		s.Data(Originator, 0, []byte(c.request), 0, 0)
		s.Data(Responder, 0, []byte("HTTP/1.1 200 OK\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"), int64(len(c.request)), 0)
		h := s.HTTP()
		if h == nil || h.Host != c.host || h.Path != c.path || h.Misnamed != (c.host == bad) {
			t.Errorf("%.60q: got %+v", c.request, h)
		}
	}
	s := New()
	s.Data(Originator, 0, []byte("GET /x s3cr3t HTTP/1.1\r\nHost: a\r\n\r\n"), 0, 0)
	if h := s.HTTP(); h == nil || h.Version != "" {
		t.Errorf("version: got %+v", h)
	}
}

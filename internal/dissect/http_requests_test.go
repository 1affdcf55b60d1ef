package dissect

import (
	"bytes"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"golang.org/x/net/http2/hpack"
)

func frame2(typ, flags byte, stream uint32, body []byte) []byte {
	n := len(body)
	return append([]byte{byte(n >> 16), byte(n >> 8), byte(n), typ, flags, byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream)}, body...)
}

func call2(stream uint32, path string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", "POST"}, {":path", path}, {":authority", "10.1.0.7:9000"}, {"content-type", "application/grpc"}} {
		if enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) != nil {
			panic("hpack")
		}
	}
	return frame2(protocols.FrameHeaders, protocols.FlagEndHeaders, stream, b.Bytes())
}

// TestOneRequest checks that OneRequest stays true as long as a client repeats the same request, however the bytes are split into segments.
func TestOneRequest(t *testing.T) {
	const scrape = "GET /metrics HTTP/1.1\r\nHost: a\r\nUser-Agent: Prometheus/3\r\n\r\n"
	join := func(parts ...[]byte) string { return string(bytes.Join(parts, nil)) }
	preface := join([]byte(protocols.HTTP2Preface), frame2(protocols.FrameSettings, 0, 0, nil))
	health := join([]byte(preface), call2(1, "/grpc.health.v1.Health/Check"))
	for name, c := range map[string]struct {
		sent string
		want bool
	}{
		"one":                 {scrape, true},
		"again":               {scrape + scrape, true},
		"another query":       {scrape + "GET /metrics?x HTTP/1.1\r\n\r\n", true},
		"half of another one": {scrape + "GET /metr", true},
		"another path":        {scrape + "GET /metrics/x HTTP/1.1\r\n\r\n", false},
		"another method":      {scrape + "POST /metrics HTTP/1.1\r\n\r\n", false},
		"a length":            {"GET /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", false},
		"a length of none":    {"GET /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + scrape, true},
		"chunks":              {"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false},
		"a later length":      {scrape + "GET /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", false},
		"another protocol":    {"GET /metrics HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", false},
		"a body":              {scrape + "user=x", false},
		"binary":              {scrape + "\x16\x03\x01", false},
		"health by gRPC":      {health + join(frame2(protocols.FrameData, 1, 1, []byte("\x00\x00\x00\x00\x02\x0a\x00")), frame2(protocols.FramePing, 0, 0, make([]byte, 8))), true},
		"much data":           {health + join(frame2(protocols.FrameData, 1, 1, make([]byte, 400))), false},
		"another stream":      {health + join(call2(3, "/bank.Bank/Transfer")), false},
		"much in pings":       {health + join(frame2(protocols.FramePing, 0, 0, make([]byte, 1000))), false},
		"no request":          {"HTTP/1.1 200 OK\r\n\r\n", false},
	} {
		for _, size := range []int{1, 7, 1 << 16} {
			s := New()
			for at := 0; at < len(c.sent); at += size {
				s.Data(Originator, int64(at), []byte(c.sent[at:min(at+size, len(c.sent))]), 0, 0)
			}
			if got := s.OneRequest(); got != c.want {
				t.Errorf("%s, in pieces of %d: %v, want %v", name, size, got, c.want)
			}
		}
	}
	s := New()
	s.Data(Originator, 0, []byte(scrape), 0, 0)
	if s.Data(Originator, int64(len(scrape))+10, []byte(scrape), 0, 10); s.OneRequest() {
		t.Error("bytes are missing, and it is still one request")
	}
	s = New()
	s.Data(Originator, 0, []byte(scrape), 0, 0)
	if s.Truncated(Originator, int64(len(scrape))+2000, 2000, true); s.OneRequest() {
		t.Error("bytes are truncated, and it is still one request")
	}
}

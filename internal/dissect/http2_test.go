package dissect_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"golang.org/x/net/http2/hpack"
)

// http2Talk records one request over HTTP/2 with prior knowledge, between client and server of x/net.
func http2Talk(t testing.TB, path, contentType string) *capturetest.Conversation {
	t.Helper()
	talk, err := capturetest.Record(
		func(c net.Conn) error {
			tr := &http.Transport{Protocols: plaintextHTTP2(), DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}
			defer tr.CloseIdleConnections()
			req, err := http.NewRequest(http.MethodPost, "http://cart.shop:8080"+path, strings.NewReader("body"))
			if err != nil {
				return err
			}
			req.Header.Set("Content-Type", contentType)
			req.Header.Set("User-Agent", "test/1")
			req.Header.Set("Authorization", "Bearer secret")
			res, err := tr.RoundTrip(req)
			if err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, res.Body)
			return errors.Join(res.Body.Close(), c.Close())
		},
		func(c net.Conn) error {
			srv := &http.Server{Protocols: plaintextHTTP2(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", contentType)
				w.WriteHeader(http.StatusTeapot)
				_, _ = io.WriteString(w, "hello")
			})}
			l := &oneConn{conn: make(chan net.Conn, 1), over: make(chan struct{})}
			l.conn <- &closing{Conn: c, over: l.over}
			_ = srv.Serve(l) // ends with the connection
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return talk
}

func plaintextHTTP2() *http.Protocols {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	return p
}

// oneConn is a listener that accepts one connection. It ends when that connection is closed.
type oneConn struct {
	conn chan net.Conn
	over chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.over:
		return nil, io.EOF
	}
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// closing is a connection that closes the channel over when the connection is closed.
type closing struct {
	net.Conn
	once sync.Once
	over chan struct{}
}

func (c *closing) Close() error {
	defer c.once.Do(func() { close(c.over) })
	return c.Conn.Close()
}

func TestHTTP2(t *testing.T) {
	for _, c := range []struct{ content, protocol string }{
		{"text/plain", "http2"},
		{"application/grpc", "grpc"},
		{"application/grpc+proto", "grpc"},
		{"application/grpc-web", "http2"},
	} {
		talk := http2Talk(t, "/shop.Cart/Add?card=4111", c.content)
		for _, size := range []int{1, 5, 9, 100, 1448} {
			s := dissect.New()
			play(s, talk, size)
			h := s.HTTP()
			if h == nil || h.Version != "2" || h.Method != "POST" || h.Path != "/shop.Cart/Add" || h.Host != "cart.shop" || h.UserAgent != "test/1" || h.Status != http.StatusTeapot {
				t.Errorf("%s in segments of %d: %+v", c.content, size, h)
			}
			for _, side := range []dissect.Side{dissect.Originator, dissect.Responder} {
				if kind, protocol := s.Kind(side); kind != dissect.KindPlain || protocol != c.protocol {
					t.Errorf("%s in segments of %d: side %d is of kind %d %q", c.content, size, side, kind, protocol)
				}
			}
			if !s.Complete() {
				t.Errorf("%s in segments of %d: not complete", c.content, size)
			}
		}
	}
}

func TestUpgradesOfHTTP1(t *testing.T) {
	frames := http2Talk(t, "/", "text/plain")
	var settings []byte
	for _, c := range frames.Chunks {
		if c.FromServer {
			settings = append(settings, c.Data...)
		}
	}
	h2c := []capturetest.Chunk{
		client("GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"),
		server("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + string(settings)),
		client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
	}
	websocket := []capturetest.Chunk{
		client("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"),
		server("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"),
		client("\x81\x85\x01\x02\x03\x04abcde"),
	}
	for _, c := range []struct {
		protocol string
		status   int
		talk     []capturetest.Chunk
	}{{"http2", http.StatusTeapot, h2c}, {"websocket", 101, websocket}} {
		for _, size := range []int{1, 3, 50, 1448} {
			s := dissect.New()
			play(s, follow(c.talk, &capturetest.Conversation{}), size)
			for _, side := range []dissect.Side{dissect.Originator, dissect.Responder} {
				if kind, protocol := s.Kind(side); kind != dissect.KindPlain || protocol != c.protocol {
					t.Errorf("%s in segments of %d: side %d is of kind %d %q", c.protocol, size, side, kind, protocol)
				}
			}
			if h := s.HTTP(); h.Method != "GET" || h.Status != c.status || h.Host != "h" {
				t.Errorf("%s in segments of %d: %+v", c.protocol, size, h)
			}
		}
	}
}

// TestHTTP2InTheMiddle checks connections that are captured from the middle on. Their first captured segment begins with a frame of any
// type.
func TestHTTP2InTheMiddle(t *testing.T) {
	talk := http2Talk(t, "/", "text/plain")
	var streams [2][]byte
	for _, c := range talk.Chunks {
		i := 0
		if c.FromServer {
			i = 1
		}
		streams[i] = append(streams[i], c.Data...)
	}
	streams[0] = streams[0][len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):]
	for skip := range 3 {
		s := dissect.New()
		for side := range streams {
			b := streams[side]
			for range skip {
				b = b[9+int(b[0])<<16+int(b[1])<<8+int(b[2]):]
			}
			s.Data(dissect.Side(side), 0, b, 0, 0)
		}
		if kind, protocol := s.Kind(dissect.Originator); kind != dissect.KindPlain || protocol != "http2" {
			t.Errorf("%d frames in: kind %d %q", skip, kind, protocol)
		}
	}
	// the first captured bytes are from the middle of a frame
	s := dissect.New()
	noise := make([]byte, 300)
	for i := range noise {
		noise[i] = byte(i * 37)
	}
	s.Data(dissect.Originator, 0, noise, 0, 0)
	if kind, _ := s.Kind(dissect.Originator); kind != dissect.KindUnreadable {
		t.Errorf("noise is of kind %d", kind)
	}
	s.Data(dissect.Originator, 300, streams[0], 0, 0)
	if kind, protocol := s.Kind(dissect.Originator); kind != dissect.KindPlain || protocol != "http2" {
		t.Errorf("after noise: kind %d %q", kind, protocol)
	}
}

// TestSecretsAreNotKept checks that a session stores a request only in the fields of HTTP, and stores neither secrets nor bodies.
func TestSecretsAreNotKept(t *testing.T) {
	s := dissect.New()
	request := "POST /login?password=hunter2#x HTTP/1.1\r\nHost: h\r\nAuthorization: Basic aHVudGVyMg==\r\nCookie: id=hunter2\r\n\r\nuser=me&password=hunter2"
	play(s, &capturetest.Conversation{Chunks: []capturetest.Chunk{client(request)}}, 5)
	if h := s.HTTP(); h.Path != "/login" || h.Host != "h" || h.Method != "POST" {
		t.Errorf("%+v", h)
	}
	s = dissect.New()
	play(s, &capturetest.Conversation{Chunks: []capturetest.Chunk{client("GET http://me:hunter2@example.org/a?b HTTP/1.1\r\n\r\n")}}, 100)
	if h := s.HTTP(); h.Path != "/a" || h.Host != "" || !h.Misnamed {
		t.Errorf("%+v", h)
	}
}

// TestHTTP2BlockOfReferences checks the memory for a header block that refers to one long field thousands of times: at most 16 times
// the size of the block.
func TestHTTP2BlockOfReferences(t *testing.T) {
	var block bytes.Buffer
	block.WriteByte(0x82) // :method GET
	if err := hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":path", Value: strings.Repeat("/abcdefg", 256)}); err != nil {
		t.Fatal(err)
	}
	const firstOfTable = 0x80 | 62 // the first entry after the static table
	block.Write(bytes.Repeat([]byte{firstOfTable}, 6000))
	n := block.Len()
	b := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), byte(n>>16), byte(n>>8), byte(n), 1, 4, 0, 0, 0, 1)
	b = append(b, block.Bytes()...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := dissect.New()
	s.Data(dissect.Originator, 0, b, 0, 0)
	runtime.ReadMemStats(&after)
	if h := s.HTTP(); h == nil || len(h.Path) != 2048 {
		t.Fatalf("%+v", h)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 16*uint64(len(b)) {
		t.Errorf("%d bytes took %d of memory", len(b), took)
	}
}

func FuzzHTTP2(f *testing.F) {
	talk := http2Talk(f, "/shop.Cart/Add", "application/grpc")
	var streams [2][]byte
	for _, c := range talk.Chunks {
		i := 0
		if c.FromServer {
			i = 1
		}
		streams[i] = append(streams[i], c.Data...)
	}
	f.Add(streams[0], streams[1], uint16(1448))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x03\x01\x0c\x00\x00\x00\x01\x02\x00\x00"), []byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), uint16(3))
	f.Fuzz(func(t *testing.T, a, b []byte, size uint16) {
		s := dissect.New()
		at := [2]int64{}
		for i, stream := range [][]byte{append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), a...), b} {
			for piece := range slices.Chunk(stream, int(size)+1) {
				s.Data(dissect.Side(i), at[i], piece, 0, 0)
				at[i] += int64(len(piece))
			}
		}
		if s.Failed() {
			t.Fatal("the dissector panicked")
		}
	})
}

// TestHTTP2NamesTheServer checks that a request without :authority has the host of its Host field.
func TestHTTP2NamesTheServer(t *testing.T) {
	for _, c := range []struct {
		name   string
		fields []hpack.HeaderField
		want   string
	}{
		{"authority", []hpack.HeaderField{{Name: ":authority", Value: "Cart.shop:8080"}}, "cart.shop"},
		{"host", []hpack.HeaderField{{Name: "host", Value: "cart.shop:8080"}}, "cart.shop"},
		{"both", []hpack.HeaderField{{Name: ":authority", Value: "cart.shop"}, {Name: "host", Value: "evil.example"}}, "cart.shop"},
		{"neither", nil, ""},
	} {
		var block bytes.Buffer
		e := hpack.NewEncoder(&block)
		for _, f := range append([]hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":path", Value: "/"}}, c.fields...) {
			if err := e.WriteField(f); err != nil {
				t.Fatal(err)
			}
		}
		s := dissect.New()
		s.Data(dissect.Originator, 0, slices.Concat([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00"),
			[]byte{byte(block.Len()), 1, 5, 0, 0, 0, 1}, block.Bytes()), 0, 0)
		if h := s.HTTP(); h == nil || h.Method != "GET" || h.Host != c.want {
			t.Errorf("%s: %+v, want host %q", c.name, h, c.want)
		}
	}
}

// TestHTTP2Method checks that a method of HTTP/2 is left out if it is invalid in HTTP/1.
func TestHTTP2Method(t *testing.T) {
	for method, want := range map[string]string{"GET": "GET", "M-SEARCH": "M-SEARCH", "HUNTER2": "", "a b": "", "get": "", "VERSION-CONTROL-AND-MORE": ""} {
		var block bytes.Buffer
		e := hpack.NewEncoder(&block)
		for _, f := range []hpack.HeaderField{{Name: ":method", Value: method}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "cart.shop"}} {
			if err := e.WriteField(f); err != nil {
				t.Fatal(err)
			}
		}
		s := dissect.New()
		s.Data(dissect.Originator, 0, slices.Concat([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00"),
			[]byte{byte(block.Len()), 1, 5, 0, 0, 0, 1}, block.Bytes()), 0, 0)
		if h := s.HTTP(); h == nil || h.Method != want || h.Host != "cart.shop" {
			t.Errorf("%s: %+v, want %q", method, h, want)
		}
	}
}

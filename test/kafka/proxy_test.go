package kafka_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy forwards connections to a broker. The broker advertises the proxy's address. The proxy can limit the rate,
// and it counts requests.
type proxy struct {
	listener net.Listener
	target   string
	rate     atomic.Int64 // bytes per second for each connection and direction; 0: no limit
	wg       sync.WaitGroup

	mu       sync.Mutex
	open     map[net.Conn]bool
	accepted []time.Time
	requests map[int16]int // number of requests by API key (https://kafka.apache.org/protocol#protocol_api_keys)
	all      int           // number of metadata requests that ask for all topics
}

const metadataKey = 3

// newProxy starts to listen. The proxy accepts connections only after the method to has set its target.
func newProxy(t *testing.T) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(hostAddress, "0"))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, open: map[net.Conn]bool{}, requests: map[int16]int{}}
	t.Cleanup(p.close)
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) to(target string) {
	p.target = target
	p.wg.Go(func() {
		for {
			c, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.accepted = append(p.accepted, time.Now())
			p.mu.Unlock()
			p.wg.Go(func() { p.serve(c) })
		}
	})
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	b, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer b.Close()
	p.mu.Lock()
	p.open[c], p.open[b] = true, true
	p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.copyThrottled(b, io.TeeReader(c, &counter{proxy: p}))
		b.Close()
	}()
	p.copyThrottled(c, b)
	c.Close()
	<-done
	p.mu.Lock()
	delete(p.open, c)
	delete(p.open, b)
	p.mu.Unlock()
}

// copyThrottled copies bytes until one end closes. If the rate is limited, it copies in small pieces.
func (p *proxy) copyThrottled(to io.Writer, from io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, limit := len(buf), p.rate.Load()
		if limit > 0 {
			n = int(max(1, min(limit/10, int64(n))))
		}
		n, err := from.Read(buf[:n])
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
			if limit > 0 {
				time.Sleep(time.Duration(n) * time.Second / time.Duration(limit))
			}
		}
		if err != nil {
			return
		}
	}
}

// counter counts the requests in a stream. A request has a length (4 bytes), API key (2), version (2), correlation id (4), client id (2
// and text) and a body.
type counter struct {
	proxy *proxy
	buf   []byte
	skip  int
}

// Write processes bytes that a client sent.
func (c *counter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if c.skip > 0 {
			k := min(c.skip, len(b))
			c.skip, b = c.skip-k, b[k:]
			continue
		}
		c.buf = append(c.buf, b[0])
		b = b[1:]
		if len(c.buf) < 14 {
			continue
		}
		client := max(0, int(int16(binary.BigEndian.Uint16(c.buf[12:]))))
		key := int16(binary.BigEndian.Uint16(c.buf[4:]))
		if key == metadataKey && len(c.buf) < 18+client {
			continue
		}
		c.proxy.count(key, key == metadataKey && int32(binary.BigEndian.Uint32(c.buf[14+client:])) == -1) // a null array: all topics
		c.skip = 4 + int(binary.BigEndian.Uint32(c.buf)) - len(c.buf)
		c.buf = c.buf[:0]
	}
	return n, nil
}

func (p *proxy) count(key int16, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests[key]++
	if all {
		p.all++
	}
}

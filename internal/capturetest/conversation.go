package capturetest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Chunk is the result of one write by one end.
type Chunk struct {
	FromServer bool
	Data       []byte
	Read       int // bytes of the other end's stream that the writer had read before
}

// Conversation has the writes of two ends, in order.
type Conversation struct {
	Chunks []Chunk
}

// Record runs a client and a server over a buffered connection in memory, each in its own goroutine, and returns their
// writes. Both must close their end or return. It returns the joined errors of both ends, for example that of a
// rejected handshake.
func Record(client, server func(net.Conn) error) (*Conversation, error) {
	rec := &recorder{}
	a, b := newPipe(), newPipe()
	c := &end{rec: rec, in: b, out: a}
	s := &end{rec: rec, in: a, out: b, server: true}
	var wg sync.WaitGroup
	var errs [2]error
	run := func(i int, f func(net.Conn) error, e *end) {
		defer wg.Done()
		errs[i] = f(e)
		_ = e.Close()
	}
	wg.Add(2)
	go run(0, client, c)
	go run(1, server, s)
	wg.Wait()
	return &rec.talk, errors.Join(errs[0], errs[1])
}

type recorder struct {
	mu   sync.Mutex
	talk Conversation
}

// pipe is one direction: a buffer of unlimited size.
type pipe struct {
	mu     sync.Mutex
	ready  *sync.Cond
	buf    bytes.Buffer
	closed bool
}

func newPipe() *pipe {
	p := &pipe{}
	p.ready = sync.NewCond(&p.mu)
	return p
}

// end is one end of the connection. It implements net.Conn without deadlines.
type end struct {
	rec     *recorder
	in, out *pipe
	server  bool
	read    int
}

func (e *end) Read(b []byte) (int, error) {
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	for e.in.buf.Len() == 0 {
		if e.in.closed {
			return 0, io.EOF
		}
		e.in.ready.Wait()
	}
	n, err := e.in.buf.Read(b)
	e.rec.mu.Lock()
	e.read += n
	e.rec.mu.Unlock()
	return n, err
}

func (e *end) Write(b []byte) (int, error) {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	if e.out.closed {
		return 0, io.ErrClosedPipe
	}
	e.rec.mu.Lock()
	e.rec.talk.Chunks = append(e.rec.talk.Chunks, Chunk{FromServer: e.server, Data: bytes.Clone(b), Read: e.read})
	e.rec.mu.Unlock()
	e.out.buf.Write(b)
	e.out.ready.Broadcast()
	return len(b), nil
}

func (e *end) Close() error {
	for _, p := range [...]*pipe{e.in, e.out} {
		p.mu.Lock()
		p.closed = true
		p.ready.Broadcast()
		p.mu.Unlock()
	}
	return nil
}

func (e *end) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (e *end) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (e *end) SetDeadline(time.Time) error      { return nil }
func (e *end) SetReadDeadline(time.Time) error  { return nil }
func (e *end) SetWriteDeadline(time.Time) error { return nil }

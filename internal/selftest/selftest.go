package selftest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/live"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Limit bounds the time of a self-test. It usually takes less than 50 ms, but a container may get little CPU time.
const Limit = time.Second

// Dialer opens a TCP connection, as net.Dialer's DialContext does.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Result is the result of a self-test.
type Result struct {
	Err      error         // why the test failed; nil: both connections were judged correctly
	Duration time.Duration // how long the test took
	Accepted int           // TCP connections that the test accepted, including those of other processes
}

// Run makes two connections over loopback, which repeat recorded handshakes of TLS 1.3. It captures the connections and compares
// their verdicts with the expected ones. It returns within about Limit. The client uses dial, so that the caller can exclude its
// connections from another capture.
func Run(ctx context.Context, dial Dialer) Result {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	var r Result
	all, err := exchanges()
	if r.Err = err; err == nil {
		r.Accepted, r.Err = run(ctx, dial, all)
	}
	r.Duration = time.Since(start)
	return r
}

// run checks the exchanges one after the other. ctx must have a deadline.
func run(ctx context.Context, dial Dialer, all []exchange) (accepted int, err error) {
	s, err := listen(ctx)
	if err != nil {
		return 0, err
	}
	defer s.Close()

	o := &observer{server: s.address}
	stop, err := live.CaptureLoopback(o.filter, o.pipeline())
	if err != nil {
		return 0, err
	}
	defer stop()

	for i := range all {
		if err := o.check(ctx, s, dial, &all[i]); err != nil {
			return s.accepted, fmt.Errorf("%s: %w", all[i].name, err)
		}
	}
	return s.accepted, nil
}

// observer judges the captured connections to a server.
type observer struct {
	server  netip.AddrPort
	current atomic.Pointer[client] // connections of other clients belong to other processes
}

// client is the client of one connection of the test.
type client struct {
	port   uint16
	judged chan verdict.Judged // its first judgement
}

// filter returns the default filter, narrowed to connections to the server.
func (o *observer) filter(c pcapfilter.Config) (pcapfilter.Program, error) {
	narrow, err := pcapfilter.Compile(fmt.Sprintf("tcp port %d", o.server.Port()), c)
	if err != nil {
		return nil, err
	}
	return pcapfilter.And(narrow, tapfilter.Default(c))
}

// pipeline returns a small pipeline.
func (o *observer) pipeline() *pipeline.Pipeline {
	return pipeline.New(pipeline.Config{
		Table:         flow.Config{MaxConns: 64, MaxBuffered: 64 << 10, MaxRecent: 64 << 10},
		Judge:         verdict.Config{Local: []netip.Prefix{netip.PrefixFrom(o.server.Addr(), o.server.Addr().BitLen())}},
		DefaultFilter: true, MaxPending: 1 << 20, MaxConclusions: 64 << 10,
		Judged: o.add,
	})
}

// add passes on the first settled judgement of the current client's connection.
func (o *observer) add(j *verdict.Judged) {
	c := o.current.Load()
	if c == nil || j.Source.Port != c.port || j.Destination.Port != o.server.Port() || !j.Settled || j.Verdict == verdict.None {
		return
	}
	select {
	case c.judged <- *j:
	default:
	}
}

// check makes one connection and checks its verdict.
func (o *observer) check(ctx context.Context, s *server, dial Dialer, x *exchange) error {
	c, err := s.connect(ctx, dial)
	if err != nil {
		return err
	}
	defer c.close()
	now := &client{c.port, make(chan verdict.Judged, 1)}
	o.current.Store(now)
	if err := c.play(x.turns); err != nil {
		return err
	}

	select {
	case j := <-now.judged:
		if j.Verdict != x.want {
			return fmt.Errorf("the verdict is %q instead of %q, because of %v", j.Verdict, x.want, j.Reasons)
		}
		return nil
	case <-ctx.Done():
		return errUnjudged
	}
}

// errUnjudged reports that there was no verdict in time.
var errUnjudged = errors.New("there is no verdict: the packets were not captured, or the tap gets too little CPU time")

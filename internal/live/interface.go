package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
)

// An Interface is a network interface to capture, identified by its name. When its capture is lost, it is
// opened again. It is safe for concurrent use.
type Interface struct {
	capture *Capture
	name    string
	index   uint16 // the interface's number in flow.Packet.Interface
	log     *slog.Logger
	once    chan struct{} // closed when opening was first tried

	mu         sync.Mutex             // guards the fields below
	handle     *afpacket.Handle       // the TCP ring's handle; nil while nothing is captured
	other      *afpacket.Handle       // the other ring's handle
	filters    ringFilters            // the rings' filters without thinning
	thinned    []tapfilter.Connection // connections that the kernel thins
	unfiltered bool                   // the kernel had no memory for the filters: see openFitting
	changes    uint64                 // how often the filter was changed
	err        error                  // why nothing is captured; nil while the interface is captured
	since      time.Time              // start of the present state, which is captured or not captured
	gone       bool                   // the interface no longer exists, and is not waited for
	ended      bool                   // Stop ended the capture; there was no error
	renamed    bool                   // the capture is ending because the interface was renamed
	past       afpacket.Stats         // counts of earlier handles of the TCP ring
	pastOther  afpacket.Stats         // counts of earlier handles of the other ring
}

// After a failed attempt to open an interface, the wait is reopenFirst. It doubles with each further
// failure, up to reopenMost.
const (
	reopenFirst = 100 * time.Millisecond
	reopenMost  = 5 * time.Second
)

// run captures until ctx is done. With Config.All it also ends when the interface no longer exists. It returns when the
// rings are drained.
func (i *Interface) run(ctx context.Context) {
	wait := reopenFirst
	for ctx.Err() == nil {
		tcp, other, err := i.open()
		if err == nil {
			wait = reopenFirst
			i.opened(tcp, other)
			err = i.read(ctx, tcp, other)
		}
		if ctx.Err() != nil {
			return
		}

		if i.capture.cfg.All && err == nil && i.isRenamed() {
			continue // another interface may have the name now
		}
		if i.capture.cfg.All && errors.Is(err, afpacket.ErrNoInterface) {
			i.leave()
			return
		}

		i.failed(err)
		select {
		case <-time.After(wait):
			wait = min(2*wait, reopenMost)
		case <-ctx.Done():
		}
	}
}

// read passes the packets of both rings to the pipeline until ctx ends or the interface is lost.
func (i *Interface) read(ctx context.Context, tcp, other *afpacket.Handle) error {
	stop := context.AfterFunc(ctx, func() { tcp.Close(); other.Close() })
	defer stop()
	link, unapplied := tcp.LinkType(), i.unappliedFilters()
	ended := make(chan error, 1)
	go func() {
		ended <- other.Run(func(b *afpacket.Block) { i.addBlock(link, unapplied[1], b) })
		tcp.Close() // the rings end together
	}()
	err := tcp.Run(func(b *afpacket.Block) {
		if b.Early() {
			time.Sleep(tcpDelay)
		}
		i.addBlock(link, unapplied[0], b)
	})
	other.Close()
	err = cmp.Or(err, <-ended)

	stats, _ := tcp.Stats()
	others, _ := other.Stats()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handle, i.other = nil, nil
	if i.ended = ctx.Err() != nil; !i.ended {
		i.since = time.Now()
	}
	i.past, i.pastOther = sum(i.past, stats), sum(i.pastOther, others)
	return err
}

// reset prepares the interface for another call of run.
func (i *Interface) reset() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err, i.since, i.gone, i.ended = nil, time.Now(), false, false
}

// opened records that the interface is captured now.
func (i *Interface) opened(tcp, other *afpacket.Handle) {
	c := i.capture
	i.mu.Lock()
	wasLost := i.err != nil
	i.handle, i.other, i.err, i.since, i.renamed = tcp, other, nil, time.Now(), false
	i.mu.Unlock()

	c.pipeline.Do(func(*pipeline.Locked) { c.countBefore(time.Now()) })
	i.setTried()
	c.pipeline.Do(func(p *pipeline.Locked) {
		if wasLost {
			p.Engine.Recovered(time.Now().UnixNano(), i.name)
		}
		c.readAddresses(p)
		p.Judge.SetGateways(gateways())
	})
	i.log.Info("capturing")
}

// failed records the reason for which nothing is captured. It logs and publishes each new reason
// once.
func (i *Interface) failed(err error) {
	if err == nil {
		err = fmt.Errorf("interface %s: the capture ended", i.name)
	}
	i.mu.Lock()
	known := i.err != nil && i.err.Error() == err.Error()
	i.err = err
	i.mu.Unlock()
	i.setTried()
	if known {
		return
	}
	i.log.Error("not capturing; still trying", "error", err)
	i.capture.pipeline.Do(func(p *pipeline.Locked) { p.Engine.Lost(time.Now().UnixNano(), i.name, err.Error()) })
}

// leave records that the interface is gone, which is not an error.
func (i *Interface) leave() {
	i.mu.Lock()
	i.gone, i.err = true, nil
	i.mu.Unlock()
	i.setTried()
	i.log.Info("the interface is gone")
}

// setTried records that the capture has tried to open the interface.
func (i *Interface) setTried() {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.once:
	default:
		close(i.once)
	}
}

// waitTried waits until the capture has tried to open the interface, or ctx ends.
func (i *Interface) waitTried(ctx context.Context) {
	select {
	case <-i.once:
	case <-ctx.Done():
	}
}

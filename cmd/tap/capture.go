package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// interfaceTap captures on one interface for as long as it is told to, and opens it
// again whenever it was lost.
type interfaceTap struct {
	tap   *tap
	name  string
	index uint16 // flow.Packet.Interface
	log   *slog.Logger

	mu         sync.Mutex
	handle     *afpacket.Handle       // of TCP
	other      *afpacket.Handle       // of all else
	whole      pair                   // the filters of both rings: of TAP_FILTER and the default one
	excepted   []tapfilter.Connection // what the kernel's filter leaves out besides
	unfiltered bool                   // the kernel had no room for the filter: see fit
	changes    uint64                 // of the filter
	err        error                  // why nothing is captured; nil while something is
	since      time.Time              // when what is so of the capture began: that there is one, or none
	gone       bool                   // it is no longer there, and not waited for
	ended      bool                   // the capture went well until it was told to end
	renamed    bool                   // the capture is ending since its interface has another name now
	past       afpacket.Stats         // of the handles of TCP before this one
	pastOthers afpacket.Stats         // of the other handles
	lost       uint64                 // times that the interface was lost
	once       chan struct{}          // closed when it was tried for the first time
}

// Waits between two attempts to open an interface.
const (
	reopenFirst = 100 * time.Millisecond
	reopenMost  = 5 * time.Second
)

// run captures until ctx ends; then it drains the ring and returns.
func (i *interfaceTap) run(ctx context.Context) {
	wait := reopenFirst
	for ctx.Err() == nil {
		tcp, other, err := i.open()
		if err == nil {
			wait = reopenFirst
			i.opened(tcp, other)
			err = i.capture(ctx, tcp, other)
		}
		if ctx.Err() != nil {
			return
		}
		if i.tap.all && err == nil && i.isRenamed() {
			continue // with the interface that has the name now, if there is one: no fault
		}
		if i.tap.all && errors.Is(err, afpacket.ErrNoInterface) {
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

// begin notes that the interface is not captured yet.
func (i *interfaceTap) begin() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err, i.since, i.gone, i.ended = nil, time.Now(), false, false
}

// leave notes that the interface is gone and that its absence is not an error.
func (i *interfaceTap) leave() {
	i.mu.Lock()
	i.gone, i.err = true, nil
	i.mu.Unlock()
	i.trial()
	i.log.Info("the interface is gone")
}

// isGone reports whether the interface is no longer there, and not waited for.
func (i *interfaceTap) isGone() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.gone
}

// open opens the interface with the filters that its link type needs: a ring for TCP and
// one for all else, so that no flood of datagrams takes the room of TCP.
func (i *interfaceTap) open() (tcp, other *afpacket.Handle, err error) {
	link, err := afpacket.Link(i.name)
	if err != nil {
		return nil, nil, err
	}
	parts, programs, err := splitProgram(i.tap.filter, pcapfilter.Config{Link: link, Live: true})
	if err != nil {
		return nil, nil, fmt.Errorf("interface %s: TAP_FILTER: %w", i.name, err)
	}
	i.mu.Lock()
	i.whole, i.excepted = programs, nil
	i.mu.Unlock()
	return i.fit(programs, parts, pair{})
}

// pair is a filter for TCP and one for all else.
type pair [2]pcapfilter.Program

// rings opens both rings with filters of the kernel, at the same time: each waits for the
// kernel (a grace period of RCU, some 20 ms), and until both are open packets are missed.
func (i *interfaceTap) rings(filters pair) (tcp, other *afpacket.Handle, err error) {
	ofTCP, ofOthers := i.tap.limits.Rings()
	others := make(chan error, 1)
	go func() {
		var err error
		other, err = afpacket.Open(afpacket.Config{Interface: i.name, Filter: filters[1], RingBytes: ofOthers, Retire: retireOthers})
		others <- err
	}()
	tcp, err = afpacket.Open(afpacket.Config{Interface: i.name, Filter: filters[0], RingBytes: ofTCP, Retire: retireTCP})
	if err = cmp.Or(err, <-others); err == nil {
		return tcp, other, nil
	}
	for _, h := range []*afpacket.Handle{tcp, other} {
		if h != nil {
			h.Close()
		}
	}
	return nil, nil, err
}

const (
	// retireOthers is how long a datagram may wait in its ring, half of the time at most that
	// TCP is kept back for it. A connection may go by a name that DNS told just before.
	retireOthers = 8 * time.Millisecond
	keepBack     = 20 * time.Millisecond

	// retireTCP is how long a segment may wait in its ring. With few packets each block of
	// the ring lasts for that long while the reader is stopped: at 128 MiB, 20 blocks for 5 s.
	retireTCP = 250 * time.Millisecond
)

// ofTCP selects the packets for the TCP ring. It includes segments after one IPv6 extension header, such as the
// jumbo payload option that Linux adds above 64 KiB; in the other ring they would be out of order with the rest of
// their connection.
const ofTCP = "tcp or ((ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 60) and ip6[40] = 6)"

// splitProgram returns the filters of both rings: what they are for, and that with the
// tap's filter.
func splitProgram(f *filter, c pcapfilter.Config) (parts, programs pair, err error) {
	whole, err := liveProgram(f, c)
	if err != nil {
		return parts, programs, err
	}
	for k, text := range [...]string{ofTCP, "not (" + ofTCP + ")"} {
		if parts[k], err = pcapfilter.Compile(text, c); err != nil {
			return parts, programs, err
		}
		if programs[k], err = pcapfilter.And(parts[k], whole); err != nil {
			return parts, programs, err
		}
	}
	return parts, programs, nil
}

// capture passes the packets of both handles to the pipeline until ctx ends or the interface is lost.
func (i *interfaceTap) capture(ctx context.Context, tcp, other *afpacket.Handle) error {
	stop := context.AfterFunc(ctx, func() { tcp.Close(); other.Close() })
	defer stop()
	link, checks := tcp.LinkType(), i.checks()
	ended := make(chan error, 1)
	go func() {
		ended <- other.Run(func(b *afpacket.Block) { i.block(link, checks[1], b) })
		tcp.Close() // neither goes on without the other
	}()
	err := tcp.Run(func(b *afpacket.Block) {
		if b.Early() {
			time.Sleep(keepBack)
		}
		i.block(link, checks[0], b)
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
	i.past, i.pastOthers = plus(i.past, stats), plus(i.pastOthers, others)
	return err
}

// block takes a block of packets through the pipeline, some at a time. Where check is not
// nil it is the filter that the kernel did not apply.
func (i *interfaceTap) block(link wire.LinkType, check pcapfilter.Program, b *afpacket.Block) {
	i.tap.pipeline.Do(func(p *pipeline.Locked) {
		if i.tap.due = nil; i.name == loopback {
			i.tap.due = p
		} else {
			i.tap.renew(p)
		}
		var some [flow.MaxPrefetch]flow.Packet
		for n := len(some); n == len(some); {
			n = i.next(some[:], link, check, b)
			p.Add(some[:n])
		}
		i.tap.due = nil
		i.tap.thin(p, time.Now())
	})
}

// next fills in packets of a block and returns how many: fewer than there is room for
// when it is at its end.
func (i *interfaceTap) next(packets []flow.Packet, link wire.LinkType, check pcapfilter.Program, b *afpacket.Block) int {
	for n := range packets {
		x, ok := b.Next()
		for ok && check != nil && !applied(check, &x) {
			x, ok = b.Next()
		}
		if !ok {
			return n
		}
		p := &packets[n]
		p.Time, p.Data, p.Length, p.Link, p.Interface = x.Time, x.Data, x.Length, link, i.index
		p.Origin = i.origin(x.Type)
		if p.Checksum = flow.ChecksumOpen; x.Vouched {
			p.Checksum = flow.ChecksumVouched
		}
		if p.Zone = 0; x.VLANType != 0 { // the kernel took the tag out
			p.Zone = p.Zone.VLAN(x.VLANType, x.VLAN)
		}
	}
	return len(packets)
}

// origin returns where a packet came from. All that is seen on lo is the pod's own.
func (i *interfaceTap) origin(typ uint8) flow.Origin {
	switch {
	case i.name == loopback:
		return flow.OriginUnknown
	case typ == afpacket.TypeOutgoing:
		return flow.OriginSent
	case typ == afpacket.TypeOtherHost:
		return flow.OriginElsewhere
	case typ == afpacket.TypeBroadcast, typ == afpacket.TypeMulticast:
		return flow.OriginGroup
	}
	return flow.OriginArrived
}

func (i *interfaceTap) opened(tcp, other *afpacket.Handle) {
	i.mu.Lock()
	lost := i.err != nil
	i.handle, i.other, i.err, i.since, i.renamed = tcp, other, nil, time.Now(), false
	i.mu.Unlock()
	i.tap.pipeline.Do(func(*pipeline.Locked) { i.tap.gap.note(i.tap, time.Now()) })
	i.trial()
	i.tap.pipeline.Do(func(p *pipeline.Locked) {
		if lost {
			p.Engine.Recovered(time.Now().UnixNano(), i.name)
		}
		i.tap.addresses.read()
		p.Judge.SetLocal(i.tap.addresses.prefixes())
		p.Judge.SetGateways(gateways())
	})
	i.log.Info("capturing")
}

// failed notes why nothing is captured and says so once for each reason.
func (i *interfaceTap) failed(err error) {
	if err == nil {
		err = fmt.Errorf("interface %s: the capture ended", i.name)
	}
	i.mu.Lock()
	known := i.err != nil && i.err.Error() == err.Error()
	if i.err == nil {
		i.lost++
	}
	i.err = err
	i.mu.Unlock()
	i.trial()
	if known {
		return
	}
	i.log.Error("not capturing; trying on", "error", err)
	i.tap.pipeline.Do(func(p *pipeline.Locked) { p.Engine.Lost(time.Now().UnixNano(), i.name, err.Error()) })
}

// trial notes that the interface was tried.
func (i *interfaceTap) trial() {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.once:
	default:
		close(i.once)
	}
}

// tried waits until the interface was tried for the first time, or ctx ends.
func (i *interfaceTap) tried(ctx context.Context) {
	select {
	case <-i.once:
	case <-ctx.Done():
	}
}

// problem returns why nothing is captured, nil while something is.
func (i *interfaceTap) problem() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handle == nil && i.err == nil && !i.gone && !i.ended {
		return fmt.Errorf("interface %s: not open yet", i.name)
	}
	return i.err
}

// state returns how the capture goes.
func (i *interfaceTap) state() finding.InterfaceState {
	stats, err := i.stats(), i.problem()
	i.mu.Lock()
	defer i.mu.Unlock()
	s := finding.InterfaceState{Name: i.name, Captured: err == nil, Packets: stats.Packets, Dropped: stats.Drops}
	if !i.since.IsZero() {
		s.Since = i.since.UnixNano()
	}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}

// stats returns the counts of all handles so far.
func (i *interfaceTap) stats() afpacket.Stats {
	tcp, others := i.ringStats()
	return plus(tcp, others)
}

// ringStats returns the counts of the handles of TCP, and of the others.
func (i *interfaceTap) ringStats() (tcp, others afpacket.Stats) {
	i.mu.Lock()
	defer i.mu.Unlock()
	tcp, others = i.past, i.pastOthers
	if i.handle != nil {
		now, _ := i.handle.Stats()
		tcp = plus(tcp, now)
	}
	if i.other != nil {
		now, _ := i.other.Stats()
		others = plus(others, now)
	}
	return tcp, others
}

func plus(a, b afpacket.Stats) afpacket.Stats {
	return afpacket.Stats{Packets: a.Packets + b.Packets, Drops: a.Drops + b.Drops, Freezes: a.Freezes + b.Freezes}
}

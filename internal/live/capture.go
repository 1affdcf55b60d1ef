package live

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

const (
	// checkEvery is the longest time between two calls of checkInterfaces. If the kernel reports a change, the
	// next call is earlier.
	checkEvery = 5 * time.Second

	// Loopback is the name of Linux's loopback interface, one in each network namespace (net_namespace(7)).
	Loopback = "lo"
)

// A Config configures a Capture. Thin and PodIPs are optional.
type Config struct {
	// Interfaces are the names of the interfaces to capture. A missing interface is captured once it
	// exists.
	Interfaces []string

	// All replaces Interfaces by every interface that is up, at most MaxInterfaces.
	All bool

	// Filter returns the filter for packets of a link type. The filter determines which packets are
	// captured, and how many bytes of each.
	Filter func(pcapfilter.Config) (pcapfilter.Program, error)

	// Thin lets the kernel leave out most packets of busy connections whose verdict has settled.
	Thin bool

	// TCPRing and OtherRing are the sizes in bytes of the two rings that each interface has.
	TCPRing, OtherRing int

	// PodIPs are always addresses of the pod.
	PodIPs []netip.Addr

	// OwnConnections returns how many TCP connections this process has opened so far. The connections in Gap
	// do not include them.
	OwnConnections func() uint64

	Log *slog.Logger
}

// A Capture captures on interfaces of the process's network namespace.
type Capture struct {
	cfg      Config
	log      *slog.Logger
	pipeline *pipeline.Pipeline
	older    int
	created  time.Time // when the network namespace was created; zero: unknown

	cancel  context.CancelFunc // ends the goroutines that running counts
	running sync.WaitGroup
	start   func(*Interface) // starts an interface's goroutine
	ticks   ticks

	mu         sync.Mutex // guards interfaces
	interfaces []*Interface

	// The rest is guarded by the pipeline's lock.

	gap          gap
	addresses    addresses
	due          *pipeline.Locked // if not nil, IsLocal must first read announced changes of addresses
	thinner      pipeline.Thinner
	tableCleared bool // filters may still thin connections that the pipeline no longer knows
	linksChanged bool // the kernel reported a change since the last check of interfaces
	nextCheck    time.Time
	uncaptured   []string // names of interfaces that are up and not captured
}

// New returns a Capture that does not capture yet. It reads the pod's addresses and counts the TCP connections that
// exist already.
func New(cfg Config) *Capture {
	c := &Capture{cfg: cfg, log: cfg.Log, created: networkCreated(time.Now()), older: establishedConnections()}
	c.addresses.given = cfg.PodIPs
	c.ticks.early = make(chan struct{}, 1)
	c.addresses.read()
	if cfg.Thin {
		c.thinner.Most = pipeline.MaxThinned
	}
	return c
}

// Attach sets the pipeline to which packets are added, and adds Config.Interfaces to it.
func (c *Capture) Attach(p *pipeline.Pipeline) {
	c.pipeline = p
	if c.cfg.All {
		return
	}
	p.Do(func(l *pipeline.Locked) {
		for _, name := range c.cfg.Interfaces {
			c.addInterface(l, name)
		}
	})
}

// Start starts to capture. It does not wait until the interfaces are open. The capture ends when ctx is done. Stop waits for
// this end.
func (c *Capture) Start(ctx context.Context) {
	ctx, c.cancel = context.WithCancel(ctx)
	c.start = func(i *Interface) {
		i.reset()
		c.running.Go(func() { i.run(ctx) })
	}
	c.pipeline.Do(func(p *pipeline.Locked) {
		c.followAddresses(p)
		c.gap = gap{network: c.created}
		if !c.cfg.All {
			for _, i := range c.Interfaces() {
				c.start(i)
			}
		}
		c.checkInterfaces(p)
	})
}

// WaitTried waits until the capture has tried to open each interface once, or ctx ends.
func (c *Capture) WaitTried(ctx context.Context) {
	for _, i := range c.Interfaces() {
		i.waitTried(ctx)
	}
}

// Tick advances the pipeline's time to the present. It also follows changes of addresses and interfaces and updates the filters.
// WaitTick determines when it is called.
func (c *Capture) Tick(p *pipeline.Locked) {
	now := time.Now() // not before the caller had the lock: to the filters, a time before that of the last block is a clock set back
	c.ticks.last = now
	c.updateAddresses(p)
	p.Tick(now.UnixNano())
	c.thin(p, now)
	if c.linksChanged || now.After(c.nextCheck) {
		c.checkInterfaces(p)
	}
	c.checkQuiet(now)
}

// Stop ends the capture. When it returns, all packets in the rings are in the pipeline.
func (c *Capture) Stop() {
	c.cancel()
	c.running.Wait()
}

// Close closes the socket that reports changes of addresses. The Capture must be stopped.
func (c *Capture) Close() { c.addresses.events.close() }

// TableCleared must be called when the pipeline's table of connections was emptied by a fault. The caller holds the pipeline's
// lock.
func (c *Capture) TableCleared() { c.tableCleared = true }

// Interfaces returns three kinds of interfaces: those that are captured, those that were captured, and those
// that should be captured. The returned slice is not changed later.
func (c *Capture) Interfaces() []*Interface {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clip(c.interfaces)
}

// States returns the state of each interface that should be captured. If Config.All is set, interfaces that are gone are left out.
// It is safe for concurrent use.
func (c *Capture) States() (out []finding.InterfaceState) {
	for _, i := range c.Interfaces() {
		if !i.isGone() {
			out = append(out, i.state())
		}
	}
	return out
}

// Uncaptured returns the names of interfaces that are up and not captured. The caller holds the pipeline's lock.
func (c *Capture) Uncaptured() []string { return c.uncaptured }

// Older returns how many TCP connections were established when New was called.
func (c *Capture) Older() int { return c.older }

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/limits"
	"github.com/meshtls-tap/meshtls-tap/internal/ownsockets"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
	"github.com/meshtls-tap/meshtls-tap/internal/variables"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// publisher is where records go.
type publisher interface {
	Put(m buffer.Message) bool
	Status() sink.Status
	Close(ctx context.Context) (left int, err error)
}

// heartbeat is how often the tap says that it is there.
const heartbeat = 5 * time.Minute

// tickEvery is how often live time is moved on while no packet comes.
const tickEvery = 250 * time.Millisecond

// tap is the running tap.
type tap struct {
	settings
	streams   streams
	log       *slog.Logger
	sockets   *ownsockets.Sockets
	publisher publisher
	pipeline  *pipeline.Pipeline
	taps      []*interfaceTap
	older     int // connections that were there before the tap
	gap       gap // guarded by the pipeline's lock
	begun     time.Time
	created   time.Time // of the pod's network; zero: not known
	limits    limits.Limits
	addresses addresses        // guarded by the pipeline's lock
	due       *pipeline.Locked // that renew is to be called with before an address is looked up; nil: it need not. As addresses
	thinner   pipeline.Thinner // guarded by the pipeline's lock
	control   control
	orders    orders // belongs to run, as does ending
	ending    ending
	muted     []string               // rules that the engine was told of; as ignored
	ignored   []string               // of the orders, one line each; guarded by the pipeline's lock
	idling    atomic.Pointer[string] // why nothing is captured, as told; nil while something is

	all          bool       // interfaces are captured as they come and go
	tapsMu       sync.Mutex // guards taps
	renewed      bool       // the table of connections was, and no filter knows yet; guarded by the pipeline's lock
	linksChanged bool       // since the last survey; guarded by the pipeline's lock, as is what follows
	uncaptured   []string   // interfaces that are up
}

// run is the command `tap run`: it captures until ctx, a signal or --for ends it. Nothing that
// lies outside (a broker, an interface, a capability that is missing, a value of the
// environment that cannot be used) ends it sooner: a container that ends again and again
// would keep its pod from starting. With --check it says whether it could begin with this
// environment, and does not.
func run(ctx context.Context, args, environ []string, std streams) error {
	f := newFlags("run", runHelp())
	check := f.Bool("check", false, "")
	lasts := f.Duration("for", 0, "")
	rest, err := f.parse(args, std.out)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return f.wrong("unexpected argument %q: everything is set by the environment", rest[0])
	}
	if *lasts < 0 {
		return f.wrong("--for %v: expected a duration such as 10m", *lasts)
	} else if *lasts > 0 {
		environ = append(slices.Clone(environ), "TAP_FOR="+lasts.String())
	}
	if *check {
		return runCheck(ctx, environ, std)
	}
	log := newLogWriter(std.err)
	defer log.close()
	std.err = log
	t, err := tapInAnyCase(environ, std)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(ctx)
	defer stop()
	ctx, cancel := t.attached(ctx)
	defer cancel()
	return t.run(ctx)
}

// runCheck is `tap run --check`.
func runCheck(ctx context.Context, environ []string, std streams) error {
	s, err := readEnvironment(environ)
	if err != nil {
		return err
	}
	t, err := newTap(s, std)
	if err != nil {
		return err
	}
	now, cancel := context.WithCancel(ctx)
	cancel()
	t.publisher.Close(now) // nothing was published
	return nil
}

// untilSignal returns a context that the first SIGTERM or SIGINT ends; the second one
// ends the process at once. A reader of standard output that went away is told to the
// sink by EPIPE and no longer kills the process.
func untilSignal(ctx context.Context) (context.Context, func()) {
	ignorePipe()
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, append(hangUps(), syscall.SIGTERM, os.Interrupt)...)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-signals:
				if n > 0 {
					os.Exit(exitError)
				}
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// newTap wires the stages. An error is one of the settings.
func newTap(s settings, std streams) (*tap, error) {
	t := &tap{
		settings: s, streams: std, sockets: &ownsockets.Sockets{}, begun: time.Now(), created: networkCreated(time.Now()), older: establishedConnections(),
		log: slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: s.LogLevel})),
		all: slices.Contains(s.Interfaces, everyInterface),
	}
	interfaces := len(s.Interfaces)
	if t.all {
		interfaces = mostInterfaces
	}
	t.limits = limits.For(s.budget(limits.ControlGroup(os.DirFS("/"))), interfaces)
	var err error
	if t.publisher, err = t.newPublisher(std); err != nil {
		return nil, err
	}
	t.control = control{dir: s.ConfigDir, allow: s.allow, log: t.log}
	t.addresses.given = s.podIPs
	t.addresses.read()
	t.pipeline = pipeline.New(t.pipelineConfig())
	if s.Thin {
		t.thinner.Most = pipeline.MaxThinned
	}
	t.pipeline.Do(func(p *pipeline.Locked) {
		for _, name := range s.Interfaces {
			if !t.all {
				t.watchInterface(p, name)
			}
		}
	})
	return t, nil
}

func (t *tap) pipelineConfig() pipeline.Config {
	l := &t.limits
	return pipeline.Config{
		Table: flow.Config{
			MaxConns: l.Connections, MaxBuffered: l.Reorder, MaxRecent: l.Recent, Group: t.addresses.receives,
			Forwarded: func() bool { return t.Forwarded || t.addresses.unknown() },
		},
		Judge: t.judgeConfig(), Engine: t.engineConfig(),
		DefaultFilter: true, Loopback: []string{loopback}, Local: t.isLocal, Owns: t.owns,
		MaxPending: l.Pending, MaxConclusions: l.Conclusions, MaxOwnInitials: limits.OwnInitials, MaxOtherInitials: limits.OtherInitials,
		Coverage: t.addCoverage, OnPanic: t.failed,
	}
}

// judgeConfig returns what the tap knows about its surroundings: addresses, nodes, cluster ranges, resolvers, meshes.
func (t *tap) judgeConfig() verdict.Config {
	s := &t.settings
	return verdict.Config{
		Local: t.addresses.prefixes(), Nodes: s.nodes, Cluster: s.ranges, APIServer: s.apiServer, Resolvers: resolvers(contents(resolvConf)),
		Ambient: s.Ambient == "istio", Probed: s.probed, Scraped: s.scraped, Meshes: variables.List([]string{s.LocalProxy, s.Mesh}),
		Sent:    t.sockets.Sent,
		Proxied: func(to netip.AddrPort) bool { return t.sockets.Proxied(to, s.Ambient != "" || s.LocalProxy != "") },
	}
}

// renew makes what is known of the pod's addresses at least as new as the packets that
// wait in the rings.
func (t *tap) renew(p *pipeline.Locked) {
	read, links := t.addresses.renew()
	if read {
		p.Judge.SetLocal(t.addresses.prefixes())
	}
	t.linksChanged = t.linksChanged || links
}

// isLocal is addresses.has, of addresses that are as new as renew makes them. On lo nearly all
// packets are of loopback addresses, or of connections that are known, and need no system call.
func (t *tap) isLocal(a netip.Addr, at int64) bool {
	if t.due != nil && !a.Unmap().IsLoopback() {
		p := t.due
		t.due = nil
		t.renew(p)
	}
	return t.addresses.has(a, at)
}

// loopback is the loopback interface's name on Linux, one in each network namespace (net_namespace(7)).
const loopback = "lo"

// owns reports whether a captured connection is one of the tap's own, and notes that the tap's
// traffic was seen on this interface. at is the time of its first packet, in ns since the epoch;
// begins reports whether that was its SYN. On lo a redirected connection has several peers, and
// all of them are within the pod.
func (t *tap) owns(local, peer flow.Endpoint, iface string, at int64, begins bool) bool {
	c := ownsockets.Captured{Port: local.Port, Peer: netip.AddrPortFrom(peer.Addr, peer.Port), Interface: iface, At: time.Unix(0, at), HasSYN: begins}
	if iface != loopback && !t.sockets.Owns(c) || iface == loopback && !t.sockets.OwnedAt(c.Port, c.At) {
		return false
	}
	t.sockets.Runs(local.Port, iface == loopback)
	return true
}

func (t *tap) engineConfig() finding.Config {
	return finding.Config{
		Tap: t.PodUID, Identity: t.identity(),
		Window: t.Window, Phase: phase(t.PodUID, t.Window), Heartbeat: heartbeat,
		Expect: t.expect, Mesh: t.Mesh, NodeEncryption: t.NodeEnc, Cluster: t.ranges, Nodes: t.nodes, APIServer: t.apiServer.Addr(),
		Findings: t.emit[datasets["findings"]], Posture: t.emit[datasets["posture"]], Flows: t.emit[datasets["flows"]],
		Redact: t.redact, Now: time.Now, Emit: t.publish, Interfaces: t.interfaceStates, Filter: t.filter.String(),
	}
}

// runID tells this run from every other.
func runID() string {
	var b [8]byte
	rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// phase spreads the windows of a fleet: each pod's begin at a time of its own.
func phase(uid string, window time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(uid))
	return time.Duration(h.Sum64() % uint64(window))
}

// publish hands a record to the sink; what the queue cannot take is counted there.
func (t *tap) publish(r finding.Record) { t.publisher.Put(message(r)) }

// run captures until ctx ends, with pauses as TAP_UNTIL and the orders want them, then
// hands on what is left.
func (t *tap) run(ctx context.Context) error {
	t.limits.Apply()
	for _, fault := range t.faults {
		t.log.Error("a value cannot be used; see tap run --help", "error", fault)
	}
	for _, name := range t.unknown {
		t.log.Warn("a variable that means nothing to this version; see tap run --help", "variable", name)
	}
	t.log.Info("started", "version", version, "interfaces", t.Interfaces, "sink", t.Sink, "older_connections", t.older, "memory_limit", t.limits.Group)
	endServer := t.serve(ctx)
	t.obey()
	for ctx.Err() == nil {
		if why := t.why(time.Now()); why != "" {
			t.idle(ctx, why)
		} else {
			t.capture(ctx)
		}
	}
	t.addresses.events.close()
	err := t.flush()
	endServer()
	return err
}

// why says why nothing is to be captured now, empty if something is.
func (t *tap) why(now time.Time) string { return t.ending.look(&t.orders, t.until, t.ownUntil, now) }

// obeyEvery is how often orders are read. A mounted ConfigMap takes up to a minute or
// two to change in the pod anyway.
const obeyEvery = 5 * time.Second

// obey reads the orders and applies what changed.
func (t *tap) obey() {
	o := t.control.read()
	t.pipeline.Do(func(p *pipeline.Locked) { t.apply(p.Engine, o) })
}

// apply applies what changed in the orders. The pipeline's lock is held.
func (t *tap) apply(engine *finding.Engine, o orders) {
	if mute := slices.Concat(t.mute, o.mute); !slices.Equal(mute, t.muted) {
		engine.Mute(mute)
		t.muted = mute
	}
	if !slices.Equal(o.expect, t.orders.expect) { // the platform's come first, and so count
		engine.Expect(slices.Concat(t.expect, o.expect))
	}
	engine.Namespace(o.mute, o.expect)
	t.orders = o
	if ignored := t.control.faults(); !slices.Equal(ignored, t.ignored) {
		t.ignored = ignored
		if len(ignored) > 0 {
			engine.Degraded(time.Now().UnixNano(), strings.Join(ignored, "; "))
		}
	}
}

// idle waits, without socket or ring, until there is something to capture again.
func (t *tap) idle(ctx context.Context, why string) {
	t.log.Info("not capturing, as told", "reason", why)
	t.idling.Store(&why)
	defer t.idling.Store(nil)
	ticker := time.NewTicker(obeyEvery)
	defer ticker.Stop()
	for t.why(time.Now()) != "" {
		select {
		case <-ticker.C:
			t.obey()
		case <-ctx.Done():
			return
		}
	}
}

// capture captures until ctx ends or it is told to stop.
func (t *tap) capture(ctx context.Context) {
	capturing, cancel := context.WithCancel(ctx)
	defer cancel()
	t.watch()
	var captures sync.WaitGroup
	start := func(i *interfaceTap) {
		i.begin()
		captures.Go(func() { i.run(capturing) })
	}
	t.pipeline.Do(func(p *pipeline.Locked) {
		t.gap = gap{network: t.created}
		if !t.all {
			for _, i := range t.captures() {
				start(i)
			}
		}
		t.survey(p, start)
	})
	t.tellStarted(ctx)
	why := t.clock(ctx, start)
	cancel()
	captures.Wait()
	t.end(why)
}

// watch begins to follow the pod's addresses. Without the kernel's word they are polled.
func (t *tap) watch() {
	t.pipeline.Do(func(p *pipeline.Locked) {
		if err := t.addresses.events.open(); err != nil {
			t.log.Warn("changes of the pod's addresses are seen late", "error", err)
		}
		t.addresses.read()
		p.Judge.SetLocal(t.addresses.prefixes())
	})
}

// clock moves live time on until ctx ends or there is nothing more to capture, and
// returns why that is.
func (t *tap) clock(ctx context.Context, start func(*interfaceTap)) string {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	next := time.Now().Add(obeyEvery)
	var lost drops
	var out outlet
	var floods floods
	var heap limits.Heap
	for {
		select {
		case now := <-ticker.C:
			t.pipeline.Do(func(p *pipeline.Locked) {
				t.renew(p)
				p.Tick(now.UnixNano())
				t.thin(p, now)
				floods.look(t, p, now)
				if t.linksChanged || now.After(next) {
					t.survey(p, start)
				}
			})
			if now.After(next) {
				next = now.Add(obeyEvery)
				t.obey()
				heap.Trim()
			}
			lost.tell(t, now)
			out.tell(t, now)
			if why := t.why(now); why != "" {
				return why
			}
		case <-ctx.Done():
			return whyEnded(ctx)
		}
	}
}

// end ends every connection and closes the window that is open.
func (t *tap) end(why string) {
	now := time.Now().UnixNano()
	t.pipeline.Do(func(p *pipeline.Locked) {
		p.Flush()
		p.Engine.Flush(now)
		p.Engine.Stopped(now, why)
	})
}

// tellStarted publishes the self-test once each interface has been tried, or a second
// has passed.
func (t *tap) tellStarted(ctx context.Context) {
	wait, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, i := range t.captures() {
		i.tried(wait)
	}
	t.pipeline.Do(func(p *pipeline.Locked) {
		t.gap.settled = true
		p.Engine.Started(time.Now().UnixNano(), t.selfTest())
		if len(t.faults) > 0 {
			p.Engine.Degraded(time.Now().UnixNano(), strings.Join(t.faults, "; "))
		}
	})
}

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/evidence"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/limits"
	"github.com/meshtls-tap/meshtls-tap/internal/live"
	"github.com/meshtls-tap/meshtls-tap/internal/ownsockets"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
	"github.com/meshtls-tap/meshtls-tap/internal/variables"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// publisher takes records and delivers them.
type publisher interface {
	Put(m buffer.Message) bool
	Status() sink.Status
	Close(ctx context.Context) (left int, err error)
}

// heartbeat is the interval at which the tap publishes a record of its own state.
const heartbeat = 5 * time.Minute

// everyInterface is the value of TAP_INTERFACES that captures on each interface that is up.
const everyInterface = "all"

// tap is the running tap.
type tap struct {
	settings
	streams   streams
	log       *slog.Logger
	sockets   *ownsockets.Sockets
	publisher publisher
	pipeline  *pipeline.Pipeline
	live      *live.Capture
	limits    limits.Limits
	evidence  *evidenceOf
	started   time.Time

	configMap configMap
	orders    orders                 // used only by the goroutine of run
	ending    ending                 // used only by the goroutine of run
	muted     []finding.Mute         // the mutes of the engine; used only by the goroutine of run
	noted     map[string]bool        // remarks about mutes that were logged; used only by the goroutine of run
	ignored   []string               // orders that are ignored, one line each; guarded by the pipeline's lock
	idling    atomic.Pointer[string] // why the tap should not capture; nil while it should
	tested    atomic.Pointer[testResult]
	accepted  atomic.Uint64 // TCP connections that the self-tests accepted
}

// newTap creates the stages and connects them. It returns an error only for invalid settings.
func newTap(s settings, std streams) (*tap, error) {
	t := &tap{
		settings: s, streams: std, sockets: &ownsockets.Sockets{}, started: time.Now(),
		log: slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: s.LogLevel})),
	}
	all, interfaces := slices.Contains(s.Interfaces, everyInterface), len(s.Interfaces)
	if all {
		interfaces = live.MaxInterfaces
	}
	t.limits = limits.For(s.budget(limits.ControlGroup(os.DirFS("/"))), interfaces)
	if s.noEvidence() == "" {
		t.limits.ReserveEvidence()
		t.evidence = &evidenceOf{tap: t, recorder: evidence.NewRecorder(t.limits.Evidence)}
	}
	tcp, other := t.limits.Rings()
	t.live = live.New(live.Config{ // the publisher is created later, because it may open connections
		Interfaces: s.Interfaces, All: all, Filter: t.captureFilter, Thin: s.Thin, TCPRing: tcp, OtherRing: other,
		PodIPs: s.podIPs, OwnConnections: t.ownConnections, Log: t.log,
	})

	var err error
	if t.publisher, err = t.newPublisher(std); err != nil {
		return nil, err
	}
	t.configMap = configMap{dir: s.ConfigDir, allow: s.allow, log: t.log}
	t.pipeline = pipeline.New(t.pipelineConfig())
	t.live.Attach(t.pipeline)
	return t, nil
}

// captureFilter returns the filter of interfaces with a link type.
func (t *tap) captureFilter(c pcapfilter.Config) (pcapfilter.Program, error) {
	program, err := liveProgram(t.filter, c)
	if err != nil {
		return nil, fmt.Errorf("TAP_FILTER: %w", err)
	}
	return program, nil
}

func (t *tap) pipelineConfig() pipeline.Config {
	l := &t.limits
	cfg := pipeline.Config{
		Table: flow.Config{
			MaxConns: l.Connections, MaxBuffered: l.Reorder, MaxRecent: l.Recent, Group: t.live.Receives,
			Forwarded: func() bool { return t.Forwarded || t.live.AddressesUnknown() },
		},
		Judge: t.judgeConfig(), Engine: t.engineConfig(),
		DefaultFilter: true, Loopback: []string{live.Loopback}, Local: t.live.IsLocal, Owns: t.owns,
		MaxPending: l.Pending, MaxConclusions: l.Conclusions, MaxOwnInitials: limits.OwnInitials, MaxOtherInitials: limits.OtherInitials,
		Coverage: t.addCoverage, OnPanic: t.panicked,
	}
	if e := t.evidence; e != nil {
		cfg.Table.Observe, cfg.Ended, cfg.Engine.Evidence = e.recorder.Observe, e.recorder.Forget, e.add
	}
	return cfg
}

// judgeConfig returns the facts that the tap knows about its surroundings: addresses, nodes, cluster ranges,
// resolvers, meshes.
func (t *tap) judgeConfig() verdict.Config {
	s := &t.settings
	return verdict.Config{
		Local: t.live.Addresses(), Nodes: s.nodes, Cluster: s.ranges, APIServer: s.apiServer, Resolvers: live.Resolvers(),
		Replies: s.Filter == "", // a filter may leave the pod's own packets out
		Ambient: s.Ambient == "istio", Probed: s.probed, Scraped: s.scraped, Meshes: variables.List([]string{s.LocalProxy, s.Mesh}),
		Sent:    t.sockets.Sent,
		Proxied: func(to netip.AddrPort) bool { return t.sockets.Proxied(to, s.Ambient != "" || s.LocalProxy != "") },
	}
}

func (t *tap) engineConfig() finding.Config {
	return finding.Config{
		Tap: t.PodUID, Identity: t.identity(),
		Window: t.Window, Interval: t.Interval, Delay: publicationDelay(t.PodUID, min(t.Window, t.Interval, maxPublicationDelay)), Heartbeat: heartbeat, Announcements: t.Announced,
		Expect: t.expect, Severities: t.severities, Mesh: t.Mesh, NodeEncryption: t.NodeEnc, Cluster: t.ranges, Nodes: t.nodes, APIServer: t.apiServer.Addr(),
		Findings: t.emit[datasets["findings"]], Posture: t.emit[datasets["posture"]], Flows: t.emit[datasets["flows"]],
		Redact: t.redact, Now: time.Now, Emit: t.publish, Encode: t.format.encode, Interfaces: t.interfaceStates, Filter: t.filter.String(),
	}
}

// owns reports whether a captured connection is one of the tap's own, and records the interface on which it was seen. at is the
// time of its first packet, in ns since the epoch. hasSYN reports whether this packet was the SYN. On lo only the port is
// compared, because a redirected connection has several peers there, all of them within the pod.
func (t *tap) owns(local, peer flow.Endpoint, iface string, at int64, hasSYN bool) bool {
	c := ownsockets.Captured{Port: local.Port, Peer: netip.AddrPortFrom(peer.Addr, peer.Port), Interface: iface, At: time.Unix(0, at), HasSYN: hasSYN}
	if iface != live.Loopback && !t.sockets.Owns(c) || iface == live.Loopback && !t.sockets.OwnedAt(c.Port, c.At) {
		return false
	}
	t.sockets.Runs(local.Port, iface == live.Loopback)
	return true
}

// ownConnections returns how many TCP connections the tap has opened, and its self-tests have accepted.
func (t *tap) ownConnections() uint64 { return t.sockets.Dials() + t.accepted.Load() }

// runID returns a random identifier of this run.
func runID() string {
	var b [8]byte
	rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// maxPublicationDelay bounds publicationDelay.
const maxPublicationDelay = 10 * time.Minute

// publicationDelay returns how long after the end of a window a pod's tap publishes, less than window. It differs
// between pods, so that a fleet, whose windows end together, does not publish at once.
func publicationDelay(uid string, window time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(uid))
	return time.Duration(h.Sum64() % uint64(window))
}

// publish passes a record to the sink. If the record does not fit into the sink's queue, the sink drops and
// counts it.
func (t *tap) publish(r finding.Record) { t.publisher.Put(message(r)) }

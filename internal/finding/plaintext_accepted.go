package finding

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// maxServers bounds the servers whose mutual TLS an Engine remembers. Beyond it, the quarter that was silent longest is
// forgotten: all at once, so that a new server costs no search.
const maxServers = 1024

// serverMemory is how long a proof of a server's mutual TLS counts, in ns of packet time. Afterwards another pod may have
// the server's address.
const serverMemory = int64(time.Hour)

// servers has the time of the latest mutual TLS of each server, of any client, in ns since the epoch.
type servers map[netip.AddrPort]int64

func serverOf(j *verdict.Judged) netip.AddrPort {
	return netip.AddrPortFrom(j.Destination.Addr, j.Destination.Port)
}

// isMutual reports whether a server spoke mutual TLS with any client, not too long before now.
func (s servers) isMutual(server netip.AddrPort, now int64) bool {
	at, known := s[server]
	return known && now-at <= serverMemory
}

// record records that a server spoke mutual TLS, and reports whether isMutual was false before.
func (s servers) record(server netip.AddrPort, now int64) bool {
	at, known := s[server]
	if known && at == now {
		return false
	}
	if !known && len(s) >= maxServers {
		all := slices.Collect(maps.Keys(s))
		order.Stable(all, func(a, b netip.AddrPort) int { return cmp.Or(cmp.Compare(s[a], s[b]), a.Compare(b)) })
		for _, silent := range all[:maxServers/4] {
			delete(s, silent)
		}
	}
	s[server] = now
	return !known || now-at > serverMemory
}

// recordServer records the mutual TLS of a connection's server. If that is new, the rule plaintext-accepted is applied to
// the plaintext that the server accepted before, in this window.
func (e *Engine) recordServer(t traits, j *verdict.Judged) {
	if !t.has(mtlsBit) || !ruled(j) {
		return
	}
	server := serverOf(j)
	if !e.servers.record(server, e.now) {
		return
	}

	for _, g := range e.order {
		p := g.latest[plaintextBit]
		if p == nil || serverOf(p) != server || !ruled(p) || !answered(p) || g.counts.window(answeredBit) == 0 {
			continue
		}
		x := e.policy.expectationOf(p)
		if g.counts.live[answeredBit] > 0 {
			e.applyRuleToLive(g, plaintextAccepted, answeredBit, p, x)
		} else if severity := e.severity(plaintextAccepted, x); severity > 0 && !e.isDowngradeOpen(g, x) {
			e.addHits(g, plaintextAccepted, p, x, severity, 1)
		}
	}
}

func acceptedWords(j *verdict.Judged) breach {
	return breach{"spoke", describe(j), ", which answered it although it also speaks mutual TLS"}
}

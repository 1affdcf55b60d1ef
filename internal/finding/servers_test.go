package finding

import (
	"net/netip"
	"testing"
)

// TestServersAreBounded: beyond the bound, the quarter of the servers that was silent longest is forgotten, and a proof expires.
func TestServersAreBounded(t *testing.T) {
	s := servers{}
	of := func(i int) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(i)) }
	for i := range maxServers + 1 {
		s.record(of(i), int64(i))
	}
	const forgotten = maxServers / 4
	last, first := of(forgotten-1), of(forgotten)
	if len(s) != maxServers+1-forgotten || s.isMutual(last, maxServers) || !s.isMutual(first, maxServers) {
		t.Errorf("%d servers, the last forgotten one: %v, the first remembered one: %v", len(s), s.isMutual(last, maxServers), s.isMutual(first, maxServers))
	}
	if s.isMutual(first, serverMemory+forgotten+1) {
		t.Error("a proof does not expire")
	}
}

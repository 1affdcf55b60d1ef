package finding

import (
	"net/netip"
	"testing"
)

// TestServersAreBounded: beyond the bound, the server that was silent longest is forgotten, and a proof expires.
func TestServersAreBounded(t *testing.T) {
	s := servers{}
	of := func(i int) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(i)) }
	for i := range maxServers + 1 {
		s.record(of(i), int64(i))
	}
	if len(s) != maxServers || s.isMutual(of(0), maxServers) || !s.isMutual(of(1), maxServers) {
		t.Errorf("%d servers, the first: %v, the second: %v", len(s), s.isMutual(of(0), maxServers), s.isMutual(of(1), maxServers))
	}
	if s.isMutual(of(1), serverMemory+2) {
		t.Error("a proof does not expire")
	}
}

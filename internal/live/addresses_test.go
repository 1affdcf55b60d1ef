package live

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

func TestAddresses(t *testing.T) {
	route := func(p string, broadcast bool) localRoute { return localRoute{netip.MustParsePrefix(p), broadcast} }
	a := &addresses{given: []netip.Addr{netip.MustParseAddr("10.1.1.2")}}
	a.set([]localRoute{
		route("10.99.0.2/32", false), route("fe80::1/128", false), route("192.0.2.0/24", false), route("2001:db8::/48", false),
		route("0.0.0.0/1", false), route("::/0", false), route("10.99.0.255/32", true),
	})
	a.joined, a.groupsRead = map[netip.Addr]struct{}{netip.MustParseAddr("224.0.0.251"): {}}, time.Now().Add(time.Hour)
	for _, c := range []struct {
		address       string
		own, receives bool
	}{
		{"10.1.1.2", true, false},
		{"::ffff:10.1.1.2", true, false},
		{"10.99.0.2", true, false},
		{"fe80::1%eth0", true, false},
		{"192.0.2.77", true, false},
		{"2001:db8::5", true, false},
		{"127.0.0.6", true, false},
		{"::1", true, false},
		{"10.99.0.3", false, false},
		{"93.184.216.34", false, false},
		{"2001:db9::5", false, false},
		{"10.99.0.255", false, true},
		{"255.255.255.255", false, true},
		{"224.0.0.251", false, true},
		{"224.0.0.252", false, false},
		{"ff02::1", false, false},
	} {
		x := netip.MustParseAddr(c.address)
		if own, receives := a.has(x, 0), a.receives(x); own != c.own || receives != c.receives {
			t.Errorf("%s: own %v, receives %v", c.address, own, receives)
		}
	}
}

// TestAddressesAreDue: announced changes are read before an address is looked up, but only once for each block. For a
// loopback address they are not read.
func TestAddressesAreDue(t *testing.T) {
	x := &Capture{pipeline: pipeline.New(pipeline.Config{})}
	x.pipeline.Do(func(p *pipeline.Locked) {
		x.due = p
		if !x.IsLocal(netip.MustParseAddr("127.0.0.1"), 0) || !x.IsLocal(netip.MustParseAddr("::ffff:127.0.0.1"), 0) || x.due == nil || !x.addresses.readAt.IsZero() {
			t.Error("announcements are read for a loopback address")
		}
		if x.IsLocal(netip.MustParseAddr("198.51.100.1"), 0) || x.due != nil || x.addresses.readAt.IsZero() {
			t.Error("announcements are not read for another address")
		}
	})
}

// TestAddressRemoved: packets that were captured before their address was removed belong to the
// pod.
func TestAddressRemoved(t *testing.T) {
	a, x := &addresses{}, netip.MustParseAddr("10.1.1.9")
	a.set([]localRoute{{netip.PrefixFrom(x, 32), false}})
	before := a.exact
	a.set(nil)
	a.noteRemoved(before, 1000)
	for at, want := range map[int64]bool{999: true, 1000: true, 1001: false} {
		if a.has(x, at) != want {
			t.Errorf("at %d: %v", at, !want)
		}
	}
	a.noteRemoved(nil, 1001+int64(removedFor))
	if a.has(x, 999) {
		t.Error("a removed address is remembered for too long")
	}
}

func TestGroups(t *testing.T) {
	digits := fmt.Sprintf("%08X", binary.NativeEndian.Uint32([]byte{224, 0, 0, 251}))
	got := groups(
		"Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\t\t\t\t"+digits+"     1 0:00000000\t\t0\n\t\t\t\tzz\n\t\n",
		"1    lo              ff020000000000000000000000000001     1 0000000C 0\n2 x\n")
	for _, want := range []string{"224.0.0.251", "ff02::1"} {
		if _, ok := got[netip.MustParseAddr(want)]; !ok || len(got) != 2 {
			t.Errorf("%v lacks %s", got, want)
		}
	}
}

// TestAddressesUnknown: if no address of the pod is known, this is reported as a problem.
func TestAddressesUnknown(t *testing.T) {
	a := &addresses{err: fmt.Errorf("no netlink")}
	if a.set(nil); !a.unknown() || a.problem() == nil {
		t.Error("no problem without any address")
	}
	a.given = []netip.Addr{netip.MustParseAddr("10.1.1.2")}
	if a.set(nil); a.unknown() || a.problem() != nil || !a.has(a.given[0], 0) {
		t.Error("a problem in spite of a given address")
	}
}

package verdict_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// story plays connections to one judge, a second apart.
type story struct {
	t  *testing.T
	j  *verdict.Judge
	id uint64
	// added to the time of the next connection
	skip   time.Duration
	server string
	port   uint16 // port of the server
	zones  [2]flow.Zone
}

func newStory(t *testing.T) *story {
	return &story{t: t, j: verdict.New(verdict.Config{}), server: "10.0.0.2", port: 443}
}

// see judges a connection to its end.
func (s *story) see(from string, client, server hello, packets string) verdict.Judged {
	s.t.Helper()
	s.id++
	c := &flow.Conn{
		ID: s.id, Zones: s.zones, Transport: 6, First: int64(s.id)*1e9 + int64(s.skip), State: flow.SF,
		Orig: flow.Endpoint{Addr: netip.MustParseAddr(from), Port: 40000, Packets: 9},
		Resp: flow.Endpoint{Addr: netip.MustParseAddr(s.server), Port: s.port, Packets: 9},
	}
	c.Last = c.First
	w := newPlayer(s.t, client, server).play(packets)
	return s.j.Judge(c, w.s, "eth0", true)
}

const (
	mutualFlight = goAsks + "C 517 97 53 | C 120 | S 742 742 | S 300"
	oneWayFlight = goAsksNot + "C 53 | C 120 | S 246 246 | S 300"
	resumeFlight = "S 23 53 | C 53 | C 120 | S 742 | S 300"
	// sizes of the tickets that fit into the records of the two flights
	mutualTicket, oneWayTicket = 700, 204
)

func resuming(ticket int) (client, server hello) {
	return hello{extensions: map[uint16]string{extPSK: psk(ticket, 77)}}, hello{extensions: map[uint16]string{extPSK: "\x00\x00"}}
}

func wants(t *testing.T, got verdict.Judged, want verdict.Verdict, auth, reason string) {
	t.Helper()
	if got.Verdict != want || got.TLS.ClientAuth != auth || reason != "" && !slices.Contains(got.Reasons, reason) {
		t.Errorf("%s, want %s %s because of %s", said(got), want, auth, reason)
	}
	if inherited := got.TLS.ClientAuthBasis == verdict.BasisInherited; inherited != (got.TLS.ClientAuthAge > 0) {
		t.Errorf("basis %s, age %d", got.TLS.ClientAuthBasis, got.TLS.ClientAuthAge)
	}
}

func TestInherited13(t *testing.T) {
	a, b := resuming(mutualTicket)
	s := newStory(t)
	wants(t, s.see("10.0.0.1", hello{}, hello{}, mutualFlight), verdict.MTLS, verdict.AuthPresented, "")
	got := s.see("10.0.0.1", a, b, resumeFlight)
	wants(t, got, verdict.MTLS, verdict.AuthPresented, "inherited_from_full_handshake")
	if got.TLS.ClientAuthAge != 1e9 {
		t.Errorf("age %d ns, want a second", got.TLS.ClientAuthAge)
	}
	wants(t, s.see("10.0.0.9", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
	s.skip = 8 * 24 * time.Hour
	wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
}

// TestResumedAndClosed checks the end of a resumption. An end that closes after a complete resumption does not
// show a failure, but an end that sends an alert refuses.
func TestResumedAndClosed(t *testing.T) {
	a, b := resuming(mutualTicket)
	s := newStory(t)
	wants(t, s.see("10.0.0.1", a, b, "S 23 53 | C 19 | C fin | S fin"), verdict.Failed, verdict.AuthUnknown, "application_data_missing")
	wants(t, s.see("10.0.0.1", a, b, "S 23 53 | C 53 | C 19 | C fin | S 19 | S fin"), verdict.TLS, verdict.AuthUnknown, "alert_sized_record")
	wants(t, s.see("10.0.0.1", a, b, "S 23 53 | C 53 | S 19 | S fin | C fin"), verdict.Failed, verdict.AuthUnknown, "alert_sized_record")
}

// TestSharedAddress checks that one client's proof does not become another's behind SNAT.
func TestSharedAddress(t *testing.T) {
	mutual, b := resuming(mutualTicket)
	oneWay, _ := resuming(oneWayTicket)
	t.Run("both seen", func(t *testing.T) {
		s := newStory(t)
		s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
		s.see("10.0.0.1", hello{}, hello{}, oneWayFlight)
		wants(t, s.see("10.0.0.1", mutual, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "disagreeing_handshakes")
		wants(t, s.see("10.0.0.1", oneWay, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "disagreeing_handshakes")
	})
	t.Run("the one-way client is older than the tap", func(t *testing.T) {
		s := newStory(t)
		s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
		wants(t, s.see("10.0.0.1", oneWay, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "unfamiliar_ticket")
		wants(t, s.see("10.0.0.1", mutual, b, resumeFlight), verdict.MTLS, verdict.AuthPresented, "")
	})
	t.Run("the one-way client is older than the tap, and tickets hold no certificate", func(t *testing.T) {
		for _, ticket := range []int{32, 113, 174, 256} { // OpenSSL -no_ticket and rustls, Erlang, wolfSSL, and a margin
			s := newStory(t)
			short, _ := resuming(ticket)
			s.see("10.0.0.1", hello{}, hello{}, fmt.Sprintf("%sC 517 97 53 | C 120 | S %d | S 300", goAsks, ticket+42))
			wants(t, s.see("10.0.0.1", short, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "unfamiliar_ticket")
		}
	})
	t.Run("one of them was refused", func(t *testing.T) {
		s := newStory(t)
		s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
		s.see("10.0.0.1", hello{}, hello{}, goAsks+"C 517 97 53 | S 19 | S fin")
		wants(t, s.see("10.0.0.1", mutual, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "disagreeing_handshakes")
	})
	t.Run("one of them was not understood", func(t *testing.T) {
		s := newStory(t)
		s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
		s.see("10.0.0.1", hello{}, hello{}, envoy+"C 100 | S 742")
		wants(t, s.see("10.0.0.1", mutual, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "disagreeing_handshakes")
	})
}

// TestOpenHandshake checks a full handshake whose client authentication is still unknown. The handshake may be
// another client's behind the same address, whose ticket was already issued. So a resumption inherits nothing.
func TestOpenHandshake(t *testing.T) {
	a, b := resuming(mutualTicket)
	open := func(s *story, packets string) (c *flow.Conn, w *player) {
		s.id++
		c = conn(s.id, "10.0.0.1")
		w = newPlayer(t, hello{}, hello{}).play(packets)
		if s.j.Settled(c, w.s) {
			t.Fatal("settled")
		}
		return c, w
	}
	for name, packets := range map[string]string{
		"the server has not answered yet":  goAsksNot + "S 742 | C 53 | C 300",
		"its answer is lost":               goAsksNot + "C 53 | C 300 | S lost 700",
		"the client's flight has not come": strings.TrimSuffix(goAsks, " | "),
	} {
		s := newStory(t)
		s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
		c, w := open(s, packets)
		wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "open_handshake")
		wants(t, s.see("10.0.0.3", hello{}, hello{}, mutualFlight), verdict.MTLS, verdict.AuthPresented, "")
		wants(t, s.see("10.0.0.3", a, b, resumeFlight), verdict.MTLS, verdict.AuthPresented, "")
		s.j.Judge(c, w.s, "eth0", true)
		wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "disagreeing_handshakes")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	s := newStory(t)
	c, w := open(s, goAsks+"C 517 97 53")
	w.play("C 120 | S 742 | S 300")
	if !s.j.Settled(c, w.s) {
		t.Error("not settled")
	}
	s.j.Judge(c, w.s, "eth0", false)
	wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.MTLS, verdict.AuthPresented, "inherited_from_full_handshake")

	// the table of open handshakes is bounded; once it is full, nobody inherits from those clients
	s = newStory(t)
	for range 9000 {
		open(s, strings.TrimSuffix(goAsks, " | "))
	}
	s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
	wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "open_handshake")
}

// TestOtherPort checks that the same name at another port counts as another server, which may have issued tickets
// before the tap started.
func TestOtherPort(t *testing.T) {
	a, b := resuming(mutualTicket)
	s := newStory(t)
	s.port = 8443
	s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
	s.port = 443
	wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
	s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
	wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.MTLS, verdict.AuthPresented, "")
	s.port = 9443
	s.see("10.0.0.1", hello{}, hello{}, oneWayFlight)
	s.port = 443 // a client may well offer a ticket here that it got there
	wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "disagreeing_handshakes")
}

// TestOtherServer checks that a proof to one server does not count at another server with the same name, because
// anybody who can send packets to the pod could play such a server.
func TestOtherServer(t *testing.T) {
	t.Run("TLS 1.3", func(t *testing.T) {
		a, b := resuming(mutualTicket)
		s := newStory(t)
		s.server = "10.0.0.78"
		s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
		wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.MTLS, verdict.AuthPresented, "")
		s.server = "10.0.0.2"
		wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
		s.see("10.0.0.1", hello{}, hello{}, oneWayFlight)
		s.server = "10.0.0.78" // a client may well offer a ticket here that it got there
		wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "disagreeing_handshakes")
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		ticket, echo := hello{id: "any", extensions: map[uint16]string{extTicket: "seen on the wire"}}, hello{id: "any"}
		s := newStory(t)
		s.server = "10.0.0.78"
		s.old12("10.0.0.1", hello{extensions: map[uint16]string{extTicket: ""}}, hello{}, serverMutual, clientMutual, ticket12("seen on the wire"))
		wants(t, s.old12("10.0.0.1", ticket, echo, "", "", ""), verdict.MTLS, verdict.AuthPresented, "")
		s.server = "10.0.0.2"
		wants(t, s.old12("10.0.0.1", ticket, echo, "", "", ""), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
	})
}

// TestForeign checks connections without an end in the pod, if the pod's addresses are known: they have no direction,
// and neither teach nor inherit.
func TestForeign(t *testing.T) {
	a, b := resuming(mutualTicket)
	for _, c := range []struct {
		local   string
		foreign bool
	}{{"10.0.0.1/32", false}, {"10.0.0.2/32", false}, {"10.0.0.3/32", true}, {"", false}} {
		s := newStory(t)
		if c.local != "" {
			s.j.SetLocal([]netip.Prefix{netip.MustParsePrefix(c.local)})
		}
		full := s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
		if full.Foreign != c.foreign || (full.Direction == "") != (c.foreign || c.local == "") || full.Verdict != verdict.MTLS {
			t.Errorf("local %q: %s, foreign %v, direction %q", c.local, full.Verdict, full.Foreign, full.Direction)
		}
		want, auth := verdict.MTLS, verdict.AuthPresented
		if c.foreign {
			want, auth = verdict.TLS, verdict.AuthUnknown
		}
		wants(t, s.see("10.0.0.1", a, b, resumeFlight), want, auth, "")
		if c.foreign { // the earlier foreign handshake was not remembered either
			s.j.SetLocal([]netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")})
			wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
		}
	}
}

func TestNoTicket(t *testing.T) {
	s := newStory(t)
	s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
	_, b := resuming(0)
	external := hello{extensions: map[uint16]string{extPSK: psk(mutualTicket, 0)}}
	wants(t, s.see("10.0.0.1", external, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "external_psk")
	hidden := hello{extensions: map[uint16]string{extPSK: psk(mutualTicket, 77), extECH: ""}}
	wants(t, s.see("10.0.0.1", hidden, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "ech_offered")
	other := hello{extensions: map[uint16]string{extPSK: psk(mutualTicket, 77)}}
	wants(t, s.see("10.0.0.1", other, hello{extensions: map[uint16]string{extPSK: "\x00\x05"}}, resumeFlight), verdict.TLS, verdict.AuthUnknown, "external_psk")
}

// TestEarlyAnswer checks data that a server sends in response to early data, before the server has the client's
// Finished. Such data proves nothing, because anybody who has seen early data can replay it.
func TestEarlyAnswer(t *testing.T) {
	s := newStory(t)
	s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
	a, b := resuming(mutualTicket)
	a.extensions[extEarly] = ""
	wants(t, s.see("10.0.0.1", a, b, "S 23 53 300 | C 21 53 | S 300"), verdict.TLS, verdict.AuthPresented, "half_rtt_data")
	wants(t, s.see("10.0.0.1", a, b, "S 23 53 | C 21 53 | S 300"), verdict.MTLS, verdict.AuthPresented, "")
}

// TestMemoryIsBounded checks that many clients use bounded memory, and do not inherit from each other.
func TestMemoryIsBounded(t *testing.T) {
	s := newStory(t)
	a, b := resuming(mutualTicket)
	s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
	for i := range 9000 {
		s.see(fmt.Sprintf("10.1.%d.%d", i/250, i%250), hello{}, hello{}, oneWayFlight)
	}
	wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.MTLS, verdict.AuthPresented, "")
	s.see("10.9.9.9", hello{}, hello{}, mutualFlight) // the table is full
	wants(t, s.see("10.9.9.9", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
	s.skip = 9 * 24 * time.Hour // they are removed, and new ones are remembered again
	s.see("10.9.9.9", hello{}, hello{}, mutualFlight)
	wants(t, s.see("10.9.9.9", a, b, resumeFlight), verdict.MTLS, verdict.AuthPresented, "")
}

// TestOtherNameDisagrees checks that a full handshake without a certificate prevents inheritance for its address
// at that server. It does so for any name and shape of hello that the client chose, before or after the mutual
// handshake. It prevents nothing for other addresses or servers.
func TestOtherNameDisagrees(t *testing.T) {
	a, b := resuming(mutualTicket)
	other := hello{extensions: map[uint16]string{0: "\x00\x0e\x00\x00\x0bother.shape"}}
	for _, c := range []struct {
		name, from, server string
		want               verdict.Verdict
		after              bool
	}{
		{"before", "10.0.0.1", "", verdict.TLS, false},
		{"after", "10.0.0.1", "", verdict.TLS, true},
		{"of another client", "10.0.0.9", "", verdict.MTLS, true},
		{"at another server", "10.0.0.1", "10.7.7.7", verdict.MTLS, true},
	} {
		s := newStory(t)
		weak := func() {
			at := s.server
			if c.server != "" {
				s.server = c.server
			}
			s.see(c.from, other, hello{}, oneWayFlight)
			s.server = at
		}
		if !c.after {
			weak()
		}
		s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
		if c.after {
			weak()
		}
		got := s.see("10.0.0.1", a, b, resumeFlight)
		if got.Verdict != c.want || c.want == verdict.TLS && !slices.Contains(got.Reasons, "disagreeing_handshakes") {
			t.Errorf("%s: %s %v, want %s", c.name, got.Verdict, got.Reasons, c.want)
		}
	}
}

// TestOtherZone checks that nobody inherits from a client with the same address in another network.
func TestOtherZone(t *testing.T) {
	a, b := resuming(mutualTicket)
	s := newStory(t)
	s.zones = [2]flow.Zone{10, 10}
	s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
	for _, zones := range [][2]flow.Zone{{20, 20}, {0, 0}, {10, 20}} {
		s.zones = zones
		wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
	}
	s.zones = [2]flow.Zone{10, 10}
	wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.MTLS, verdict.AuthPresented, "inherited_from_full_handshake")
	ticket, echo := hello{id: "any", extensions: map[uint16]string{extTicket: "seen on the wire"}}, hello{id: "any"}
	s.old12("10.0.0.1", hello{extensions: map[uint16]string{extTicket: ""}}, hello{}, serverMutual, clientMutual, ticket12("seen on the wire"))
	s.zones = [2]flow.Zone{20, 20}
	wants(t, s.old12("10.0.0.1", ticket, echo, "", "", ""), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
	s.zones = [2]flow.Zone{10, 10}
	wants(t, s.old12("10.0.0.1", ticket, echo, "", "", ""), verdict.MTLS, verdict.AuthPresented, "")
}

// TestTooManyUnproven checks that nobody inherits a certificate once the table of clients without a certificate has
// overflowed.
func TestTooManyUnproven(t *testing.T) {
	s := newStory(t)
	a, b := resuming(mutualTicket)
	s.see("10.0.0.1", hello{}, hello{}, mutualFlight)
	for i := range 17000 {
		s.see(fmt.Sprintf("10.%d.%d.%d", 1+i/62500, i/250%250, i%250), hello{}, hello{}, oneWayFlight)
	}
	wants(t, s.see("10.0.0.1", a, b, resumeFlight), verdict.TLS, verdict.AuthUnknown, "disagreeing_handshakes")
}

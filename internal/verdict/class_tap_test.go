package verdict

import (
	"net/netip"
	"testing"
)

// TestClassOfTheTapsOwn: a connection that a proxy opens for the tap has the class tap if it is TLS and begins with the
// tap's own ClientHello. If it is plaintext, the class is only claimed, and the verdict remains plaintext.
func TestClassOfTheTapsOwn(t *testing.T) {
	broker := netip.MustParseAddrPort("10.1.1.9:9092")
	j := New(Config{Proxied: func(to netip.AddrPort) bool { return to == broker }})
	over := func(v Verdict, sent bool) Judged {
		return Judged{Verdict: v, Protocol: "tls", TLS: &TLSInfo{SentByTap: sent}, Direction: DirectionEgress, Scope: ScopeWire}
	}
	kafka := Judged{Verdict: Plaintext, Protocol: "kafka", Direction: DirectionEgress, Scope: ScopeWire}
	with := func(o Judged, change func(*Judged)) Judged { change(&o); return o }
	elsewhere := netip.MustParseAddrPort("10.1.1.10:9092")
	for _, c := range []struct {
		name          string
		o             Judged
		to            netip.AddrPort
		want, claimed string
	}{
		{"its TLS", over(TLS, true), broker, "tap", ""},
		{"its mutual TLS", over(MTLS, true), broker, "tap", ""},
		{"its TLS, to the address of a service", over(TLS, true), elsewhere, "tap", ""},
		{"TLS of an application to the same broker", over(TLS, false), broker, "workload", ""},
		{"TLS that continued in plaintext", over(Plaintext, true), broker, "workload", ""},
		{"TLS that is not known to be it", over(Unknown, true), broker, "workload", ""},
		{"in the pod", with(over(TLS, true), func(o *Judged) { o.Scope = ScopePod }), broker, "workload", ""},
		{"Kafka in plaintext", kafka, broker, "workload", "tap"},
		{"Kafka in plaintext to another broker", kafka, elsewhere, "workload", ""},
		{"Kafka that arrives", with(kafka, func(o *Judged) { o.Direction = DirectionIngress }), broker, "workload", ""},
		{"another protocol", with(kafka, func(o *Judged) { o.Protocol = "http" }), broker, "workload", ""},
	} {
		c.o.Destination = Endpoint{Addr: c.to.Addr(), Port: c.to.Port()}
		if got, claimed := j.class(&c.o); got != c.want || claimed != c.claimed {
			t.Errorf("%s: %s, claims %q, want %s, %q", c.name, got, claimed, c.want, c.claimed)
		}
	}
}

package finding_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// findings returns rule, state, severity and count of the findings in order.
func (r *rig) findings() []string {
	var out []string
	for _, d := range r.of(finding.DatasetFinding) {
		out = append(out, fmt.Sprintf("%s %s %d x%d", d.text("rule.id"), d.text("meshtls.finding.state"), d.number("event.severity"), d.number("meshtls.finding.count")))
	}
	return out
}

// TestRules: each connection breaks the expected rule, with the expected severity. Some break no
// rule.
func TestRules(t *testing.T) {
	declined := func(id uint64, start int64) *verdict.Judged {
		return tlsTalk(id, start, verdict.TLS, verdict.AuthDeclined)
	}
	unsure := func(id uint64, start int64) *verdict.Judged {
		return tlsTalk(id, start, verdict.TLS, verdict.AuthUnknown)
	}
	refused := func(id uint64, start int64) *verdict.Judged {
		return tlsTalk(id, start, verdict.Failed, verdict.AuthDeclined)
	}
	perhaps := func(id uint64, start int64) *verdict.Judged {
		j := declined(id, start)
		j.Reasons = append(j.Reasons, "refused_or_closed")
		return j
	}
	ssh := func(id uint64, start int64) *verdict.Judged { return talk(id, start, verdict.Encrypted, "ssh", 22) }
	unknown := func(id uint64, start int64) *verdict.Judged { return talk(id, start, verdict.Unknown, "", 9000) }
	for _, c := range []struct {
		name, expect string
		conn         func(id uint64, start int64) *verdict.Judged
		scope, class string
		want         string
		words        string // a part of the message
	}{
		{name: "plaintext where mTLS is expected", expect: "mtls", conn: plain, want: "plaintext-edge open 73 x1", words: "10.1.1.2 spoke HTTP in plaintext to httpbin.shop (10.2.2.2) port 80, where mutual TLS is expected."},
		{name: "plaintext where TLS is expected", expect: "tls", conn: plain, want: "plaintext-edge open 47 x1", words: "where TLS is expected."},
		{name: "plaintext where nothing is declared", conn: plain, want: "plaintext-edge open 21 x1", words: "where no expectation is declared."},
		{name: "plaintext where anything goes", expect: "any", conn: plain},
		{name: "one-way TLS where mTLS is expected", expect: "mtls", conn: oneWay, want: "tls-not-mutual open 47 x1", words: "TLS 1.3 without a client certificate (the server did not ask for one) to httpbin.shop.svc.cluster.local (10.2.2.2) port 443"},
		{name: "declined where mTLS is expected", expect: "mtls", conn: declined, want: "tls-not-mutual open 47 x1", words: "(the client declined)"},
		{name: "one-way TLS where TLS is expected", expect: "tls", conn: oneWay},
		{name: "one-way TLS where nothing is declared", conn: oneWay},
		{name: "unknown is never a fault", expect: "mtls", conn: unsure},
		{name: "a refused handshake", expect: "mtls", conn: refused, want: "handshake-failed open 47 x1", words: "10.1.1.2 made a failed TLS handshake to"},
		{name: "declined, and perhaps refused", expect: "mtls", conn: perhaps},
		{name: "mutual TLS", expect: "mtls", conn: mutual},
		{name: "SSH", expect: "mtls", conn: ssh},
		{name: "unjudged", expect: "mtls", conn: unknown},
		{name: "within the pod", expect: "mtls", conn: plain, scope: verdict.ScopePod},
		{name: "probe", expect: "mtls", conn: plain, class: "probe"},
		{name: "DNS", expect: "mtls", conn: plain, class: "dns"},
		{name: "node", expect: "mtls", conn: plain, class: "node"},
		{name: "metrics", expect: "mtls", conn: plain, class: "metrics"},
		{name: "the tap's own", expect: "mtls", conn: plain, class: "tap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var list []finding.Expectation
			if c.expect != "" {
				list, _ = finding.ParseExpect("0.0.0.0/0=" + c.expect)
			}
			r := newRig(t, finding.Config{Expect: list})
			j := c.conn(1, noon)
			if c.scope != "" {
				j.Scope = c.scope
			}
			if c.class != "" {
				j.Class = c.class
			}
			r.e.Add(j)
			if got := strings.Join(r.findings(), "\n"); got != c.want {
				t.Errorf("findings %q, want %q", got, c.want)
			}
			for _, d := range r.of(finding.DatasetFinding) {
				if !strings.Contains(d.text("message"), c.words) {
					t.Errorf("message %q, want %q in it", d.text("message"), c.words)
				}
			}
		})
	}
}

// TestAlerts: a finding alerts when it opens and when it becomes more severe, and not when it continues, ends or
// becomes less severe.
func TestAlerts(t *testing.T) {
	r := newRig(t, finding.Config{Expect: expects(t, "10.0.0.0/8=tls")})
	r.e.Tick(noon)
	step := func(want ...string) {
		t.Helper()
		var got []string
		for _, d := range r.of(finding.DatasetFinding) {
			got = append(got, fmt.Sprintf("%s %s %d", d.text("event.kind"), d.text("event.action"), d.number("event.severity")))
		}
		equal(t, got, want)
		r.forget()
	}
	r.e.Add(plain(1, noon+minute))
	step("alert open 47")
	r.e.Expect(expects(t, "10.0.0.0/8=mtls"))
	r.e.Add(plain(2, noon+2*minute))
	step("alert ongoing 73")
	r.e.Expect(expects(t, "10.0.0.0/8=tls"))
	r.e.Add(plain(3, noon+3*minute))
	r.e.Tick(noon + 10*minute)
	step("event ongoing 47")
	r.e.Mute(mutes(r.t, "plaintext-edge"))
	step("event withdrawn 0")
	r.e.Mute(nil)
	step("alert open 47")
	r.e.Expect(expects(t, "10.0.0.0/8=any"))
	step("event withdrawn 0")
}

// TestStates: the first hit emits a finding at once. Later hits emit one record in each window. A
// whole window without a hit resolves the finding.
func TestStates(t *testing.T) {
	r := newRig(t, finding.Config{})
	r.e.Tick(noon)
	good := func(id uint64, start int64) *verdict.Judged {
		j := mutual(id, start)
		j.Mesh, j.PeerName, j.Destination.Port = "", "httpbin.shop", 80
		return j
	}
	step := func(want ...string) {
		t.Helper()
		equal(t, r.findings(), want)
		r.forget()
	}
	window := func(n int64) { r.e.Tick(noon + n*10*minute) }

	r.e.Add(living(plain(1, noon+minute)))
	step("plaintext-edge open 21 x1")
	r.e.Add(plain(1, noon+minute))
	r.e.Add(plain(2, noon+2*minute))
	r.e.Add(plain(3, noon+3*minute))
	step()
	window(1)
	step("plaintext-edge ongoing 21 x3")
	r.e.Add(plain(4, noon+11*minute))
	window(2)
	step("plaintext-edge ongoing 21 x4")
	window(3) // silence proves nothing
	step()
	r.e.Add(good(5, noon+31*minute))
	window(4)
	step("plaintext-edge resolved 0 x4")
	window(5)
	step()
	r.e.Add(living(plain(6, noon+51*minute)))
	step("mtls-downgrade open 73 x1")
	r.e.Add(good(7, noon+52*minute))
	window(6)
	step() // the finding was emitted in this window
	window(7)
	step("mtls-downgrade ongoing 73 x1")
}

// TestDowngrade: a change from mutual TLS to less is a finding. A mixture from the start is not a
// finding. A connection that started before the first proof is not a finding either.
func TestDowngrade(t *testing.T) {
	on := func(j *verdict.Judged) *verdict.Judged { // one edge for all
		j.PeerName, j.PeerNameBasis, j.Destination.Port, j.Mesh = "api", "sni", 8080, ""
		return j
	}
	type conn func(id uint64, start int64) *verdict.Judged
	unsure := func(id uint64, start int64) *verdict.Judged {
		return tlsTalk(id, start, verdict.TLS, verdict.AuthUnknown)
	}
	turned := func(lives bool) conn { // the connection with number 9
		return func(_ uint64, start int64) *verdict.Judged {
			j := tlsTalk(9, noon, verdict.Plaintext, verdict.AuthPresented)
			j.Protocol, j.Reasons, j.Last = "http", []string{"plaintext_after_tls", "http_request_line"}, start
			if lives {
				return living(j)
			}
			return j
		}
	}
	alive := func(of conn, id uint64) conn {
		return func(_ uint64, start int64) *verdict.Judged { return living(of(id, start)) }
	}
	older := func(id uint64, start int64) *verdict.Judged {
		j := oneWay(id, noon-minute)
		j.Last = start
		return j
	}
	for name, c := range map[string]struct {
		conns []conn
		want  int
	}{
		"mutual, then one-way":             {[]conn{mutual, mutual, oneWay, oneWay}, 1},
		"mutual, then plaintext":           {[]conn{mutual, plain}, 1},
		"mutual, then unknown":             {[]conn{mutual, unsure}, 0},
		"one-way only":                     {[]conn{oneWay, oneWay}, 0},
		"mixed from the start":             {[]conn{oneWay, mutual, oneWay, plain}, 0},
		"mixed, a clean window, then less": {[]conn{oneWay, mutual, nil, mutual, nil, oneWay}, 1},
		"began before the proof":           {[]conn{mutual, older}, 0},
		"one that goes on in plaintext":    {[]conn{alive(mutual, 9), turned(true), turned(false)}, 1},
		"mixed, and one that goes on":      {[]conn{oneWay, alive(mutual, 9), turned(true), turned(false)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, finding.Config{})
			now := noon
			r.e.Tick(now)
			for i, add := range c.conns {
				if add == nil {
					now += 10*minute - now%(10*minute)
					r.e.Tick(now)
					continue
				}
				now += 10 * second
				r.e.Add(on(add(uint64(i+1), now)))
			}
			got := 0
			for _, f := range r.findings() {
				if strings.HasPrefix(f, "mtls-downgrade open") {
					got++
				}
			}
			if got != c.want {
				t.Errorf("%d downgrades, want %d: %q", got, c.want, r.findings())
			}
		})
	}
}

// TestOngoingIsBounded: the end of a window emits at most 5 ongoing findings, beginning with those
// that have waited longest. No count is lost.
func TestOngoingIsBounded(t *testing.T) {
	r := newRig(t, finding.Config{})
	r.e.Tick(noon)
	told := map[string]int{}
	for window := range int64(5) {
		for n := range uint64(20) {
			j := plain(uint64(window)*100+n, noon+window*10*minute+int64(n)*second)
			j.PeerName = fmt.Sprintf("peer-%02d", n)
			r.e.Add(j)
		}
		r.forget()
		r.e.Tick(noon + (window+1)*10*minute)
		if window == 0 {
			continue // opened in this window
		}
		fs := r.of(finding.DatasetFinding)
		if len(fs) != 5 {
			t.Errorf("window %d: %d findings", window, len(fs))
		}
		for _, d := range fs {
			told[d.text("meshtls.edge.key")]++
		}
	}
	if len(told) != 20 {
		t.Errorf("%d of 20 findings were reported in four windows", len(told))
	}
	r.forget()
	r.e.Flush(noon + 51*minute)
	left := r.of(finding.DatasetFinding)
	for _, d := range left {
		if n := d.number("meshtls.finding.count"); n != 5 {
			t.Errorf("%s: count %d, want 5", d.text("meshtls.edge.key"), n)
		}
	}
	if len(left) != 15 {
		t.Errorf("%d findings emitted at the end, want the 15 that waited", len(left))
	}
}

// TestGroup: a problem has the same group_id on all replicas, and at both ends if both use the same
// name for the server.
func TestGroup(t *testing.T) {
	group := func(id finding.Identity, change func(j *verdict.Judged)) string {
		t.Helper()
		r := newRig(t, finding.Config{Identity: id})
		j := plain(1, noon)
		change(j)
		r.e.Add(j)
		fs := r.of(finding.DatasetFinding)
		if len(fs) != 1 {
			t.Fatalf("%d findings", len(fs))
		}
		return fs[0].text("meshtls.finding.group_id")
	}
	server := finding.Identity{Pod: "httpbin-1", Namespace: "shop", WorkloadKind: "Deployment", WorkloadName: "httpbin", Cluster: "prod"}
	serves := func(j *verdict.Judged) {
		j.Direction, j.PeerName, j.PeerNameBasis = verdict.DirectionIngress, "", ""
	}
	named := func(name string) func(*verdict.Judged) {
		return func(j *verdict.Judged) { j.PeerName = name }
	}
	want := group(pod, named("httpbin.shop"))
	for name, got := range map[string]string{
		"another replica of the server": group(server, func(j *verdict.Judged) { serves(j); j.Destination.Addr = j.Source.Addr.Next() }),
		"the server":                    group(server, serves),
		"a longer name":                 group(pod, named("httpbin.shop.svc.cluster.local")),
		"the service's name":            group(pod, named("HTTPBIN.shop.svc")),
		"Istio's SNI":                   group(pod, named("outbound_.80_._.httpbin.shop.svc.cluster.local")),
		"from its own namespace":        group(server, named("httpbin")),
		"another client":                group(pod, func(j *verdict.Judged) { j.Source.Addr = j.Source.Addr.Next() }),
	} {
		if got != want {
			t.Errorf("%s: group_id differs", name)
		}
	}
	seen := []string{want}
	for name, got := range map[string]string{
		"another port":      group(pod, func(j *verdict.Judged) { j.Destination.Port = 81 }),
		"another namespace": group(pod, named("httpbin.store")),
		"another cluster":   group(finding.Identity{Pod: "web", Namespace: "front", Cluster: "test"}, named("httpbin.shop")),
		"no name":           group(pod, named("")),
		"a public name":     group(pod, named("httpbin.shop.example.com")),
	} {
		if slices.Contains(seen, got) {
			t.Errorf("%s: group_id is the same", name)
		}
		seen = append(seen, got)
	}
}

// TestEmitNothing: datasets that are not requested are not emitted, but findings are still counted.
func TestEmitNothing(t *testing.T) {
	e := finding.New(finding.Config{Tap: "read", Emit: func(x finding.Record) { t.Errorf("%s: %s", x.Dataset, x.Value) }})
	e.Add(plain(1, noon))
	e.Flush(noon + minute)
	s := e.Summary()
	if len(s.Findings) != 1 || s.Findings[0].Rule != "plaintext-edge" || s.Findings[0].Severity != 21 || s.Findings[0].Count != 1 || !s.Findings[0].Open {
		t.Errorf("findings %+v", s.Findings)
	}
	if !slices.Contains(finding.Rules(), "plaintext-edge") || !slices.Contains(finding.Rules(), "tls-not-mutual") {
		t.Errorf("rules %v", finding.Rules())
	}
}

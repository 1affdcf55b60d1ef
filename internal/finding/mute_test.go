package finding_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestParseMutes: each entry is read in the form that String writes. An invalid entry is named with its number and mutes nothing, and the
// others are still read.
func TestParseMutes(t *testing.T) {
	const end = ",until=2026-12-31,reason="
	for text, want := range map[string]struct {
		mutes []string
		err   string // parts of the error, separated by |
	}{
		"":                                      {},
		" ; \n;":                                {},
		"plaintext-edge, tls-not-mutual,":       {mutes: []string{"plaintext-edge", "tls-not-mutual"}},
		"plaintext-edge;tap-blind\ncipher-weak": {mutes: []string{"plaintext-edge", "tap-blind", "cipher-weak"}},
		" rule = plaintext-edge , port = 80 , until = 2026-12-31 , reason = a, b = c ": {mutes: []string{"rule=plaintext-edge,port=80" + end + "a, b = c"}},
		"until=2026-12-31,class=metrics,peer=10.1.2.3,rule=plaintext-edge,peer=fd00::/8,peer=Cache.shop.,reason=é": {
			mutes: []string{"rule=plaintext-edge,peer=10.1.2.3/32,peer=fd00::/8,peer=Cache.shop,class=metrics" + end + "é"}},
		"rule=plaintext-edge,peer=spiffe://a.b/ns/C/sa/d" + end + "x": {mutes: []string{"rule=plaintext-edge,peer=spiffe://a.b/ns/C/sa/d" + end + "x"}},
		"rule=plaintext-edge,peer=::ffff:10.0.0.0/104" + end + "x":    {mutes: []string{"rule=plaintext-edge,peer=10.0.0.0/8" + end + "x"}},
		"rule=plaintext-edge,until=2020-02-29,reason=over":            {mutes: []string{"rule=plaintext-edge,until=2020-02-29,reason=over"}},

		"cipher-weak;plaintxt-edge,cipher-weak":                             {[]string{"cipher-weak"}, `mute 2: "plaintxt-edge": expected rules, of plaintext-edge|; or rule=RULE,until`},
		"rule=plaintext-edge,until=2026-12-31":                              {nil, `mute 1: "rule=plaintext-edge,until=2026-12-31" has no reason: expected rule=RULE`},
		"rule=plaintext-edge,reason=x":                                      {nil, "has no until"},
		"until=2026-12-31,reason=x":                                         {nil, "has no rule"},
		"rule=plaintext-edge,until=2026-12-31,reason= ":                     {nil, "\"reason=\": expected a reason of 1 to 200 bytes of printable text"},
		"rule=plaintext-edge" + end + strings.Repeat("x", 201):              {nil, "of 1 to 200 bytes"},
		"rule=plaintext-edge" + end + "a\x1bb":                              {nil, "printable"},
		"rule=plaintext-edge" + end + "a\xff":                               {nil, "printable"},
		"rule=plaintext-edge,until=2026-02-30,reason=x":                     {nil, "\"until=2026-02-30\": expected a date from 2000 to 2099 such as 2026-12-31"},
		"rule=plaintext-edge,until=2026-12-31T00:00:00Z,reason=x":           {nil, "expected a date"},
		"rule=plaintext-edge,until=9999-12-31,reason=x":                     {nil, "expected a date"},
		"rule=plaintext-edge,port=0" + end + "x":                            {nil, "\"port=0\": expected a port from 1 to 65535"},
		"rule=plaintext-edge,port=80-90" + end + "x":                        {nil, "\"port=80-90\": expected a port"},
		"rule=plaintext-edge,peer=10.0.0.1/8" + end + "x":                   {nil, "\"peer=10.0.0.1/8\": 10.0.0.1/8 has bits set beyond its prefix length"},
		"rule=plaintext-edge,peer=10.0.0" + end + "x":                       {nil, "\"peer=10.0.0\": expected an address, a CIDR such as 10.0.0.0/8, a host name or a SPIFFE ID"},
		"rule=plaintext-edge,peer=fd00::1::2" + end + "x":                   {nil, "expected an address"},
		"rule=plaintext-edge,peer=" + end + "x":                             {nil, "expected an address"},
		"rule=plaintext-edge,peer=" + strings.Repeat("1/", 200) + end + "x": {nil, `...": expected an address`},
		"rule=plaintext-edge,peer=spiffe://" + end + "x":                    {nil, "expected an address"},
		"rule=plaintext-edge,class=workload" + end + "x":                    {nil, "\"class=workload\": expected a class that connections claim, of tap, dns"},
		"rule=plaintext-edge,until=2026-12-31,until=2027-01-01":             {nil, "each of rule, until and reason once"},
		"rule=plaintext-edge,ports=80" + end + "x":                          {nil, `"ports=80": expected one of the keys rule, peer, port, class, until, reason`},
		"rule=plaintext-edge,80" + end + "x":                                {nil, "mute 1: "},
		"rule=tap-blind,port=80" + end + "x":                                {nil, "findings of tap-blind are about a tap"},
		"rule=a" + end + "x;rule=plaintext-edge" + end + "y;port=z":         {[]string{"rule=plaintext-edge" + end + "y"}, "mute 1: \"rule=a\": expected rules|; mute 3: \"port=z\": expected a port"},
		strings.Repeat("plaintext-edge;", 101):                              {slices.Repeat([]string{"plaintext-edge"}, 100), "mute 101: expected at most 100 mutes"},
	} {
		list, err := finding.ParseMutes(text)
		var got []string
		for i := range list {
			got = append(got, list[i].String())
			if again, err := finding.ParseMutes(list[i].String()); err != nil || len(again) != 1 || again[0].String() != list[i].String() {
				t.Errorf("%s is not read again: %v", list[i].String(), err)
			}
		}
		if !slices.Equal(got, want.mutes) || (err == nil) != (want.err == "") {
			t.Errorf("%q: mutes %q, error %v, want %q", text, got, err, want.mutes)
		}
		for part := range strings.SplitSeq(want.err, "|") {
			if err != nil && (!strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%q: error %q, want one line with %q", text, err, part)
			}
		}
	}
}

// outcomes returns the findings as RULE ACTION KIND xCOUNT.
func (r *rig) outcomes() (out []string) {
	for _, d := range r.of(finding.DatasetFinding) {
		out = append(out, d.text("rule.id")+" "+d.text("event.action")+" "+d.text("event.kind")+" x"+d.at("meshtls.finding.count").(interface{ String() string }).String())
	}
	return out
}

// TestMuteSelects: a mute hides the findings of the connections that it selects, and no others.
func TestMuteSelects(t *testing.T) {
	from := func(j *verdict.Judged, addr string) *verdict.Judged { // an ingress connection
		j.Direction, j.PeerName, j.PeerNameBasis = verdict.DirectionIngress, "", ""
		j.Source.Addr = netip.MustParseAddr(addr)
		return j
	}
	egress := func() *verdict.Judged { return plain(1, noon) } // to httpbin.shop, 10.2.2.2, port 80
	named := func(name string) *verdict.Judged {
		j := egress()
		j.PeerName = name
		return j
	}
	claiming := func(class string) *verdict.Judged {
		j := egress()
		j.Claimed = class
		return j
	}
	six := func() *verdict.Judged {
		j := from(egress(), "fd00::7")
		j.Destination.Addr = netip.MustParseAddr("fd00::2")
		return j
	}
	for _, c := range []struct {
		places string
		j      *verdict.Judged
		muted  bool
	}{
		{"", egress(), true},
		{"peer=10.2.2.2", egress(), true},
		{"peer=10.2.0.0/16", egress(), true},
		{"peer=10.1.1.2", egress(), false}, // the pod itself
		{"peer=10.2.2.3", egress(), false},
		{"peer=::ffff:10.2.2.2", egress(), true},
		{"peer=10.2.2.3,peer=10.2.2.2", egress(), true},
		{"peer=0.0.0.0/0", six(), false},
		{"peer=fd00::/64", six(), true},
		{"peer=fd00::7", six(), true},
		{"peer=fd00::8", six(), false},
		{"peer=10.9.9.0/24", from(egress(), "10.9.9.9"), true},
		{"peer=10.2.2.2", from(egress(), "10.9.9.9"), false}, // the pod itself
		{"peer=10.9.9.9", from(egress(), "::ffff:10.9.9.9"), true},
		{"peer=httpbin.shop", egress(), true},
		{"peer=HTTPBIN.shop.", egress(), true},
		{"peer=httpbin.shop", named("HttpBin.Shop."), true},
		{"peer=bin.shop", egress(), false},
		{"peer=httpbin.shop", from(egress(), "10.9.9.9"), false}, // it has no name
		{"peer=spiffe://cluster.local/ns/a/sa/B", named("spiffe://cluster.local/ns/a/sa/B"), true},
		{"peer=spiffe://cluster.local/ns/a/sa/b", named("spiffe://cluster.local/ns/a/sa/B"), false},
		{"port=80", egress(), true},
		{"port=8080", egress(), false},
		{"port=8080,port=80", egress(), true},
		{"class=metrics", claiming("metrics"), true},
		{"class=metrics", claiming("probe"), false},
		{"class=metrics", egress(), false},
		{"class=probe,class=metrics", claiming("metrics"), true},
		{"peer=httpbin.shop,port=80,class=metrics", claiming("metrics"), true},
		{"peer=httpbin.shop,port=81,class=metrics", claiming("metrics"), false},
		{"peer=other.shop,port=80,class=metrics", claiming("metrics"), false},
		{"peer=other.shop,peer=10.2.2.2,port=80", egress(), true},
	} {
		mute := "rule=plaintext-edge," + c.places + ",until=2026-12-31,reason=x"
		mute = strings.Replace(mute, ",,", ",", 1)
		r := newRig(t, finding.Config{})
		r.e.Mute(mutes(t, mute))
		r.e.Add(c.j)
		if got := r.findings() == nil; got != c.muted {
			t.Errorf("%s: findings %q, want muted: %v", mute, r.findings(), c.muted)
		}
		var flows, postures []string
		for _, d := range r.docs {
			switch d.text("event.dataset") {
			case finding.DatasetFlow:
				flows = append(flows, d.text("meshtls.verdict"))
			case finding.DatasetPosture:
				postures = append(postures, d.text("meshtls.verdict"))
			}
		}
		if !slices.Equal(flows, []string{"plaintext"}) || !slices.Equal(postures, []string{"plaintext"}) {
			t.Errorf("%s: a mute changed the verdict: flows %q, postures %q", mute, flows, postures)
		}
		r.forget()
		other := oldTLS(2, noon+minute)
		other.TLS.Server = nil
		r.e.Add(other)
		if got := r.findings(); !slices.Equal(got, []string{"tls-version-weak open 21 x1"}) {
			t.Errorf("%s: findings of another rule %q", mute, got)
		}
	}
}

// at returns a plaintext connection to the name httpbin.shop at another address.
func at(id uint64, start int64, addr string) *verdict.Judged {
	j := plain(id, start)
	j.Destination.Addr = netip.MustParseAddr(addr)
	return j
}

const (
	muteOfTwo   = "rule=plaintext-edge,peer=10.2.2.2,until=2026-12-31,reason=x"
	muteOfThree = "rule=plaintext-edge,peer=10.2.2.3,until=2026-12-31,reason=y"
)

// TestMuteOfOnePeer: a mute for one of the addresses of a name hides nothing of the others, which have the same edge and finding.
func TestMuteOfOnePeer(t *testing.T) {
	r := newRig(t, finding.Config{})
	r.e.Mute(mutes(t, muteOfTwo))
	r.e.Add(at(1, noon, "10.2.2.2"))
	equal(t, r.outcomes(), nil)
	r.e.Add(at(2, noon+second, "10.2.2.3"))
	r.e.Add(at(3, noon+2*second, "10.2.2.2"))
	equal(t, r.outcomes(), []string{"plaintext-edge open alert x2"})

	// Two mutes together hide what neither hides alone; without one of them, the finding opens again.
	r.forget()
	r.e.Mute(mutes(t, muteOfTwo+";"+muteOfThree))
	r.e.Mute(mutes(t, muteOfThree))
	r.e.Mute(mutes(t, muteOfThree+";"+muteOfTwo))
	equal(t, r.outcomes(), []string{"plaintext-edge withdrawn event x3", "plaintext-edge open alert x3", "plaintext-edge withdrawn event x3"})
	if got, want := r.of(finding.DatasetFinding)[0].text("message"), "HTTP in plaintext from 10.1.1.2 to httpbin.shop (10.2.2.2) port 80 is no longer reported: it is muted until 2026-12-31 (x)."; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
}

// TestMuteOfManyPeers: a finding with more addresses than the engine stores is muted if a mute selected each of them when it connected. A
// mute that comes later does not hide it.
func TestMuteOfManyPeers(t *testing.T) {
	const wide = "rule=plaintext-edge,peer=10.2.2.0/24,until=2026-12-31,reason=x"
	many := func(r *rig, first uint64) {
		for n := range uint64(40) {
			r.e.Add(at(first+n, noon+int64(first+n)*second, netip.AddrFrom4([4]byte{10, 2, 2, byte(n)}).String()))
		}
	}
	r := newRig(t, finding.Config{})
	r.e.Mute(mutes(t, wide))
	many(r, 0)
	r.e.Mute(mutes(t, wide+";"+muteOfTwo))
	equal(t, r.outcomes(), nil)
	r.e.Mute(mutes(t, wide))
	equal(t, r.outcomes(), []string{"plaintext-edge open alert x40"}) // the mute that has gone may have been the one

	r = newRig(t, finding.Config{})
	many(r, 0)
	r.forget()
	r.e.Mute(mutes(t, wide))
	equal(t, r.outcomes(), nil)
	r.e.Mute(mutes(t, "plaintext-edge"))
	equal(t, r.outcomes(), []string{"plaintext-edge withdrawn event x40"})
}

// TestMuteEnds: a mute ends with its day in UTC, while the tap runs. Its end is reported once, and its open findings alert.
func TestMuteEnds(t *testing.T) {
	midnight := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC).UnixNano()
	ends := func(r *rig) (out []string) {
		for _, d := range r.of(finding.DatasetTap) {
			if d.text("event.action") == "mute_ended" {
				out = append(out, d.text("event.reason"))
			}
		}
		return out
	}
	const over, today, later = "rule=cipher-weak,until=2026-11-23,reason=over", "rule=plaintext-edge,port=80,until=2026-11-24,reason=x", "rule=plaintext-edge,peer=10.7.0.0/16,until=2026-11-25,reason=y"
	r := newRig(t, finding.Config{Window: time.Hour})
	r.e.Mute(mutes(t, today+";"+later+";"+over))
	r.e.Tick(noon)
	equal(t, ends(r), []string{over})
	r.e.Add(living(plain(1, noon)))
	r.e.Tick(midnight - 1)
	r.e.Mute(mutes(t, later+";"+over+";"+today)) // in another order: nothing is reported again
	equal(t, append(r.outcomes(), ends(r)...), []string{over})
	r.e.Tick(midnight)
	equal(t, append(r.outcomes(), ends(r)...), []string{"plaintext-edge open alert x1", over, today})
	r.e.Mute(mutes(t, today+";"+later+";"+over))
	r.e.Tick(midnight + minute)
	equal(t, append(r.outcomes(), ends(r)...), []string{"plaintext-edge open alert x1", over, today})
	r.e.Add(plain(2, midnight+2*minute))
	if got := r.outcomes(); len(got) != 1 {
		t.Errorf("an ended mute hides: %q", got)
	}
}

// TestMutedFindingsAndBudget: muted findings take nothing from the budget of a window. When their mute ends, they open within it.
func TestMutedFindingsAndBudget(t *testing.T) {
	r := newRig(t, finding.Config{Announcements: 2})
	to := func(id uint64, last byte, port uint16) *verdict.Judged {
		j := plain(id, noon+int64(id)*second)
		j.PeerName, j.PeerNameBasis = "", ""
		j.Destination.Addr, j.Destination.Port = netip.AddrFrom4([4]byte{10, 3, 3, last}), port
		return j
	}
	const muted = "rule=plaintext-edge,port=81,until=2026-12-31,reason=x"
	r.e.Mute(mutes(t, muted))
	for n := range byte(5) {
		r.e.Add(to(uint64(n), n, 81))
	}
	equal(t, r.outcomes(), nil)
	for n := range byte(4) {
		r.e.Add(to(uint64(10+n), n, 80))
	}
	equal(t, r.outcomes(), []string{"plaintext-edge open alert x1", "plaintext-edge open alert x1", "plaintext-edge open alert x1"}) // the last one folds

	// Muting one of the two folded findings leaves the other in the fold; muting both withdraws the fold.
	r.forget()
	r.e.Mute(mutes(t, muted+";rule=plaintext-edge,peer=10.3.3.3,until=2026-12-31,reason=x"))
	r.e.Tick(noon + 10*minute)
	fold := r.of(finding.DatasetFinding)
	if len(fold) != 1 || fold[0].number("meshtls.finding.folded_edges") != 1 || fold[0].number("meshtls.finding.count") != 1 {
		t.Errorf("fold %v", fold)
	}
	r.forget()
	r.e.Mute(mutes(t, muted+";rule=plaintext-edge,peer=10.3.3.2/31,until=2026-12-31,reason=x"))
	equal(t, r.outcomes(), []string{"plaintext-edge withdrawn event x1"})

	r.forget()
	r.e.Mute(nil)
	equal(t, r.outcomes(), []string{"plaintext-edge open alert x1", "plaintext-edge open alert x1", "plaintext-edge open alert x1"})
	r.forget()
	r.e.Tick(noon + 20*minute)
	if last := r.of(finding.DatasetFinding); len(last) != 1 || last[0].number("meshtls.finding.folded_edges") != 5 || last[0].number("meshtls.finding.count") != 5 {
		t.Errorf("fold %v", last)
	}
}

// TestMutedFindingIsResolved: a muted finding ends without a record, and does not open when its mute ends. The posture counts it.
func TestMutedFindingIsResolved(t *testing.T) {
	r := newRig(t, finding.Config{Interval: 20 * time.Minute})
	r.e.Tick(noon)
	r.e.Mute(mutes(t, muteOfTwo))
	r.e.Add(plain(1, noon+second))
	r.e.Tick(noon + 10*minute)
	clean := mutual(2, noon+11*minute)
	clean.Mesh, clean.PeerName, clean.PeerNameBasis, clean.Destination.Port = "", "httpbin.shop", "sni", 80
	r.e.Add(clean)
	r.e.Tick(noon + 20*minute)
	clean.ID, clean.Start, clean.Last = 3, noon+21*minute, noon+21*minute+second
	r.e.Add(clean)
	r.e.Tick(noon + 40*minute)
	clean.ID, clean.Start, clean.Last = 4, noon+41*minute, noon+41*minute+second
	r.e.Add(clean)
	r.e.Tick(noon + 60*minute)
	var counted []int64
	for _, d := range r.of(finding.DatasetPosture) {
		if d.text("event.action") == "snapshot" {
			counted = append(counted, max(d.number("meshtls.edge.muted_findings"), 0))
		}
	}
	if !slices.Equal(counted, []int64{1, 1, 0}) { // it is resolved after the first snapshot
		t.Errorf("muted findings in the snapshots: %d, want 1, 1 and 0", counted)
	}
	r.e.Mute(nil)
	equal(t, r.outcomes(), nil)
}

// TestMutedFindingIsRetracted: the posture does not count a muted finding that turned out to be none.
func TestMutedFindingIsRetracted(t *testing.T) {
	r := newRig(t, finding.Config{})
	r.e.Mute(mutes(t, muteOfTwo))
	r.e.Tick(noon)
	r.e.Add(living(plain(1, noon+second)))
	turned := plain(1, noon+second)
	turned.Verdict = verdict.Unknown
	r.e.Add(turned)
	r.e.Tick(noon + 10*minute)
	for _, d := range r.of(finding.DatasetPosture) {
		if d.text("event.action") == "snapshot" && d.at("meshtls.edge.muted_findings") != nil {
			t.Errorf("posture %v", d)
		}
	}
	equal(t, r.outcomes(), nil)
}

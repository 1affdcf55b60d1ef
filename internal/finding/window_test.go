package finding_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// windows returns action, time and message of the postures in order.
func (r *rig) windows() []string {
	var out []string
	for _, d := range r.of(finding.DatasetPosture) {
		out = append(out, fmt.Sprintf("%s %s %s", d.text("@timestamp")[11:19], d.text("event.action"), d.text("message")))
	}
	return out
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// TestWindows: packet time closes the posture intervals. A long connection is in the snapshot of each.
func TestWindows(t *testing.T) {
	r := newRig(t, finding.Config{Coverage: covered(10, 0)})
	r.e.Tick(noon)
	long := mutual(1, noon+minute)
	r.e.Add(living(long))
	r.e.Tick(noon + 10*minute - 1)
	r.e.Tick(noon + 10*minute)
	r.e.Add(mutual(2, noon+15*minute))
	unjudged := mutual(3, noon+16*minute)
	unjudged.Verdict = verdict.Unknown
	r.e.Add(unjudged)
	r.e.Tick(noon + 20*minute)
	r.e.Tick(noon + 30*minute)
	long.Last = noon + 35*minute
	r.e.Add(long)
	r.e.Tick(noon + 40*minute)
	r.e.Tick(noon + 50*minute)
	equal(t, r.windows(), []string{
		"12:01:01 new 0 of 1 judged connections in plaintext, 1 in mutual TLS, 0 unjudged, 0 packets lost, 12:00-12:01",
		"12:10:00 snapshot 0 of 1 judged connections in plaintext, 1 in mutual TLS, 0 unjudged, 0 packets lost, 12:00-12:10",
		"12:20:00 snapshot 0 of 2 judged connections in plaintext, 2 in mutual TLS, 1 unjudged, 0 packets lost, 12:10-12:20",
		"12:30:00 snapshot 0 of 1 judged connections in plaintext, 1 in mutual TLS, 0 unjudged, 0 packets lost, 12:20-12:30",
		"12:40:00 snapshot 0 of 1 judged connections in plaintext, 1 in mutual TLS, 0 unjudged, 0 packets lost, 12:30-12:40",
	})
}

// unseen returns records of a tap that did not see all traffic.
func unseen(t *testing.T) []finding.Record {
	n := uint64(0)
	r := newRig(t, finding.Config{Heartbeat: 5 * time.Minute, Coverage: func() finding.Coverage {
		n++
		return finding.Coverage{Packets: n, Foreign: 5 * n, Uncaptured: []string{"net1", "net2"}, Since: noon - second/4}
	}})
	r.e.Tick(noon)
	r.e.Add(mutual(1, noon+minute))
	r.e.Tick(noon + 10*minute)
	return r.records
}

// TestUnseen: undecoded packets and uncaptured interfaces are in the coverage and in the message.
func TestUnseen(t *testing.T) {
	said := map[string]bool{}
	for _, r := range unseen(t) {
		said[r.Dataset] = strings.Contains(string(r.Value), `"foreign_packets":`) && strings.Contains(string(r.Value), `"since":"2026-`) && strings.Contains(string(r.Value), `"uncaptured_interfaces":["net1","net2"]`) &&
			(r.Dataset != finding.DatasetPosture || strings.Contains(string(r.Value), "0 packets lost, not captured on net1, net2, "))
	}
	if !said[finding.DatasetPosture] || !said[finding.DatasetTap] {
		t.Errorf("records %v", said)
	}
}

// TestTimeGoesBackwards: an earlier time has no effect, and a leap closes one window only.
func TestTimeGoesBackwards(t *testing.T) {
	r := newRig(t, finding.Config{})
	r.e.Tick(noon + 5*minute)
	r.e.Add(plain(1, noon+5*minute))
	r.e.Tick(noon)
	r.e.Tick(math.MinInt64)
	r.e.Add(plain(2, noon-60*minute)) // a connection that is older than the others, as from an older file
	r.e.Tick(noon + 365*24*60*minute)
	r.e.Add(plain(3, noon+10*minute))
	r.e.Flush(noon)
	equal(t, r.windows(), []string{
		"12:05:03 new 1 of 1 judged connections in plaintext, 0 unjudged, packet loss unknown, 12:05:00-12:05:03",
		"12:10:00 snapshot 2 of 2 judged connections in plaintext, 0 unjudged, packet loss unknown, 12:05-12:10",
		"12:00:00 snapshot 1 of 1 judged connections in plaintext, 0 unjudged, packet loss unknown, 12:00:00-12:00:00",
	})
}

// TestExtremeTimes: extreme timestamps of a hostile capture cause no panic and no lost record.
func TestExtremeTimes(t *testing.T) {
	for _, at := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64 - 10*second, math.MaxInt64} {
		r := newRig(t, finding.Config{})
		j := plain(1, at)
		j.Last = at
		r.e.Add(j)
		r.e.Tick(math.MaxInt64)
		r.e.Flush(math.MaxInt64)
		if n := len(r.of(finding.DatasetFlow)); n != 1 {
			t.Errorf("%d: %d flows", at, n)
		}
	}
}

// TestFlushAndGoOn: connections that are added after a flush start a new window.
func TestFlushAndGoOn(t *testing.T) {
	r := newRig(t, finding.Config{})
	r.e.Flush(noon)
	r.e.Add(plain(1, noon+minute))
	r.e.Flush(noon + 2*minute)
	r.e.Flush(noon + 3*minute)
	r.e.Stopped(noon+3*minute, "SIGTERM")
	equal(t, r.windows(), []string{
		"12:01:03 new 1 of 1 judged connections in plaintext, 0 unjudged, packet loss unknown, 12:01:00-12:01:03",
		"12:02:00 snapshot 1 of 1 judged connections in plaintext, 0 unjudged, packet loss unknown, 12:01-12:02",
	})
}

// TestPostureAtOnce: an edge emits its posture at once only if it is new, or worse than in this window
// and the previous one.
func TestPostureAtOnce(t *testing.T) {
	type step struct {
		add  func(id uint64, start int64) *verdict.Judged
		want string // actions of the emitted postures
	}
	unknown := func(id uint64, start int64) *verdict.Judged {
		return tlsTalk(id, start, verdict.Unknown, verdict.AuthUnknown)
	}
	failed := func(id uint64, start int64) *verdict.Judged {
		return tlsTalk(id, start, verdict.Failed, verdict.AuthPresented)
	}
	cleartext := func(id uint64, start int64) *verdict.Judged {
		j := plain(id, start)
		j.PeerName, j.PeerNameBasis, j.Destination.Port = "httpbin.shop.svc.cluster.local", "host_header", 443
		return j
	}
	half := func(id uint64, start int64) *verdict.Judged {
		return tlsTalk(id, start, verdict.TLS, verdict.AuthUnknown)
	}
	r := newRig(t, finding.Config{})
	now := noon
	r.e.Tick(now)
	for i, s := range []step{ // nil: the window ends
		{mutual, "new"}, {mutual, ""}, {unknown, ""}, {half, "worsened"}, {failed, "worsened"}, {failed, ""}, {oneWay, "worsened"}, {cleartext, "worsened"}, {cleartext, ""},
		{nil, "snapshot"}, {cleartext, ""}, {mutual, ""}, {nil, "snapshot"}, {oneWay, ""}, {nil, "snapshot"}, {nil, ""}, {cleartext, "worsened"}, {nil, "snapshot"},
	} {
		r.forget()
		now += 10 * second
		if s.add != nil {
			r.e.Add(s.add(uint64(i+1), now))
		} else {
			now += 10*minute - now%(10*minute)
			r.e.Tick(now)
		}
		var got []string
		for _, d := range r.of(finding.DatasetPosture) {
			got = append(got, d.text("event.action"))
		}
		if strings.Join(got, " ") != s.want {
			t.Errorf("step %d: %q, want %q", i, got, s.want)
		}
	}
}

// TestHeartbeat: each time that a heartbeat is due, one is emitted. Missed heartbeats are not
// emitted later.
func TestHeartbeat(t *testing.T) {
	r := newRig(t, finding.Config{Heartbeat: 5 * time.Minute})
	r.e.Started(noon, finding.SelfTest{})
	for at := noon; at < noon+11*minute; at += second {
		r.e.Tick(at)
	}
	r.e.Tick(noon + 60*minute)
	r.e.Tick(noon + 61*minute)
	var got []string
	for _, d := range r.of(finding.DatasetTap) {
		got = append(got, d.text("@timestamp")[11:19]+" "+d.text("event.action"))
	}
	equal(t, got, []string{"12:00:00 started", "12:05:00 heartbeat", "12:10:00 heartbeat", "13:00:00 heartbeat"})
}

// TestSteadyRate: a pod with 50 edges emits at most 0.03 records/s apart from flows, however many
// findings it has. It also has the aggregate edges of the pod, DNS and probes.
func TestSteadyRate(t *testing.T) {
	kinds := map[string]func(id uint64, start int64) *verdict.Judged{
		"all mutual":    mutual,
		"all plaintext": plain,
		"all one-way":   oneWay,
		"mixed": func(id uint64, start int64) *verdict.Judged {
			return []func(uint64, int64) *verdict.Judged{mutual, plain, oneWay}[id%3](id, start)
		},
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			var n, all int
			counting := false
			e := finding.New(finding.Config{
				Tap: pod.UID, Identity: pod, Mesh: "istio", Findings: true, Posture: true, Interval: time.Hour, Heartbeat: 5 * time.Minute, Coverage: covered(1000, 0),
				Emit: func(finding.Record) {
					all++
					if counting {
						n++
					}
				},
			})
			e.Started(noon, finding.SelfTest{})
			id := uint64(0)
			const warm, hours = 30 * time.Minute, 4
			for s := range int64(hours*3600) + int64(warm/time.Second) {
				at := noon + s*second
				counting = s >= int64(warm/time.Second)
				e.Tick(at)
				if s%10 != 0 {
					continue
				}
				for edge := range uint64(50) { // each edge has a connection every 10 s, some of them long
					id++
					j := kind(edge, at)
					j.ID, j.PeerName = id, fmt.Sprintf("peer-%d", edge)
					if id%1000 == 0 {
						j = living(j)
					}
					e.Add(j)
				}
				for _, class := range []string{"dns", "probe", "workload"} {
					id++
					j := plain(id, at)
					if j.Class = class; class == "workload" {
						j.Scope, j.Direction = verdict.ScopePod, verdict.DirectionInternal
					}
					e.Add(j)
				}
			}
			rate := float64(n) / (hours * 3600)
			if rate > 0.03 || rate < 0.015 {
				t.Errorf("%.4f records/s in steady state", rate)
			}
			t.Logf("%.4f records/s, %d records in all, warm-up included", rate, all)
		})
	}
}

package finding_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// actions returns time, action, covered time, verdict and number of connections of each posture.
func (r *rig) actions() []string {
	var out []string
	for _, d := range r.of(finding.DatasetPosture) {
		n := int64(0)
		for _, v := range []string{"plaintext", "tls", "encrypted", "mtls", "failed", "unknown"} {
			n += d.number("meshtls.edge.connections." + v)
		}
		out = append(out, fmt.Sprintf("%s %s %s-%s %s %d", d.text("@timestamp")[11:16], d.text("event.action"),
			d.text("event.start")[11:16], d.text("event.end")[11:16], d.text("meshtls.verdict"), n))
	}
	return out
}

// sameEdge returns a connection on the edge of mutual, in plaintext.
func sameEdge(id uint64, start int64) *verdict.Judged {
	j := plain(id, start)
	j.PeerName, j.PeerNameBasis, j.Destination.Port = "httpbin.shop.svc.cluster.local", "host_header", 443
	return j
}

// TestSnapshots: snapshots have the borders of the clock, whatever the start of the tap. They count everything since
// the latest one. A first interval that is shorter than half counts in the next one.
func TestSnapshots(t *testing.T) {
	for _, c := range []struct {
		start int64 // minutes after noon
		want  []string
	}{
		{1, []string{"12:05 new 12:01-12:05 mtls 1", "13:00 snapshot 12:01-13:00 mtls 6", "14:00 snapshot 13:00-14:00 mtls 6", "14:20 snapshot 14:00-14:20 mtls 2"}},
		{31, []string{"12:35 new 12:31-12:35 mtls 1", "14:00 snapshot 12:31-14:00 mtls 9", "14:20 snapshot 14:00-14:20 mtls 2"}},
	} {
		r := newRig(t, finding.Config{Interval: time.Hour})
		r.e.Tick(noon + c.start*minute)
		id := uint64(0)
		for at := range int64(140) {
			if at < c.start {
				continue
			}
			r.e.Tick(noon + at*minute)
			if at%10 == 5 {
				id++
				r.e.Add(mutual(id, noon+at*minute))
			}
		}
		r.e.Flush(noon + 140*minute)
		equal(t, r.actions(), c.want)
	}
}

// TestLeapOverSnapshots: the counts before a gap of hours do not count after it.
func TestLeapOverSnapshots(t *testing.T) {
	r := newRig(t, finding.Config{Interval: time.Hour})
	r.e.Add(mutual(1, noon+50*minute))
	r.e.Add(mutual(2, noon+200*minute))
	r.e.Flush(noon + 201*minute)
	equal(t, r.actions(), []string{"12:50 new 12:50-12:50 mtls 1", "13:00 snapshot 12:50-13:00 mtls 1", "15:21 snapshot 15:00-15:21 mtls 1"})
}

// TestImproved: an edge that was better for two windows than in its latest posture has a posture of the second
// window. A window without judged connections shows no improvement.
func TestImproved(t *testing.T) {
	r := newRig(t, finding.Config{Interval: time.Hour})
	id := uint64(0)
	for at := range int64(80) {
		r.e.Tick(noon + at*minute)
		id++
		switch {
		case at == 3:
			r.e.Add(sameEdge(id, noon+at*minute))
		case at < 5, at > 15 && at < 20, at == 36, at > 70:
			r.e.Add(mutual(id, noon+at*minute))
		case at > 20 && at < 35:
			j := mutual(id, noon+at*minute)
			j.Verdict = verdict.Unknown
			r.e.Add(j)
		case at == 52:
			r.e.Add(sameEdge(id, noon+at*minute))
		}
	}
	equal(t, r.actions(), []string{
		"12:00 new 12:00-12:00 mtls 1",
		"12:03 worsened 12:00-12:03 plaintext 4",
		"12:40 improved 12:30-12:40 mtls 6",
		"12:52 worsened 12:00-12:52 plaintext 25",
		"13:00 snapshot 12:00-13:00 plaintext 25",
	})
}

// TestDelay: at the end of a window its postures and findings are emitted after the delay, or before the next posture
// or finding. They cover the window nevertheless.
func TestDelay(t *testing.T) {
	r := newRig(t, finding.Config{Interval: 10 * time.Minute, Delay: 4 * time.Minute, Mesh: "istio"})
	r.e.Tick(noon)
	r.e.Add(plain(1, noon+minute))
	r.e.Add(plain(2, noon+minute))
	r.forget()
	count := func(at int64, want int) {
		t.Helper()
		if n := len(r.of(finding.DatasetPosture)) + len(r.of(finding.DatasetFinding)); n != want {
			t.Errorf("minute %d: %d records, want %d", at, n, want)
		}
	}
	r.e.Tick(noon + 10*minute)
	count(10, 0)
	r.e.Tick(noon + 14*minute - 1)
	count(13, 0)
	r.e.Tick(noon + 14*minute)
	count(14, 2)
	r.e.Add(plain(3, noon+15*minute))
	r.e.Tick(noon + 21*minute)
	count(21, 2)
	r.e.Add(mutual(4, noon+22*minute)) // a new edge
	equal(t, r.actions(), []string{"12:10 snapshot 12:00-12:10 plaintext 2", "12:20 snapshot 12:10-12:20 plaintext 1", "12:22 new 12:20-12:22 mtls 1"})
	r.e.Add(plain(5, noon+25*minute))
	r.e.Tick(noon + 31*minute)
	r.forget()
	r.e.Flush(noon + 32*minute)
	if got := r.actions(); len(got) != 2 {
		t.Errorf("after Flush: %q", got)
	}
	for i, d := range r.of(finding.DatasetPosture) {
		if d.number("event.sequence") != int64(i)+5 {
			t.Errorf("sequence %d of posture %d", d.number("event.sequence"), i)
		}
	}
}

// TestSample: two taps that see the same connections from both ends, and started at different times, publish the same
// sample: the smallest hashes of the connections that began in the interval.
func TestSample(t *testing.T) {
	client, server := newRig(t, finding.Config{Interval: time.Hour}), newRig(t, finding.Config{Interval: time.Hour, Delay: 7 * time.Minute})
	client.e.Tick(noon - 20*minute)
	server.e.Tick(noon - 5*minute)
	var want []string
	for id := range uint64(100) {
		start := noon - 10*minute + int64(id)*minute
		kind := mutual
		if id%3 == 0 {
			kind = sameEdge
		}
		for i, r := range []*rig{client, server} {
			j := kind(id, start+int64(i)*second/1000)
			j.FlowHash = verdict.NewFlowHash(j.Source.Port, 443, uint32(id), 1)
			hash := j.FlowHash.String()
			if j.TLS != nil {
				j.TLS.SessionHash = sessionHash(id)
				hash = j.TLS.SessionHash
			}
			if i == 0 && start >= noon && start < noon+60*minute {
				want = append(want, hash)
			}
			j.Last = j.Start + 2*second
			if i == 1 {
				j.Direction = verdict.DirectionIngress
				j.Source.Addr, j.PeerName, j.PeerNameBasis = netip.MustParseAddr("10.1.1.2"), "", ""
			}
			r.e.Tick(j.Start)
			r.e.Add(living(j))
			r.e.Add(j)
		}
	}
	slices.Sort(want)
	for name, r := range map[string]*rig{"client": client, "server": server} {
		var got []string
		for _, d := range r.of(finding.DatasetPosture) {
			if d.text("event.action") == "snapshot" && d.text("event.end")[11:16] == "13:00" {
				for _, h := range d.at("meshtls.edge.sample").([]any) {
					got = append(got, h.(string))
				}
			}
		}
		equal(t, got, want[:8])
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// TestSampleOfSession: only connections that both ends know by a hash are in the sample.
func TestSampleOfSession(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*verdict.Judged)
		want   int
	}{
		"session":              {func(*verdict.Judged) {}, 1},
		"no session":           {func(j *verdict.Judged) { j.TLS.SessionHash = "" }, 0},
		"plaintext":            {func(j *verdict.Judged) { j.TLS, j.Verdict = nil, verdict.Plaintext }, 1},
		"plaintext mid-stream": {func(j *verdict.Judged) { j.TLS, j.Verdict, j.FlowHash = nil, verdict.Plaintext, verdict.FlowHash{} }, 0},
		"unknown":              {func(j *verdict.Judged) { j.TLS, j.Verdict = nil, verdict.Unknown }, 0},
		"within the pod":       {func(j *verdict.Judged) { j.Scope = verdict.ScopePod }, 0},
	} {
		r := newRig(t, finding.Config{})
		j := mutual(1, noon)
		c.change(j)
		r.e.Add(j)
		got, _ := r.of(finding.DatasetPosture)[0].at("meshtls.edge.sample").([]any)
		if len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestSnapshotsCountEverything: the snapshots of an interval count the connections of all edges, also of those that
// had to leave the full table before its end, and all bytes.
func TestSnapshotsCountEverything(t *testing.T) {
	r := newRig(t, finding.Config{Interval: time.Hour, MaxEdges: 3})
	r.e.Tick(noon)
	const edges = 12
	bytes := int64(0)
	for i := range uint64(edges) {
		j := mutual(i, noon+int64(i)*15*minute)
		j.PeerName = fmt.Sprintf("peer-%d", i)
		if i%2 == 0 {
			r.e.Add(living(j))
			j.Last += 20 * minute
		}
		bytes += int64(j.Source.Bytes + j.Destination.Bytes)
		r.e.Add(j)
	}
	r.e.Flush(noon + 200*minute)
	var connections, got int64
	for _, d := range r.of(finding.DatasetPosture) {
		if d.text("event.action") == "snapshot" {
			connections += d.number("meshtls.edge.connections.mtls")
			got += d.number("meshtls.edge.bytes.mtls")
		}
	}
	if connections != edges || got != bytes {
		t.Errorf("%d connections and %d bytes, want %d and %d: %q", connections, got, edges, bytes, r.actions())
	}
}

// TestSampleAfterPause: a capture that goes on in a later interval has no sample of the earlier one.
func TestSampleAfterPause(t *testing.T) {
	r := newRig(t, finding.Config{})
	r.e.Add(mutual(1, noon))
	r.e.Flush(noon + minute)
	r.forget()
	later := mutual(2, noon+25*minute)
	later.TLS.SessionHash = sessionHash(2)
	r.e.Add(later)
	r.e.Flush(noon + 26*minute)
	for _, d := range r.of(finding.DatasetPosture) {
		if got := fmt.Sprint(d.at("meshtls.edge.sample")); got != "["+sessionHash(2)+"]" {
			t.Errorf("sample %s", got)
		}
	}
}

// TestFirstWindow: a window that was not seen from its start publishes no ongoing finding. The next one counts its hits.
func TestFirstWindow(t *testing.T) {
	r := newRig(t, finding.Config{Interval: time.Hour, Mesh: "istio"})
	r.e.Tick(noon + 9*minute)
	r.e.Add(plain(1, noon+9*minute))
	r.e.Add(plain(2, noon+9*minute+10*second))
	r.e.Tick(noon + 10*minute)
	r.e.Tick(noon + 20*minute)
	var got []string
	for _, d := range r.of(finding.DatasetFinding) {
		got = append(got, fmt.Sprintf("%s %s %d", d.text("@timestamp")[11:16], d.text("meshtls.finding.state"), d.number("meshtls.finding.count")))
	}
	equal(t, got, []string{"12:09 open 1", "12:20 ongoing 2"})
}

// TestFoldedEdgeIsPublished: an aggregate edge that is created from other edges has a posture at the end of the window.
func TestFoldedEdgeIsPublished(t *testing.T) {
	r := newRig(t, finding.Config{Interval: time.Hour, MaxEdges: 1})
	r.e.Tick(noon)
	r.e.Add(mutual(1, noon))
	other := mutual(2, noon+25*minute)
	other.PeerName = "other.example"
	r.e.Add(other)
	r.e.Tick(noon + 30*minute)
	equal(t, r.actions(), []string{"12:00 new 12:00-12:00 mtls 1", "12:25 new 12:00-12:25 mtls 1", "12:30 new 12:00-12:30 mtls 1"})
	if key := r.docs[len(r.docs)-1].text("meshtls.edge.key"); key != "other" {
		t.Errorf("edge %s", key)
	}
}

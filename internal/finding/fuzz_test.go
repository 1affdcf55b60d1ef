package finding_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// FuzzEngine adds connections to an engine that start, change and end in any order and at any time.
// Every record must be valid, and every event.id must be unique. At the end every connection must be
// counted exactly once.
func FuzzEngine(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"))
	f.Add([]byte("a connection opens, is judged anew, moves to another edge and ends"))
	f.Add([]byte{0x10, 0x91, 0x12, 0xf3, 0x10, 0x11, 0xff, 0xff, 0x00, 0x80, 0x81, 0x82, 0x83, 0x10, 0xff, 0x91})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 0 && len(script) <= 4000 {
			drive(t, script, true)
		}
	})
}

// TestEngineAtRandom runs the body of FuzzEngine a fixed number of times, and validates the records
// against the schema too.
func TestEngineAtRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		script := make([]byte, 1+random.IntN(200))
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		drive(t, script, false)
	}
}

func drive(t *testing.T, script []byte, quick bool) {
	t.Helper()
	r := newRig(t, finding.Config{
		MaxEdges: 4, Announcements: []int{-1, 1, 2, 20}[len(script)/2%4], Window: time.Minute, Heartbeat: 90 * time.Second, Identity: pod, Coverage: covered(3, 1), Unfold: len(script)%2 == 0,
	})
	r.quick = quick
	open := map[uint64]*verdict.Judged{}
	now, ended := noon, uint64(0)
	var ids [8]uint64 // connections that have ended, by the low bits of the script byte: an ID contains this number, so no ID is used twice in a run
	for i, b := range script {
		id := ids[b&7]*8 + uint64(b&7)
		now += int64(b>>3) * second
		switch b {
		case 0xff:
			now += 3 * minute
			r.e.Tick(now)
		case 0xfe:
			r.e.Tick(now - 10*minute)
		case 0xfd:
			r.e.Flush(now)
		default:
			j := shape(id, now, script[(i*7+1)%len(script)])
			if was := open[id]; was != nil {
				j.Start = was.Start
			}
			j.Last = now
			open[id] = j
			if j.Ended = b&0x80 != 0; j.Ended {
				delete(open, id)
				ids[b&7]++
				ended++
			}
			r.e.Add(j)
		}
	}
	for _, j := range open {
		j.Ended = true
		r.e.Add(j)
		ended++
	}
	r.e.Flush(now + minute)
	account(t, r, ended)
}

// TestLifecycles: whatever happens, a finding opens before it is ongoing or ends, opens again only after it has
// ended, and alerts only while it is open. The table of edges is large enough for all edges.
func TestLifecycles(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for n := range 100 {
		r := newRig(t, finding.Config{
			Announcements: []int{-1, 1, 2, 3}[n%4], Window: time.Minute, Identity: pod, Unfold: n%3 == 0,
		})
		r.quick = true
		now, next := noon, uint64(100)
		living := map[uint64]*verdict.Judged{}
		for range 150 {
			now += int64(random.IntN(12)) * second
			switch random.IntN(40) {
			case 0:
				r.e.Mute(mutes(t, randomMutes[random.IntN(len(randomMutes))]))
			case 1:
				r.e.Expect(expects(t, []string{"", "10.0.0.0/8=mtls", "10.0.0.0/8=tls", "10.0.0.0/8=any"}[random.IntN(4)]))
			}
			id := next
			if next++; random.IntN(3) == 0 && len(living) > 0 {
				id = slices.Sorted(maps.Keys(living))[random.IntN(len(living))]
			}
			j := shape(id, now, byte(random.Uint32()))
			if was := living[id]; was != nil {
				j.Start = was.Start
			}
			j.Last, j.Ended = now, random.IntN(2) == 0
			if living[id] = j; j.Ended {
				delete(living, id)
			}
			r.e.Add(j)
		}
		r.e.Flush(now + minute)
		checkLifecycles(t, r)
	}
}

// randomMutes are lists of mutes, some of which end while the test runs.
var randomMutes = []string{
	"", "plaintext-edge", "mtls-downgrade", "plaintext-edge,tls-not-mutual", "rule=plaintext-edge,port=80,until=2026-12-31,reason=x",
	"rule=plaintext-edge,peer=peer-3,until=2026-12-31,reason=x;rule=plaintext-edge,peer=10.1.1.0/25,until=2026-12-31,reason=x",
	"rule=mtls-downgrade,peer=10.2.0.0/16,until=2026-12-31,reason=x;credentials-in-clear",
	"rule=plaintext-edge,until=2025-12-31,reason=ended;rule=tls-not-mutual,peer=10.2.2.2,peer=10.1.1.1,port=443,until=2026-12-31,reason=x",
}

// checkLifecycles checks the order of the states of each finding.
func checkLifecycles(t *testing.T, r *rig) {
	t.Helper()
	open := map[string]bool{}
	for _, x := range r.records {
		if x.Dataset != finding.DatasetFinding {
			continue
		}
		var d struct {
			Event   struct{ Action, Kind string }
			Meshtls struct{ Edge struct{ Key string } }
		}
		if err := json.Unmarshal(x.Value, &d); err != nil {
			t.Fatal(err)
		}
		key := x.Rule + " " + d.Meshtls.Edge.Key
		switch state := d.Event.Action; {
		case open[key] == (state == "open"):
			t.Errorf("%s: %s while open is %t", key, state, open[key])
		case state != "open" && state != "ongoing":
			open[key] = false
		default:
			open[key] = true
		}
	}
}

// account checks that event.id is unique and that every connection that ended is counted exactly once.
func account(t *testing.T, r *rig, ended uint64) {
	t.Helper()
	ids, flows := map[string]bool{}, uint64(0)
	for _, x := range r.records {
		if ids[x.ID] {
			t.Errorf("event.id %s twice: %s", x.ID, x.Value)
		}
		ids[x.ID] = true
		if x.Dataset == finding.DatasetFlow {
			flows++
		}
	}
	s := r.e.Summary()
	seen := s.Silent
	count := func(list []finding.Seen) {
		for _, v := range list {
			seen += v.Connections
		}
	}
	for _, e := range s.Edges {
		count(e.Seen)
	}
	count(s.Gone)
	if seen != ended || flows != ended {
		t.Errorf("%d connections ended, %d are counted, %d flows", ended, seen, flows)
	}
}

// shape returns a connection whose properties are derived from the number n.
func shape(id uint64, start int64, n byte) *verdict.Judged {
	kinds := []func(uint64, int64) *verdict.Judged{
		plain, mutual, oneWay, func(id uint64, start int64) *verdict.Judged { return everything() },
		func(id uint64, start int64) *verdict.Judged { return talk(id, start, verdict.Unknown, "", 9) },
		func(id uint64, start int64) *verdict.Judged { return talk(id, start, verdict.Encrypted, "ssh", 22) },
		func(id uint64, start int64) *verdict.Judged {
			return tlsTalk(id, start, verdict.Failed, verdict.AuthDeclined)
		},
		func(id uint64, start int64) *verdict.Judged {
			return tlsTalk(id, start, verdict.TLS, verdict.AuthUnknown)
		},
	}
	j := kinds[n&7](id, start)
	j.ID, j.Start = id, start
	if n&8 != 0 {
		j.PeerName, j.PeerNameBasis = fmt.Sprintf("peer-%d", n>>4), "sni"
	}
	if n&16 != 0 {
		j.Direction, j.PeerName, j.PeerNameBasis = verdict.DirectionIngress, "", ""
		j.Source.Addr = netip.AddrFrom4([4]byte{10, 1, 1, n})
	}
	if n&32 != 0 {
		j.Class = []string{"dns", "probe", "node", "workload"}[n>>6]
	}
	if n == 77 {
		j.Scope, j.Direction = verdict.ScopePod, verdict.DirectionInternal
	}
	return j
}

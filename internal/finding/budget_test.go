package finding_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// invented returns a plaintext request to a name that the client has invented.
func invented(id uint64, start int64) *verdict.Judged {
	j := plain(id, start)
	j.PeerName = fmt.Sprintf("x%d.bank.example", id)
	j.HTTP.Host = j.PeerName
	return j
}

// TestInventedNames: a client that sends 1,500 requests to invented names within 15 s opens 20 findings and
// one that counts the others, and as few postures at once. Every connection is counted.
func TestInventedNames(t *testing.T) {
	const names = 1500
	r := newRig(t, finding.Config{Tap: pod.UID, Identity: pod, Mesh: "istio", Heartbeat: 5 * time.Minute})
	r.e.Tick(noon)
	for n := range uint64(names) {
		r.e.Add(invented(n, noon+int64(n)*second/100))
	}

	actions, alerts, bytes := map[string]int{}, 0, 0
	for i, d := range r.docs {
		if d.text("event.dataset") == finding.DatasetFlow {
			continue
		}
		bytes += len(r.records[i].Value)
		actions[d.text("event.dataset")+" "+d.text("event.action")]++
		if d.text("event.kind") == "alert" {
			alerts++
		}
	}
	if alerts != 21 || actions["meshtls.finding open"] != 21 || actions["meshtls.posture new"] != 20 || len(actions) != 2 {
		t.Errorf("%d alerts, records %v", alerts, actions)
	}
	t.Logf("before the end of the window: %d alerts, %d bytes, records %v", alerts, bytes, actions)

	r.forget()
	r.e.Tick(noon + 10*minute)
	folded := r.of(finding.DatasetFinding)
	if len(folded) != 1 || folded[0].number("meshtls.finding.folded_edges") != 1024+1-20 || folded[0].number("meshtls.finding.count") != names-20 ||
		folded[0].text("event.kind") != "event" || folded[0].text("meshtls.edge.key") != "folded" {
		t.Errorf("findings at the end of the window: %v", folded)
	}
	connections := int64(0)
	for _, d := range r.of(finding.DatasetPosture) {
		connections += d.number("meshtls.edge.connections.plaintext")
	}
	if connections != names {
		t.Errorf("postures count %d connections, want %d", connections, names)
	}
	taps := r.of(finding.DatasetTap)
	if last := taps[len(taps)-1]; last.number("meshtls.tap.postures_deferred") != 1024+1-20 {
		t.Errorf("heartbeat %v", last)
	}
}

// TestFold: a folded finding gets a record of its own when a later connection breaks the rule and the budget
// allows it. The fold ends when no folded finding is left.
func TestFold(t *testing.T) {
	peer := func(n, id uint64, start int64) *verdict.Judged {
		j := plain(id, start)
		j.PeerName = fmt.Sprint("peer-", n)
		return j
	}
	good := func(n, id uint64, start int64) *verdict.Judged {
		j := mutual(id, start)
		j.Mesh, j.PeerName, j.Destination.Port, j.Destination.Addr = "", fmt.Sprint("peer-", n), 80, netip.MustParseAddr("10.3.3.3")
		return j
	}
	r := newRig(t, finding.Config{Announcements: 2})
	step := func(want ...string) {
		t.Helper()
		var got []string
		for _, d := range r.of(finding.DatasetFinding) {
			edge := d.text("meshtls.edge.to")
			if edge == "" {
				edge = fmt.Sprintf("%s edges %d", d.text("meshtls.edge.key"), d.number("meshtls.finding.folded_edges"))
			}
			got = append(got, fmt.Sprintf("%s %s %s x%d", d.text("event.kind"), d.text("event.action"), edge, d.number("meshtls.finding.count")))
		}
		equal(t, got, want)
		r.forget()
	}

	r.e.Tick(noon)
	for n := range uint64(5) {
		r.e.Add(peer(n, n, noon+second))
	}
	step("alert open peer-0 x1", "alert open peer-1 x1", "alert open folded edges 1 x1")
	r.e.Tick(noon + 10*minute)
	step("event ongoing folded edges 3 x3")

	r.e.Add(peer(3, 10, noon+11*minute))
	r.e.Add(peer(3, 11, noon+11*minute))
	r.e.Add(good(2, 12, noon+11*minute))
	r.e.Add(good(4, 13, noon+11*minute))
	step("alert open peer-3 x2")
	r.e.Tick(noon + 20*minute)
	step("event resolved folded edges 3 x3", "event ongoing peer-3 x3")

	// Muting the rule ends a fold. Afterwards the open findings are published again within the budget.
	for n := range uint64(3) {
		r.e.Add(peer(5+n, 20+n, noon+21*minute))
	}
	step("alert open peer-5 x1", "alert open peer-6 x1", "alert open folded edges 1 x1")
	r.e.Mute(mutes(r.t, "plaintext-edge"))
	step("event withdrawn peer-0 x1", "event withdrawn peer-1 x1", "event withdrawn peer-3 x3", "event withdrawn peer-5 x1", "event withdrawn peer-6 x1", "event withdrawn folded edges 1 x1")
	r.e.Tick(noon + 30*minute)
	r.e.Mute(nil)
	step("alert open peer-0 x1", "alert open peer-1 x1", "alert open folded edges 1 x3")
	r.e.Tick(noon + 40*minute)
	step("event ongoing folded edges 4 x6")
}

// TestFoldRetracted: a folded finding whose only connection turns out to be something else is retracted in the
// fold.
func TestFoldRetracted(t *testing.T) {
	r := newRig(t, finding.Config{Announcements: 1})
	r.e.Add(invented(1, noon))
	r.e.Add(living(invented(2, noon)))
	turned := invented(2, noon)
	turned.Verdict = verdict.Unknown
	r.e.Add(turned)
	equal(t, r.findings(), []string{"plaintext-edge open 21 x1", "plaintext-edge open 21 x1", "plaintext-edge resolved 0 x0"})
}

// TestForgedPlaintextHasHalf: plaintext to which the pod did not respond uses at most half of the budget.
func TestForgedPlaintextHasHalf(t *testing.T) {
	r := newRig(t, finding.Config{})
	forged := func(id uint64) *verdict.Judged {
		j := plain(id, noon)
		j.Direction, j.PeerName, j.PeerNameBasis, j.Destination.Bytes = verdict.DirectionIngress, "", "", 0
		j.Source.Addr = netip.AddrFrom4([4]byte{10, 9, byte(id >> 8), byte(id)})
		return j
	}
	for id := range uint64(100) {
		r.e.Add(forged(id))
	}
	r.forget()
	for id := range uint64(10) {
		r.e.Add(invented(1000+id, noon+second))
	}
	for _, d := range r.of(finding.DatasetFinding) {
		if !strings.HasSuffix(d.text("meshtls.edge.to"), "bank.example") || d.text("event.kind") != "alert" {
			t.Errorf("finding %s", d.text("message"))
		}
	}
	if n := len(r.of(finding.DatasetFinding)); n != 10 {
		t.Errorf("%d findings of 10 peers that speak plaintext after 100 forged ones", n)
	}
}

// TestFoldOfRaisedFindings: when a mesh is first seen, findings beyond the limit that become more severe are
// folded. The fold counts their connections and alerts once.
func TestFoldOfRaisedFindings(t *testing.T) {
	r := newRig(t, finding.Config{Announcements: 5, Window: time.Minute})
	at := noon
	for n := range uint64(15) {
		r.e.Add(living(invented(n, at)))
		if n%5 == 4 {
			at += minute
			r.e.Tick(at)
		}
	}
	r.forget()
	r.e.Add(mutual(100, at))
	var got []string
	for _, d := range r.of(finding.DatasetFinding) {
		got = append(got, fmt.Sprintf("%s %s %d x%d", d.text("event.kind"), d.text("event.action"), d.number("event.severity"), d.number("meshtls.finding.count")))
	}
	raised := "alert ongoing 73 x1"
	equal(t, got, []string{raised, raised, raised, raised, raised, "alert open 73 x1"})
	r.forget()
	r.e.Tick(at + minute)
	for _, d := range r.of(finding.DatasetFinding) {
		if d.text("meshtls.edge.key") == "folded" && (d.number("meshtls.finding.count") != 10 || d.number("meshtls.finding.folded_edges") != 10) {
			t.Errorf("fold %v", d)
		}
	}

	// Folded findings that had a record of their own before also have one when they end.
	r.forget()
	r.e.Expect(expects(t, "0.0.0.0/0=any"))
	if n := len(r.of(finding.DatasetFinding)); n != 15 {
		t.Errorf("%d findings withdrawn, want 15", n)
	}
}

// TestGroupAlertsAgain: a second edge of a group alerts if the first one has had no connection for a day,
// and only then.
func TestGroupAlertsAgain(t *testing.T) {
	for hours, want := range map[int64]string{1: "event", 23: "event", 25: "alert"} {
		r := newRig(t, finding.Config{Identity: pod})
		from := func(client byte, start int64) *verdict.Judged {
			j := plain(uint64(client), start)
			j.Direction, j.PeerName, j.PeerNameBasis = verdict.DirectionIngress, "", ""
			j.Source.Addr = netip.AddrFrom4([4]byte{10, 9, 9, client})
			return j
		}
		r.e.Add(from(1, noon))
		r.e.Add(from(2, noon+hours*60*minute))
		docs := r.of(finding.DatasetFinding)
		if last := docs[len(docs)-1]; last.text("event.action") != "open" || last.text("event.kind") != want || docs[0].text("meshtls.finding.group_id") != last.text("meshtls.finding.group_id") {
			t.Errorf("after %d hours: %s %s, want %s", hours, last.text("event.action"), last.text("event.kind"), want)
		}
	}
}

// TestNoAnnouncementLimit: without a limit each edge has its finding.
func TestNoAnnouncementLimit(t *testing.T) {
	r := newRig(t, finding.Config{Announcements: -1})
	for n := range uint64(100) {
		r.e.Add(invented(n, noon))
	}
	if f, p := len(r.of(finding.DatasetFinding)), len(r.of(finding.DatasetPosture)); f != 100 || p != 100 {
		t.Errorf("%d findings, %d postures", f, p)
	}
}

package finding_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// sessionHash returns a hash of a number, in the form of a session hash.
func sessionHash(id uint64) string {
	sum := sha256.Sum256(fmt.Append(nil, id))
	return hex.EncodeToString(sum[:16])
}

// quietDay runs an engine through 24 hours of packet time and returns the bytes of its records by dataset.
// The pod starts in the middle of a window and has 50 edges with mutual TLS and the aggregate edges of the
// pod, DNS and probes. Each has a connection every minute.
func quietDay(t *testing.T, cfg finding.Config) (bytes, records map[string]int) {
	t.Helper()
	bytes, records = map[string]int{}, map[string]int{}
	cfg.Tap, cfg.Identity, cfg.Mesh, cfg.Findings, cfg.Posture, cfg.Heartbeat = pod.UID, pod, "istio", true, true, 5*time.Minute
	cfg.Coverage, cfg.Reuse = covered(1000, 0), true
	cfg.Emit = func(r finding.Record) {
		bytes[r.Dataset] += len(r.Value) + 1
		records[r.Dataset]++
		if cfg.Interval == time.Hour {
			check(t, r)
		}
	}
	e := finding.New(cfg)
	start := noon + 4*minute + 14*second
	e.Started(start, finding.SelfTest{Interfaces: []string{"eth0", "lo"}})
	id := uint64(0)
	for at := start; at < start+24*60*minute; at += minute {
		e.Tick(at)
		for edge := range 53 {
			id++
			j := mutual(id, at)
			j.PeerName = fmt.Sprintf("service-%d.shop.svc.cluster.local", edge)
			j.TLS.SessionHash = sessionHash(id)
			switch edge {
			case 50:
				j.Class = "dns"
			case 51:
				j.Class = "probe"
			case 52:
				j.Scope, j.Direction = "pod", "internal"
			}
			e.Add(j)
		}
	}
	e.Flush(start + 24*60*minute)
	e.Stopped(start+24*60*minute, "SIGTERM")
	return bytes, records
}

// quietDayBefore is the number of bytes of this day when every edge had a posture each ten minutes (commit bd7d6b07).
const quietDayBefore = 13904629 + 340905

// TestQuietDay: on a quiet day with 50 edges, posture when it changes and a snapshot each hour take at most a quarter
// of the bytes that a posture each ten minutes took.
func TestQuietDay(t *testing.T) {
	for _, c := range []struct {
		name     string
		interval time.Duration
		most     int // in percent of quietDayBefore
	}{
		{"each ten minutes", 10 * time.Minute, 130}, // more than before by the sample of session hashes, rules_blind and the names of TLS parameters
		{"each hour", time.Hour, 25},
	} {
		bytes, records := quietDay(t, finding.Config{Interval: c.interval, Delay: 3 * time.Minute})
		all := 0
		for _, n := range bytes {
			all += n
		}
		t.Logf("%s: %d bytes, %.1f %% of %d; bytes %v, records %v", c.name, all, 100*float64(all)/quietDayBefore, quietDayBefore, bytes, records)
		if all > quietDayBefore/100*c.most {
			t.Errorf("%s: %d bytes, more than %d %% of %d", c.name, all, c.most, quietDayBefore)
		}
		if records[finding.DatasetFinding] > 0 {
			t.Errorf("%s: %d findings", c.name, records[finding.DatasetFinding])
		}
	}
}

package sink

import (
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// testDown starts two sinks while there is no broker. The queue of one has room for all records
// until the broker starts. The queue of the other is too small.
func testDown(t *testing.T, b *broker) {
	noLeak(t)
	roomy, tight := b.topics(t, "roomy"), b.topics(t, "tight")
	tight.QueueRecords = 400
	b.Kill()
	start := time.Now()
	k, small := newKafka(t, roomy), newKafka(t, tight)
	for n := range 2000 {
		k.Put(sample(datasets[n%4], n))
	}
	eventually.True(t, "no broker", func() bool { return small.Status().Retries > 1 }, small.Status)
	put := map[string]uint64{buffer.Flow: 1000, buffer.Posture: 200, buffer.Finding: 150, buffer.Tap: 50}
	for _, dataset := range []string{buffer.Flow, buffer.Tap, buffer.Posture, buffer.Finding} {
		for n := range int(put[dataset]) {
			small.Put(sample(dataset, n))
		}
	}
	s := small.Status()
	if s.Queued > 400 || s.Dropped[buffer.Finding]+s.Dropped[buffer.Tap] != 0 || s.Dropped[buffer.Flow] < 900 || !strings.Contains(s.Reason, "connection refused") {
		t.Errorf("without a broker: %+v", s)
	}
	if s := k.Status(); s.OK || s.Queued != 2000 {
		t.Errorf("without a broker: %+v", s)
	}
	eventually.True(t, "five attempts", func() bool { return k.Status().Retries >= 5 }, k.Status) // this takes about six seconds
	b.Start()
	t.Logf("no broker for %v", time.Since(start).Round(time.Second))
	if s := flush(t, k); sum(s.Dropped) != 0 {
		t.Errorf("%+v", s)
	}
	ids, duplicates := distinct(b.readAll(roomy))
	t.Logf("with room: put 2000, arrived %d, duplicates %d", len(ids), duplicates)
	if len(ids) != 2000 || duplicates != 0 {
		t.Errorf("%d of 2000 arrived, %d duplicates", len(ids), duplicates)
	}
	s = flush(t, small)
	arrived := map[string]uint64{}
	for _, r := range b.readAll(tight) {
		dataset, _, _ := strings.Cut(r.ID(), "-")
		arrived[dataset]++
	}
	t.Logf("without: put %v, arrived %v, dropped %v", put, arrived, s.Dropped)
	for dataset, n := range put {
		if arrived[dataset]+s.Dropped[dataset] != n {
			t.Errorf("%s: put %d, arrived %d, dropped %d", dataset, n, arrived[dataset], s.Dropped[dataset])
		}
	}
}

// testSpool runs a sink with a spool twice. The first run ends while there is no broker. The second run delivers the records that are
// left.
func testSpool(t *testing.T, b *broker) {
	noLeak(t)
	cfg := b.topics(t, "spool")
	cfg.Spool = &buffer.SpoolConfig{Dir: t.TempDir()}
	k := newKafka(t, cfg)
	put := func(from, to int) {
		for n := from; n < to; n++ {
			k.Put(sample(datasets[n%4], n))
		}
	}
	put(0, 500)
	eventually.True(t, "delivered", func() bool { return sum(k.Status().Delivered) == 500 }, k.Status, b.Log)
	b.Kill()
	put(500, 1000)
	eventually.True(t, "down", func() bool { return k.Status().Down }, k.Status)
	put(1000, 1500)
	// The spool must have the records before Close, which waits for a slow disk only for a limited time.
	eventually.True(t, "1000 records on disk", func() bool { return k.buffer.Unspooled() == 0 && k.Status().Spooled == 1000 }, k.Status)
	left, err := closeIn(t, 0, k) // without a broker, every deadline passes
	s := k.Status()
	if left != 0 || err != nil || s.Spooled != 1000 {
		t.Errorf("left %d, %v: %+v", left, err, s)
	}
	k = newKafka(t, cfg)
	put(1500, 2000)
	eventually.True(t, "recovered", func() bool { s := k.Status(); return s.Recovered == 1000 && s.Spooled == 1500 }, k.Status)
	b.Start()
	eventually.True(t, "delivered", func() bool { return k.Status().Queued == 0 }, k.Status, b.Log)
	s = flush(t, k)
	ids, duplicates := distinct(b.readAll(cfg))
	t.Logf("put 2000, arrived %d, duplicates %d", len(ids), duplicates)
	if len(ids) != 2000 || sum(s.Dropped) != 0 {
		t.Errorf("arrived %d: %+v", len(ids), s)
	}
}

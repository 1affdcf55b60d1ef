package buffer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// letters are abbreviations of datasets in the tables below.
var letters = map[rune]string{'t': Tap, 'a': Finding, 'p': Posture, 'f': Flow, 'e': Evidence, '?': "meshtls.other"}

func put(q *queue, letter rune, id string) bool {
	return accepts(q, Message{Dataset: letters[letter], ID: id, Value: []byte("{}")})
}

func accepts(q *queue, m Message) bool {
	_, _, ok := q.put(m)
	return ok
}

func ids(items []Item) string {
	var out []string
	for _, it := range items {
		out = append(out, it.ID)
	}
	return strings.Join(out, " ")
}

func TestQueuePriorities(t *testing.T) {
	for _, c := range []struct {
		name, puts string // one letter for each record, in order
		kept       string // letter and number of each record that is kept
		refused    int
		dropped    map[string]uint64
	}{
		{"room", "tapf", "t0 a1 p2 f3", 0, nil},
		{"flows are evicted first, the oldest", "fpftfa", "p1 t3 f4 a5", 0, map[string]uint64{Flow: 2}},
		{"posture is evicted next", "papap" + "a", "a1 a3 p4 a5", 0, map[string]uint64{Posture: 2}},
		{"posture is evicted for posture", "ppppp", "p1 p2 p3 p4", 0, map[string]uint64{Posture: 1}},
		{"a flow does not fit", "pppp" + "f", "p0 p1 p2 p3", 1, map[string]uint64{Flow: 1}},
		{"alerts and tap state are kept", "aatt" + "atpf", "a0 a1 t2 t3", 4, map[string]uint64{Finding: 1, Tap: 1, Posture: 1, Flow: 1}},
		{"evidence is evicted first", "fepa" + "fa", "p2 a3 f4 a5", 0, map[string]uint64{Evidence: 1, Flow: 1}},
		{"evidence is evicted for evidence", "eeeee", "e1 e2 e3 e4", 0, map[string]uint64{Evidence: 1}},
		{"evidence displaces nothing else", "ffpa" + "e", "f0 f1 p2 a3", 1, map[string]uint64{Evidence: 1}},
		{"unknown dataset", "a?", "a0", 1, map[string]uint64{"meshtls.other": 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newQueue(4, 0)
			refused := 0
			for i, l := range c.puts {
				if !put(q, l, fmt.Sprintf("%c%d", l, i)) {
					refused++
				}
			}
			if refused != c.refused {
				t.Errorf("refused %d, want %d", refused, c.refused)
			}
			if got := ids(q.take(All, 10, 1<<20)); got != c.kept {
				t.Errorf("kept %q, want %q", got, c.kept)
			}
			if got := q.dropped; !maps.Equal(got, c.dropped) {
				t.Errorf("dropped %v, want %v", got, c.dropped)
			}
		})
	}
}

func TestQueueBytes(t *testing.T) {
	big := func(dataset string, n int) Message { return Message{Dataset: dataset, Value: make([]byte, n-overhead)} }
	q := newQueue(100, 1000)
	for range 3 {
		accepts(q, big(Flow, 300))
	}
	if accepts(q, big(Finding, 1001)) {
		t.Error("accepted a record larger than the queue")
	}
	if accepts(q, big(Evidence, 1001)) || q.reasons[DropTooLarge] != 2 {
		t.Errorf("evidence larger than the queue: %v", q.reasons)
	}
	if !accepts(q, big(Posture, 650)) {
		t.Error("two flows should have been evicted for one large posture record")
	}
	if n, bytes := q.len(); n != 2 || bytes != 950 {
		t.Errorf("%d records, %d bytes; want 2, 950", n, bytes)
	}
	if accepts(q, big(Flow, 900)) {
		t.Error("a flow evicted posture")
	}
	if n, _ := q.len(); n != 2 {
		t.Error("a record that did not fit evicted others")
	}
	want := map[string]uint64{Flow: 3, Finding: 1, Evidence: 1}
	if got := q.dropped; !maps.Equal(got, want) {
		t.Errorf("dropped %v, want %v", got, want)
	}
}

func TestQueueGiveBack(t *testing.T) {
	q := newQueue(4, 0)
	for i, l := range "fpaf" {
		put(q, l, fmt.Sprintf("%c%d", l, i))
	}
	taken := q.take(All, 3, 1<<20)
	if !put(q, 'a', "a4") {
		t.Error("the flow that waits should have been evicted for an alert")
	}
	if put(q, 'a', "a5") {
		t.Error("a record that is being sent was evicted for an alert, or the bound was exceeded")
	}
	q.requeue(taken)
	if !put(q, 'a', "a6") {
		t.Error("the requeued flow should have been evicted for an alert")
	}
	if got, want := ids(q.take(All, 10, 1<<20)), "p1 a2 a4 a6"; got != want {
		t.Errorf("order %q, want %q", got, want)
	}
}

// TestQueueConcurrent: under concurrent use every record is accounted for and the bounds hold.
func TestQueueConcurrent(t *testing.T) {
	const producers, each, records, bytes = 4, 5000, 50, 20_000
	q := newQueue(records, bytes)
	var producing, consuming sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		consuming.Go(func() {
			for {
				items := q.take(Set(1+rand.N(int(All))), 1+rand.N(20), 5000)
				switch cut := rand.N(len(items) + 1); rand.N(3) {
				case 0:
					q.ack(items)
				case 1:
					q.drop(items[:cut], DropTooLarge)
					q.requeue(items[cut:])
				default:
					q.requeue(items)
				}
				if n, b := q.len(); n > records || b > bytes {
					t.Errorf("%d records, %d bytes", n, b)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}

	for range producers {
		producing.Go(func() {
			for range each {
				accepts(q, Message{Dataset: letters[[]rune("tapf")[rand.N(4)]], Value: make([]byte, rand.N(800))})
			}
		})
	}

	producing.Wait()
	close(stop)
	consuming.Wait()
	var s Stats
	q.fill(&s)
	if got := sum(s.Delivered) + sum(s.Dropped) + uint64(s.Queued); got != producers*each {
		t.Errorf("delivered %v + dropped %v + queued %d = %d, want %d", s.Delivered, s.Dropped, s.Queued, got, producers*each)
	}
	if sum(s.Dropped) != sum(s.Reasons) {
		t.Errorf("dropped %v, reasons %v", s.Dropped, s.Reasons)
	}
	left := q.take(All, 1000, 1<<20)
	q.ack(left)
	if n, b := q.len(); n != 0 || b != 0 {
		t.Errorf("empty queue holds %d records, %d bytes", n, b)
	}
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

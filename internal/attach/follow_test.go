package attach

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// logLine returns line n of a log as the kubelet sends it: a record, or another text.
func logLine(at time.Time, text string) string {
	return at.UTC().Format(time.RFC3339Nano) + " " + text + "\n"
}

func recordText(sequence int) string {
	return fmt.Sprintf(`{"@timestamp":"2026-11-30T12:00:00Z","event":{"id":"%032d","dataset":"meshtls.flow","sequence":%d},"meshtls":{"schema":1,"run":"r"}}`, sequence, sequence)
}

// TestFollowBroken: a log stream that breaks within a line, and then within a second of which several lines have the same time, is read
// to its end. No line is lost, and none comes twice.
func TestFollowBroken(t *testing.T) {
	second := noon.Add(500 * time.Millisecond)
	lines := []string{
		logLine(noon, recordText(1)),
		logLine(noon.Add(time.Millisecond), `level=WARN msg="a warning"`),
		logLine(second, recordText(2)),
		logLine(second, recordText(3)),
		logLine(second, recordText(4)),
		logLine(second.Add(time.Second), recordText(5)),
	}
	all := strings.Join(lines, "")
	upTo := func(n int) int { return len(strings.Join(lines[:n], "")) }
	// Where the streams break: within line 3; after line 4, of which two more have the same time; after it again, before it is reached; never.
	breaks := []int{upTo(2) + 40, upTo(4), upTo(3), len(all)}
	pod := newPod("web", attached("meshtls-tap-1", running()))
	s := &server{}
	s.log = func(w http.ResponseWriter, r *http.Request) {
		n := s.count("GET "+r.URL.Path) - 1
		if since := r.URL.Query().Get("sinceTime"); n > 0 && since != "2026-11-30T12:00:00Z" {
			t.Errorf("stream %d begins at %q", n, since)
		}
		w.Write([]byte(all[:breaks[n]]))
		w.(http.Flusher).Flush()
		if n < len(breaks)-1 {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		pod.Status.EphemeralContainerStatuses[0].State = ended
	}
	c := newServer(t, s, pod)
	var got []string
	c.Follow(t.Context(), Taps(pod)[0], func(e Event) {
		switch {
		case e.Record != nil:
			got = append(got, fmt.Sprint(e.Record.Event.Sequence))
		case e.Lost > 0:
			got = append(got, "lost")
		case e.Ended != nil:
			got = append(got, e.Ended.Reason)
		case e.Notice != "":
			got = append(got, e.Notice)
		case e.Stream.Err != nil:
			got = append(got, "broken")
		default:
			got = append(got, "back")
		}
	})
	want := []string{"1", `level=WARN msg="a warning"`, "broken", "2", "3", "4", "5", "it ended"}
	if got = slices.DeleteFunc(got, func(x string) bool { return x == "back" }); !slices.Equal(slices.Compact(remove(got, "broken")), remove(want, "broken")) || !slices.Contains(got, "broken") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func remove(list []string, x string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(y string) bool { return x == y })
}

// TestFollowLost: records that are missing in the log are reported.
func TestFollowLost(t *testing.T) {
	pod := newPod("web", attached("meshtls-tap-1", ended))
	s := &server{log: func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, logLine(noon, recordText(7)), logLine(noon.Add(1), recordText(8)), logLine(noon.Add(2), recordText(11)))
	}}
	c := newServer(t, s, pod)
	var lost []uint64
	records := 0
	c.Follow(t.Context(), Taps(pod)[0], func(e Event) {
		if e.Record != nil {
			records++
		}
		if e.Lost > 0 {
			lost = append(lost, e.Lost)
		}
	})
	if records != 3 || !slices.Equal(lost, []uint64{2}) {
		t.Errorf("%d records, lost %d", records, lost)
	}
}

// TestFollowEnds: a tap that cannot be followed any more has a last event, which gives the reason.
func TestFollowEnds(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(s *server)
		want    Ended
	}{
		"the pod was deleted": {func(s *server) { delete(s.pods, "shop/web") }, Ended{Reason: "its pod was deleted", Known: true}},
		"another pod of the name": {func(s *server) { s.pods["shop/web"] = newPod("web"); s.pods["shop/web"].UID = "another" },
			Ended{Reason: "its pod was deleted", Known: true}},
		"no right to logs": {func(s *server) {
			s.log = func(w http.ResponseWriter, _ *http.Request) { reply(w, forbidden("cannot get pods/log")) }
		}, Ended{Reason: "its log cannot be read: ", Failed: true}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod("web", attached("meshtls-tap-1", running()))
			tap := Taps(pod)[0]
			s := &server{log: func(w http.ResponseWriter, _ *http.Request) { reply(w, refusal404()) }}
			c := newServer(t, s, pod)
			test.prepare(s)
			var last Event
			var broken error
			c.Follow(t.Context(), tap, func(e Event) {
				last = e
				if e.Stream != nil {
					broken = e.Stream.Err
				}
			})
			if last.Ended == nil {
				t.Fatalf("%+v", last)
			}
			if reason, found := strings.CutPrefix(last.Ended.Reason, "its log cannot be read: "); found { // why follows, see below
				last.Ended.Reason = strings.TrimSuffix(last.Ended.Reason, reason)
			}
			if *last.Ended != test.want {
				t.Fatalf("%+v", last.Ended)
			}
			if test.want.Failed && (broken == nil || !strings.Contains(broken.Error(), `verb "get" on "pods/log" in namespace "shop"`)) {
				t.Errorf("the missing right is not named: %v", broken)
			}
		})
	}
}

// TestParseLine: what is not a record is not taken for one.
func TestParseLine(t *testing.T) {
	for line, want := range map[string]bool{
		recordText(1):                    true,
		`{"level":"INFO","msg":"hello"}`: false,
		`time=2026 level=INFO msg={}`:    false,
		`{"event":{"dataset":"x"`:        false,
		``:                               false,
	} {
		if got := parseLine([]byte(line)); (got != nil) != want || got != nil && string(got.Line) != line {
			t.Errorf("%q: %v", line, got)
		}
	}
}

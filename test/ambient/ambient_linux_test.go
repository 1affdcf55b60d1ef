package ambient_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/ambient/standin"
)

// TestAmbient runs a mesh of stand-ins for ztunnel, with taps in all pods. It compares the records of the taps, and
// those of tap read for captures, with the logs of the proxies and applications.
func TestAmbient(t *testing.T) {
	const attempts = 3 // a ring may drop packets on a busy machine, and such an attempt proves nothing
	for n := range attempts {
		dropped := false
		t.Run(fmt.Sprint("attempt ", n+1), func(t *testing.T) { dropped = ambient(t) })
		if !dropped {
			return
		}
	}
	t.Errorf("packets were dropped in each of %d attempts", attempts)
}

var droppedPackets = regexp.MustCompile(`"dropped":[1-9]`)

func ambient(t *testing.T) (dropped bool) {
	tap := buildTap(t)
	w := newWorld(t, cmp.Or(os.Getenv("AMBIENT_OUT"), t.TempDir())) // with AMBIENT_OUT the captures are kept
	w.start(t, tap)
	var list []connection
	for i := range scenarios {
		list = append(list, w.play(t, &scenarios[i])...)
		if t.Failed() {
			return false
		}
	}
	for _, p := range w.pods {
		lines, dropped := p.stop(t)
		if dropped || slices.ContainsFunc(lines, droppedPackets.MatchString) {
			t.Logf("packets of %s were dropped: trying again", p.name)
			return true
		}
		compareTruth(t, list, p.name, resultsOf(t, p.name, lines), p.declared(), func(c *connection, s tapResult) { c.live = s })
		compareTruth(t, list, p.name, readCaptures(t, tap, p.name, p.files()...), false, func(c *connection, s tapResult) { c.read = s })
	}
	checkTable(t, "standin", w.lab, list)
	return false
}

// play runs a scenario and returns the connections that the logs have for it.
func (w *world) play(t *testing.T, s *scenario) (list []connection) {
	t.Helper()
	before := map[string]int{}
	for _, p := range w.pods {
		before[p.name] = len(p.log.Events())
	}
	s.run(t, w)
	for _, p := range w.pods {
		var events []standin.Event
		eventually.True(t, s.name+": the log of "+p.name, func() bool {
			events = p.log.Events()[before[p.name]:]
			return len(events) >= s.events[p.name]
		}, func() string { return fmt.Sprintf("%+v", events) })
		slices.SortStableFunc(events, func(a, b standin.Event) int { return cmp.Compare(a.Kind, b.Kind) })
		for i := range events {
			if e := &events[i]; !e.Inner {
				list = append(list, connection{scenario: s.name, pod: p.name, kind: e.Kind, truth: s.truth(e), client: e.Client, server: e.Server})
			}
		}
	}
	return list
}

// truth returns the truth about a connection. e is the event in the log of the process that owned its socket.
func (s *scenario) truth(e *standin.Event) string {
	switch e.Kind {
	case standin.HBONEOut, standin.HBONEIn:
		truth := truthMutual
		if e.Resumed {
			truth += ", resumed"
		}
		return truth + " with " + strings.TrimPrefix(e.Peer, "spiffe://cluster.local/ns/lab/sa/")
	case standin.Relayed:
		return truthMutual + " of others"
	case standin.Redirected, standin.Delivered, within:
		if s.oneWay {
			return truthOwnTLS
		}
		return truthPod
	case standin.Refused:
		return truthRefused
	case probeIn:
		return truthProbe
	}
	if s.oneWay {
		return truthOneWay
	}
	return truthWire
}

// checkTable compares the table of a run with the golden table. With -update it rewrites the golden table instead,
// and stores the captures and their truth in a folder of testdata, for TestCaptures.
func checkTable(t *testing.T, folder string, l *lab, list []connection) {
	t.Helper()
	got := table(list)
	if *update && t.Failed() {
		t.Fatalf("the test failed, so nothing is written. The table:\n%s", got)
	}
	golden(t, filepath.Join(folder, "table.txt"), got, *update)
	t.Logf("\n%s", got)
	if !*update {
		return
	}
	for _, p := range l.pods {
		for _, file := range p.files() {
			b, err := os.ReadFile(file)
			must(t, err)
			var packed bytes.Buffer
			z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
			must(t, err)
			_, err = z.Write(b)
			must(t, err)
			must(t, z.Close())
			must(t, os.WriteFile(filepath.Join("testdata", folder, filepath.Base(file)+".gz"), packed.Bytes(), 0o644)) //nolint:gosec // testdata is for everybody
		}
	}
	must(t, os.WriteFile(filepath.Join("testdata", folder, truthFile), appendTruth(nil, list), 0o644)) //nolint:gosec // testdata is for everybody
}

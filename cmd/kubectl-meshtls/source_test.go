package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// TestLogs: the logs of taps are read to their ends, or the status is that of an input that was read in part. A log speaks only about its own pod.
func TestLogs(t *testing.T) {
	own := recordsOf(t, capture(t, talk{client: "10.0.0.1", server: "10.0.0.2", port: 8080, auth: capturetest.Presented, n: 1}), record.DatasetFlow)
	other := strings.ReplaceAll(own, `"meshtls":{`, `"kubernetes":{"namespace":"shop","pod":{"name":"cart-1","uid":"uid-cart"}},"meshtls":{`)
	for name, test := range map[string]struct {
		log       string
		status    int // of the answer for the log
		state     attach.State
		namespace string
		partial   bool
		edges     int
		want      string // in what is not known
	}{
		"whole":                     {own, 200, attach.Running, "", false, 1, ""},
		"and the tap's own words":   {"time=x level=INFO msg=x\n" + own, 200, attach.Running, "", false, 1, ""},
		"damaged":                   {own + own[:50] + "\n" + own, 200, attach.Running, "", true, 1, "Not all of the log of the tap in evil/x-1 could be read: damaged records: 1."},
		"a line that is written":    {own + own[:50], 200, attach.Running, "", false, 1, ""},
		"a line that was written":   {own + own[:50], 200, attach.Terminated, "", true, 1, "damaged records: 1"},
		"refused":                   {"", 403, attach.Running, "evil", true, 0, "Not all of the log of the tap in evil/x-1 could be read"},
		"refused elsewhere":         {"", 403, attach.Running, "shop", false, 0, "Not all of the log of the tap in evil/x-1 could be read"},
		"another schema":            {own + strings.ReplaceAll(own, `"schema":1`, `"schema":2`), 200, attach.Running, "", true, 1, "because of another schema version"},
		"records of another pod":    {other, 200, attach.Running, "", false, 0, "claim to be about another pod: evil/x-1"},
		"its own and another pod's": {other + own, 200, attach.Running, "", false, 1, "1 record was not used"},
	} {
		t.Run(name, func(t *testing.T) {
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/api/v1/namespaces/evil/pods/x-1/log" {
					t.Error(r.URL)
				}
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.log)
			}))
			defer api.Close()
			kube, err := kubernetes.NewForConfig(&rest.Config{Host: api.URL})
			if err != nil {
				t.Fatal(err)
			}
			g := topology.New(topology.Inventory{Namespace: test.namespace})
			taps := []attach.Tap{{Namespace: "evil", Pod: "x-1", UID: "uid-x", Container: "meshtls-tap", HasLog: true, State: test.state}}
			err = inPart(g, readLogs(context.Background(), &attach.Client{Kube: kube}, g, taps, 0, test.namespace))
			if test.namespace == "shop" && strings.Contains(g.Answer(), "not all of the input") {
				t.Error(g.Answer())
			}
			text := fmt.Sprint(g.Unknown())
			if (err != nil) != test.partial || strings.Contains(g.Answer(), "not all of the input could be read") != test.partial || len(g.Edges()) != test.edges || !strings.Contains(text, test.want) {
				t.Errorf("%v; %d edges; %s %s", err, len(g.Edges()), g.Answer(), text)
			}
			if exitStatus(withPart(err, nil)) != map[bool]int{true: exitError, false: exitFine}[test.partial] {
				t.Errorf("status: %v", err)
			}
		})
	}
}

// TestBasis: an edge of which only postures were read has no basis, and the table says so.
func TestBasis(t *testing.T) {
	file := capture(t, talk{client: "10.0.0.1", server: "10.0.0.3", port: 8443, auth: capturetest.Presented, n: 1})
	const sentence = "- The basis is not known"
	for _, test := range []struct {
		datasets []string
		missing  bool
	}{{[]string{record.DatasetPosture}, true}, {[]string{record.DatasetPosture, record.DatasetFlow}, false}} {
		path := filepath.Join(t.TempDir(), "records.jsonl")
		if err := os.WriteFile(path, []byte(recordsOf(t, file, test.datasets...)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, status := command(t, "edges", "--from", path)
		fields := strings.Fields(strings.SplitN(out, "\n", 3)[1])
		if status != exitFine || strings.Contains(out, sentence) != test.missing || strings.Contains(strings.Join(fields, " "), " - ") != test.missing {
			t.Errorf("%v: status %d: %s %s", test.datasets, status, out, errs)
		}
	}
}

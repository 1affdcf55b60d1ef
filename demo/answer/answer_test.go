package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	rec "github.com/meshtls-tap/meshtls-tap/internal/record"
)

const asked = 1_800_000_000_000_000 // when curl began, µs since the epoch

func at(us int64) rec.Time { return rec.Time(us * 1000) }

// good returns the records that taps write in a demo without errors. They are decoded from JSON, as real records are.
func good(t *testing.T, broker bool) (published []*record) {
	t.Helper()
	add := func(pod, iface, body string) {
		namespace, name, _ := strings.Cut(pod, "-")
		text := fmt.Sprintf(`{"kubernetes": {"namespace": %q, "pod": {"name": %q}}, "observer": {"ingress": {"interface": {"name": %q}}}, %s}`, namespace, name, iface, body)
		records, err := decode(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		published = append(published, records...)
	}
	const (
		plain = `"source": {"ip": "10.77.1.2", "port": 4}, "destination": {"ip": "10.77.1.3", "port": 14001}, "network": {"protocol": "http"},
			"meshtls": {"verdict": "plaintext", "scope": "wire", "expectation": "undeclared", "finding": {"state": "open"}}`
		mutual = `"event": {"dataset": "meshtls.flow"}, "source": {"ip": "10.77.2.2", "port": 5}, "destination": {"ip": "10.77.2.3", "port": 14001},
			"network": {"protocol": "tls"}, "tls": {"version": "1.3", "cipher": "TLS_AES_128_GCM_SHA256"}, "meshtls": {"verdict": "mtls", "scope": "wire", "mesh": "osm",
			"tls": {"client_auth": "presented", "client_auth_basis": "inferred", "outcome": "established"}}`
		hop = `"event": {"dataset": "meshtls.flow"}, "network": {"protocol": "http"}, "meshtls": {"verdict": "plaintext", "scope": "pod"},
			"source": {"ip": "10.77.2.2", "port": 6}, "destination": {"ip": "10.77.2.3", "port": 14001, "nat": {"ip": "127.0.0.1", "port": 15001}}`
		toBroker = `"source": {"ip": "10.77.1.2", "port": 7}, "destination": {"ip": "10.77.9.9", "port": 9092}, "network": {"protocol": "kafka"},
			"meshtls": {"verdict": "plaintext", "scope": "wire", "finding": {"state": "open"}}`
		event   = `"event": {"dataset": "meshtls.flow"}, `
		finding = `"event": {"dataset": "meshtls.finding", "created": "2027-01-15T08:00:00.2Z"}, "rule": {"id": "plaintext-edge"}, `
	)
	for _, pod := range []string{"unencrypted-curl", "unencrypted-httpbin"} {
		add(pod, "eth0", event+plain)
		add(pod, "eth0", finding+plain)
	}
	for _, pod := range []string{"encrypted-curl", "encrypted-httpbin"} {
		add(pod, "eth0", mutual)
		add(pod, "lo", hop)
	}
	if broker {
		add("unencrypted-curl", "eth0", event+toBroker)
		add("unencrypted-curl", "eth0", finding+toBroker)
	}
	return published
}

// judge returns the differences that the demo reports for the records of the taps (published) and of tap read (read).
func judge(t *testing.T, published, read []*record, envoy string, broker bool) []string {
	t.Helper()
	out := t.TempDir()
	save := func(name string, records []*record) {
		var text []byte
		for _, r := range records {
			line, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			text = append(append(text, line...), '\n')
		}
		if err := os.WriteFile(filepath.Join(out, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	address := ""
	if broker {
		address = "10.77.9.9:9092"
		save("topic-all.jsonl", published)
	} else {
		save("tap-all.jsonl", published)
	}
	for _, pod := range pods {
		for _, iface := range []string{"eth0", "lo"} {
			var of []*record
			for _, r := range read {
				if r.pod() == pod && r.Observer.Ingress.Interface.Name == iface {
					of = append(of, r)
				}
			}
			save("read-"+pod+"."+iface+".jsonl", of)
		}
	}
	if err := os.WriteFile(filepath.Join(out, "envoy-access.log"), []byte(envoy), 0o644); err != nil {
		t.Fatal(err)
	}
	w, err := newWalk(out, fmt.Sprintf("unencrypted=%d,encrypted=%d", asked, asked), address)
	if err != nil {
		t.Fatal(err)
	}
	w.check()
	return w.wrong
}

const envoyLog = "TLSv1.3 TLS_AES_128_GCM_SHA256 spiffe://cluster.local/ns/encrypted/sa/curl\n"

func TestAllIsWell(t *testing.T) {
	for _, broker := range []bool{false, true} {
		if wrong := judge(t, good(t, broker), good(t, broker), envoyLog, broker); len(wrong) > 0 {
			t.Errorf("broker %v: %s", broker, strings.Join(wrong, "\n"))
		}
	}
}

// The test breaks each claim of the demo once. The demo must report each.
func TestEachClaimCanFail(t *testing.T) {
	edit := func(pod, iface, dataset string, change func(*record)) func([]*record) []*record {
		return func(records []*record) []*record {
			for _, r := range records {
				if r.pod() == pod && r.Observer.Ingress.Interface.Name == iface && r.Event.Dataset == dataset {
					change(r)
				}
			}
			return records
		}
	}
	drop := func(r *record) { r.Event.Dataset = "dropped" }
	for _, test := range []struct {
		name   string
		broker bool
		change func([]*record) []*record
		want   string
	}{
		{"no flow", false, edit("unencrypted-curl", "eth0", flows, drop), "unencrypted-curl, eth0, connections to httpbin: expected one"},
		{"verdict", false, edit("unencrypted-curl", "eth0", flows, func(r *record) { r.Meshtls.Verdict = "unknown" }), "unencrypted-curl, verdict: expected plaintext, got unknown"},
		{"protocol", false, edit("unencrypted-httpbin", "eth0", flows, func(r *record) { r.Network.Protocol = "" }), "unencrypted-httpbin, protocol"},
		{"expectation", false, edit("unencrypted-curl", "eth0", flows, func(r *record) { r.Meshtls.Expectation = "mtls" }), "without a mesh: expected undeclared, got mtls"},
		{"no finding", false, edit("unencrypted-httpbin", "eth0", findings, drop), "unencrypted-httpbin, findings: expected one plaintext-edge"},
		{"late finding", false, edit("unencrypted-curl", "eth0", findings, func(r *record) { r.Event.Created = at(asked + 1_100_000) }), "within 1s of the request, got 1.1s"},
		{"early finding", false, edit("unencrypted-curl", "eth0", findings, func(r *record) { r.Event.Created = at(asked - 5000) }), "got -5ms"},
		{"not mutual", false, edit("encrypted-httpbin", "eth0", flows, func(r *record) { r.Meshtls.Verdict = "tls" }), "encrypted-httpbin, verdict: expected mtls, got tls"},
		{"version", false, edit("encrypted-curl", "eth0", flows, func(r *record) { r.TLS.Version = "1.2" }), "expected 1.3, got 1.2"},
		{"cipher", false, edit("encrypted-curl", "eth0", flows, func(r *record) { r.TLS.Cipher = "TLS_AES_256_GCM_SHA384" }), "encrypted-curl, cipher"},
		{"basis", false, edit("encrypted-curl", "eth0", flows, func(r *record) { r.Meshtls.TLS.ClientAuthBasis = "observed" }), "expected inferred, got observed"},
		{"loopback on the wire", false, edit("encrypted-curl", "lo", flows, func(r *record) { r.Meshtls.Scope = "wire" }), "loopback, scope: expected pod, got wire"},
		{"no redirect", false, edit("encrypted-curl", "lo", flows, func(r *record) { r.Destination.NAT = rec.NAT{} }), "destination.nat: expected 127.0.0.1:15001"},
		{"a finding more", false, edit("encrypted-httpbin", "lo", flows, func(r *record) { r.Event.Dataset, r.Meshtls.Finding.State = findings, "open" }), "findings of all taps: expected 2, got 3"},
		{"the taps' own records", true, edit("unencrypted-curl", "eth0", flows, func(r *record) {
			if r.Destination.Port == 9092 {
				r.Kubernetes.Namespace = "encrypted"
			}
		}), "client of the broker other than the taps: expected unencrypted-curl, got encrypted-curl"},
		{"the application's Kafka", true, edit("unencrypted-curl", "eth0", flows, func(r *record) {
			if r.Destination.Port == 9092 {
				drop(r)
			}
		}), "connections of kcat to the broker are seen"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wrong := strings.Join(judge(t, test.change(good(t, test.broker)), good(t, test.broker), envoyLog, test.broker), "\n")
			if !strings.Contains(wrong, test.want) {
				t.Errorf("got %q, want an error with %q", wrong, test.want)
			}
		})
	}
	t.Run("captures", func(t *testing.T) {
		read := edit("encrypted-curl", "lo", flows, func(r *record) { r.Meshtls.Scope = "wire" })(good(t, false))
		wrong := strings.Join(judge(t, good(t, false), read, envoyLog, false), "\n")
		if want := "encrypted-curl, lo, tap read: expected ["; !strings.HasPrefix(wrong, want) {
			t.Errorf("got %q, want %q", wrong, want)
		}
	})
	t.Run("Envoy", func(t *testing.T) {
		wrong := strings.Join(judge(t, good(t, false), good(t, false), "- - -\n", false), "\n")
		if want := "Envoy's access log: expected TLSv1.3"; !strings.HasPrefix(wrong, want) {
			t.Errorf("got %q, want %q", wrong, want)
		}
	})
}

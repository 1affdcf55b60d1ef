package ocsf_test

import (
	"encoding/json"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/ocsf"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// event holds the attributes that TestValues checks.
type event struct {
	Activity   int  `json:"activity_id"`
	Type       int  `json:"type_uid"`
	Severity   int  `json:"severity_id"`
	Status     int  `json:"status_id"`
	Alert      bool `json:"is_alert"`
	Connection struct {
		Direction int `json:"direction_id"`
		Boundary  int `json:"boundary_id"`
		Protocol  int `json:"protocol_num"`
	} `json:"connection_info"`
}

// TestValues: activity, status, severity and direction of records.
func TestValues(t *testing.T) {
	first := func(kind string) record.Record { return records(t, "testdata/"+kind+".json")[0] }
	severity := func(s int64) func(*record.Record) { return func(r *record.Record) { r.Event.Severity = &s } }
	state := func(s, kind string, count uint64) func(*record.Record) {
		return func(r *record.Record) {
			r.Meshtls.Finding.State, r.Meshtls.Finding.Count, r.Event.Kind = s, count, kind
		}
	}
	ended := func(s string) func(*record.Record) {
		return func(r *record.Record) { r.Meshtls.ConnState = s }
	}
	outcome := func(o string) func(*record.Record) {
		return func(r *record.Record) { r.Event.Outcome = o }
	}
	action := func(a string, blind bool) func(*record.Record) {
		return func(r *record.Record) { r.Event.Action, r.Meshtls.Tap.Blind = a, &blind }
	}
	direction := func(d, scope string) func(*record.Record) {
		return func(r *record.Record) { r.Network.Direction, r.Meshtls.Scope = d, scope }
	}
	for _, c := range []struct {
		kind   string
		change func(*record.Record)
		want   func(*event) bool
	}{
		{"finding", severity(0), func(e *event) bool { return e.Severity == 1 }},
		{"finding", severity(20), func(e *event) bool { return e.Severity == 1 }},
		{"finding", severity(21), func(e *event) bool { return e.Severity == 2 }},
		{"finding", severity(47), func(e *event) bool { return e.Severity == 3 }},
		{"finding", severity(73), func(e *event) bool { return e.Severity == 4 }},
		{"finding", severity(99), func(e *event) bool { return e.Severity == 5 }},
		{"finding", state("open", "alert", 1), func(e *event) bool { return e.Type == 200401 && e.Status == 1 && e.Alert }},
		{"finding", state("open", "event", 1), func(e *event) bool { return e.Type == 200401 && e.Status == 1 && !e.Alert }},
		{"finding", state("ongoing", "alert", 2), func(e *event) bool { return e.Type == 200402 && e.Status == 2 && e.Alert }},
		{"finding", state("ongoing", "event", 2), func(e *event) bool { return e.Type == 200402 && e.Status == 2 && !e.Alert }},
		{"finding", state("resolved", "event", 2), func(e *event) bool { return e.Type == 200403 && e.Status == 4 && !e.Alert }},
		{"finding", state("resolved", "event", 0), func(e *event) bool { return e.Type == 200403 && e.Status == 6 && !e.Alert }},
		{"finding", state("withdrawn", "event", 2), func(e *event) bool { return e.Type == 200403 && e.Status == 99 && !e.Alert }},
		{"flow", outcome("success"), func(e *event) bool { return e.Status == 1 }},
		{"flow", outcome("failure"), func(e *event) bool { return e.Status == 2 }},
		{"flow", outcome("unknown"), func(e *event) bool { return e.Status == 0 }},
		{"flow", ended("SF"), func(e *event) bool { return e.Type == 400102 }},
		{"flow", ended("RSTO"), func(e *event) bool { return e.Activity == 3 }},
		{"flow", ended("S0"), func(e *event) bool { return e.Activity == 4 }},
		{"flow", ended("REJ"), func(e *event) bool { return e.Activity == 5 }},
		{"flow", ended("S1"), func(e *event) bool { return e.Activity == 6 }},
		{"flow", ended(""), func(e *event) bool { return e.Activity == 6 }},
		{"flow", func(r *record.Record) { r.Network.Transport, r.Meshtls.ConnState = "udp", "S0" }, func(e *event) bool { return e.Activity == 6 && e.Connection.Protocol == 17 }},
		{"flow", direction("ingress", "wire"), func(e *event) bool { return e.Connection.Direction == 1 && e.Connection.Boundary == 0 }},
		{"flow", direction("egress", "wire"), func(e *event) bool { return e.Connection.Direction == 2 && e.Connection.Protocol == 6 }},
		{"flow", direction("internal", "pod"), func(e *event) bool { return e.Connection.Direction == 3 && e.Connection.Boundary == 1 }},
		{"flow", direction("", "wire"), func(e *event) bool { return e.Connection.Direction == 0 }},
		{"posture", direction("ingress", "wire"), func(e *event) bool { return e.Type == 400106 && e.Connection.Direction == 1 }},
		{"tap", action("started", false), func(e *event) bool { return e.Type == 600203 && e.Status == 1 && e.Severity == 1 }},
		{"tap", action("stopped", false), func(e *event) bool { return e.Type == 600204 && e.Status == 1 }},
		{"tap", action("heartbeat", false), func(e *event) bool { return e.Type == 600299 && e.Status == 1 && e.Severity == 1 }},
		{"tap", action("heartbeat", true), func(e *event) bool { return e.Type == 600299 && e.Status == 2 && e.Severity == 3 }},
		{"tap", action("degraded", false), func(e *event) bool { return e.Type == 600299 && e.Status == 2 && e.Severity == 3 }},
	} {
		r := first(c.kind)
		c.change(&r)
		b := ocsf.Append(nil, &r)
		var e event
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		if !c.want(&e) {
			t.Errorf("%+v of %s", e, b)
		}
	}
}

package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// inAnyCase makes a tap of an environment and ends it.
func inAnyCase(t *testing.T, environ ...string) *tap {
	t.Helper()
	var out bytes.Buffer
	made, err := tapInAnyCase(environ, streams{out: &out, err: &out})
	if err != nil {
		t.Fatalf("%q: %v", environ, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	made.publisher.Close(ended)
	return made
}

// TestFallBack: what is in force in place of a value that cannot be used, and what is said of it.
func TestFallBack(t *testing.T) {
	const kafka, broker = "TAP_SINK=kafka", "TAP_KAFKA_BROKERS=kafka:9092"
	for _, c := range []struct {
		environ  []string
		fault    string // a part of the first; empty: none
		discards bool   // nothing is published
		check    func(*tap) bool
	}{
		{nil, "", false, func(t *tap) bool { return len(t.faults) == 0 }},
		{[]string{"TAP_WINDOW=soon"}, "TAP_WINDOW=soon: expected a duration such as 10m; 10m is in force", false, func(t *tap) bool { return t.Window == 10*time.Minute }},
		{[]string{"TAP_WINDOW=1ms"}, "TAP_WINDOW=1ms: expected a second or more", false, func(t *tap) bool { return t.Window == 10*time.Minute }},
		{[]string{"TAP_GRACE=lots"}, "3s is in force", false, func(t *tap) bool { return t.Grace == 3*time.Second }},
		{[]string{"TAP_EXPECT=10/8=mtls"}, "; it is left out", false, func(t *tap) bool { return t.expect == nil }},
		{[]string{"TAP_UNTIL=tomorrow"}, "; it is left out", false, func(t *tap) bool { return t.until.IsZero() }},
		{[]string{"HOST_IPS=10.0.0.1,x", "POD_IPS=y"}, `POD_IPS=y: "y": expected an IP address`, false, func(t *tap) bool { return t.nodes == nil && t.podIPs == nil && len(t.faults) == 2 }},
		{[]string{"TAP_REDACT=stricter"}, "strict is in force", false, func(t *tap) bool { return t.redact == finding.RedactStrict }},
		{[]string{"TAP_LOG_LEVEL=loud", "TAP_GRACE=5s"}, "INFO is in force", false, func(t *tap) bool { return t.Grace == 5*time.Second }},

		// Where records go, and whether in the clear, is not guessed.
		{[]string{"TAP_SINK=kafak", broker}, "TAP_SINK=kafak: expected stdout or kafka; nothing is published", true, nil},
		{[]string{kafka}, `TAP_KAFKA_BROKERS: "": expected a list of host:port; nothing is published`, true, nil},
		{[]string{kafka, "TAP_KAFKA_BROKERS=kafka"}, "nothing is published", true, nil},
		{[]string{kafka, broker, "TAP_KAFKA_TLS=on"}, "TAP_KAFKA_TLS=on: expected true or false; nothing is published", true, nil},
		{[]string{kafka, broker, "TAP_KAFKA_TOPIC={namespace}"}, "nothing is published", true, nil},
		{[]string{kafka, broker, "TAP_KAFKA_SASL_MECHANISM=md5"}, "nothing is published", true, nil},
		{[]string{kafka, broker, "TAP_KAFKA_SASL_MECHANISM=plain", "TAP_KAFKA_TLS_CERT_FILE=x"}, "expected both or none; TAP_KAFKA_SASL_USERNAME", true, nil},
		{[]string{"TAP_KAFKA_TLS=on"}, "TAP_KAFKA_TLS=on: expected true or false; it is left out", false, nil},
		// How they are packed has a default.
		{[]string{kafka, broker, "TAP_KAFKA_COMPRESSION=rar"}, "the defaults of compression and batches are in force", false, nil},
		{[]string{kafka, broker, "TAP_KAFKA_BATCH_SIZE=-1"}, "the defaults of compression and batches are in force", false, nil},
		{[]string{kafka, broker, "TAP_KAFKA_BATCH_SIZE=many", "TAP_SPOOL_MAX=0"}, "2000 is in force", false, func(t *tap) bool { return t.SpoolMax == 64<<20 }},
	} {
		t.Run(strings.Join(c.environ, " "), func(t *testing.T) {
			made := inAnyCase(t, c.environ...)
			if (c.fault == "") != (len(made.faults) == 0) || !strings.Contains(strings.Join(made.faults, "\n"), c.fault) {
				t.Errorf("faults %q, want %q", made.faults, c.fault)
			}
			if _, discards := made.publisher.(*discard); discards != c.discards {
				t.Errorf("the sink is a %T", made.publisher)
			}
			if c.check != nil && !c.check(made) {
				t.Errorf("settings: %+v", made.settings)
			}
			if problems := strings.Join(made.problems(), "\n"); !strings.Contains(problems, c.fault) {
				t.Errorf("/readyz would say %q", problems)
			}
			if last := made.selfTest().Checks; last[len(last)-1].OK != (c.fault == "") {
				t.Errorf("self-test: %+v", last)
			}
		})
	}
}

// TestFallBackOfEverything: whatever a variable holds, and whatever all of them hold, there is a tap.
func TestFallBackOfEverything(t *testing.T) {
	norace(t)
	t.Chdir(t.TempDir()) // one of them is a folder
	values := []string{" ", "-1", "x", "999999999999999999999", "{namespace}", "\x00ä"}
	for _, value := range values {
		var all []string
		for name := range variables.Defaults[environment]() {
			one := name + "=" + value
			all = append(all, one)
			inAnyCase(t, "TAP_SINK=kafka", "TAP_KAFKA_BROKERS=127.0.0.1:1", one)
		}
		inAnyCase(t, all...)
	}
}

// TestDiscard: what is dropped is counted.
func TestDiscard(t *testing.T) {
	n := newDiscard("why")
	if n.Put(buffer.Message{Dataset: buffer.Finding}) {
		t.Error("it took a record")
	}
	s := n.Status()
	if s.OK || !s.Down || s.Reason != "why" || s.Dropped[buffer.Finding] != 1 || s.Reasons["no_sink"] != 1 {
		t.Errorf("%+v", s)
	}
	if left, err := n.Close(t.Context()); left != 0 || err != nil {
		t.Errorf("%d %v", left, err)
	}
}

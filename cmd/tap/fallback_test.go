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

// tapFrom creates a tap from an environment and closes its sink.
func tapFrom(t *testing.T, environ ...string) *tap {
	t.Helper()
	var out bytes.Buffer
	made, err := newTapOrFallBack(environ, streams{out: &out, err: &out})
	if err != nil {
		t.Fatalf("%q: %v", environ, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	made.publisher.Close(ended)
	return made
}

// TestFallBack: each invalid value is replaced by the expected one, and reported.
func TestFallBack(t *testing.T) {
	const kafka, broker = "TAP_SINK=kafka", "TAP_KAFKA_BROKERS=kafka:9092"
	for _, c := range []struct {
		environ  []string
		problem  string // a part of the first error; empty: there is no error
		discards bool   // nothing is published
		check    func(*tap) bool
	}{
		{nil, "", false, func(t *tap) bool { return len(t.settingErrors) == 0 }},
		{[]string{"TAP_WINDOW=soon"}, "TAP_WINDOW=soon: expected a duration such as 10m; 10m is used instead", false, func(t *tap) bool { return t.Window == 10*time.Minute }},
		{[]string{"TAP_ANNOUNCEMENTS=0"}, "TAP_ANNOUNCEMENTS=0: expected a number of 1 or more", false, func(t *tap) bool { return t.Announced == 20 }},
		{[]string{"TAP_POSTURE_INTERVAL=0s"}, "TAP_POSTURE_INTERVAL=0s: expected a second or more", false, func(t *tap) bool { return t.Interval == time.Hour }},
		{[]string{"TAP_WINDOW=1ms"}, "TAP_WINDOW=1ms: expected a second or more", false, func(t *tap) bool { return t.Window == 10*time.Minute }},
		{[]string{"TAP_GRACE=lots"}, "3s is used instead", false, func(t *tap) bool { return t.Grace == 3*time.Second }},
		{[]string{"TAP_EXPECT=10/8=mtls"}, "; it is ignored", false, func(t *tap) bool { return t.expect == nil }},
		{[]string{"TAP_UNTIL=tomorrow"}, "; it is ignored", false, func(t *tap) bool { return t.until.IsZero() }},
		{[]string{"HOST_IPS=10.0.0.1,x", "POD_IPS=y"}, `POD_IPS=y: "y": expected an IP address`, false, func(t *tap) bool { return t.nodes == nil && t.podIPs == nil && len(t.settingErrors) == 2 }},
		{[]string{"TAP_REDACT=stricter"}, "strict is used instead", false, func(t *tap) bool { return t.redact == finding.RedactStrict }},
		{[]string{"TAP_FORMAT=cef"}, "TAP_FORMAT=cef: expected ecs or ocsf; ecs is used instead", false, func(t *tap) bool { return t.format.encode == nil }},
		{[]string{"TAP_SEVERITY=plaintext-edge=50"}, "it is ignored", false, func(t *tap) bool { return t.severities == nil }},
		{[]string{"TAP_MUTE=rule=plaintext-edge,until=soon,reason=x"}, "TAP_MUTE=rule=plaintext-edge,until=soon,reason=x: mute 1: \"until=soon\": expected a date from 2000 to 2099 such as 2026-12-31; it is ignored", false, func(t *tap) bool { return t.mute == nil }},
		{[]string{"TAP_MUTE=tls-not-mutual;rule=plaintext-edge;cipher-weak"}, `mute 2: "rule=plaintext-edge" has no until: expected rule=RULE`, false, func(t *tap) bool {
			return len(t.mute) == 2 && t.mute[1].Rule == "cipher-weak" && strings.HasSuffix(t.settingErrors[0], "; the other mutes apply")
		}},
		{[]string{"TAP_LOG_LEVEL=loud", "TAP_GRACE=5s"}, "INFO is used instead", false, func(t *tap) bool { return t.Grace == 5*time.Second }},

		// The tap guesses neither the destination of records nor whether they may be sent in
		// plaintext.
		{[]string{"TAP_SINK=kafak", broker}, "TAP_SINK=kafak: expected stdout or kafka; nothing is published", true, nil},
		{[]string{kafka}, `TAP_KAFKA_BROKERS: "": expected a list of host:port; nothing is published`, true, nil},
		{[]string{kafka, "TAP_KAFKA_BROKERS=kafka"}, "nothing is published", true, nil},
		{[]string{kafka, broker, "TAP_KAFKA_TLS=on"}, "TAP_KAFKA_TLS=on: expected true or false; nothing is published", true, nil},
		{[]string{kafka, broker, "TAP_KAFKA_TOPIC={namespace}"}, "nothing is published", true, nil},
		{[]string{kafka, broker, "TAP_KAFKA_SASL_MECHANISM=md5"}, "nothing is published", true, nil},
		{[]string{kafka, broker, "TAP_KAFKA_SASL_MECHANISM=plain", "TAP_KAFKA_TLS_CERT_FILE=x"}, "expected both or none; TAP_KAFKA_SASL_USERNAME", true, nil},
		{[]string{"TAP_KAFKA_TLS=on"}, "TAP_KAFKA_TLS=on: expected true or false; it is ignored", false, nil},
		// If another setting implies TLS, plaintext is not possible, and records are published.
		{[]string{kafka, broker, "TAP_KAFKA_TLS=on", "TAP_KAFKA_TLS_SERVER_NAME=x"}, "TAP_KAFKA_TLS=on: expected true or false; TLS is used", false, func(t *tap) bool { return t.kafka.TLS != nil }},
		{[]string{kafka, broker, "TAP_KAFKA_TLS=false", "TAP_KAFKA_TLS_SERVER_NAME=x"}, "TAP_KAFKA_TLS=false: expected true, because another TAP_KAFKA_TLS_ variable is set; TLS is used", false, func(t *tap) bool { return t.kafka.TLS != nil }},
		{[]string{kafka, broker, "TAP_KAFKA_TLS=false"}, "", false, func(t *tap) bool { return t.kafka.TLS == nil }},

		{[]string{"TAP_LISTEN=29470"}, "TAP_LISTEN=29470: expected an address and a port from 0 to 65535, such as :29469, or none; none is used instead", false, func(t *tap) bool { return t.Listen == "none" }},
		{[]string{"TAP_LISTEN=foo"}, "none is used instead", false, nil},
		{[]string{"TAP_LISTEN=:99999"}, "none is used instead", false, nil},
		{[]string{"TAP_LISTEN=[::1]:0"}, "", false, nil},
		{[]string{"TAP_MEMORY=1"}, "TAP_MEMORY=1: expected 16Mi or more; it is ignored", false, func(t *tap) bool { return t.Memory == 0 }},
		{[]string{"TAP_MEMORY=16Mi"}, "", false, nil},
		{[]string{"TAP_MESH=foo"}, "TAP_MESH=foo: expected one of osm, istio, linkerd, consul, kuma, istio_ambient; it is ignored", false, func(t *tap) bool { return t.Mesh == "" }},
		{[]string{"TAP_MESH=istio_ambient"}, "", false, nil},

		// Invalid settings of compression and batches are replaced by the defaults.
		{[]string{kafka, broker, "TAP_KAFKA_COMPRESSION=rar"}, "the defaults of compression and batches are used instead", false, nil},
		{[]string{kafka, broker, "TAP_KAFKA_BATCH_SIZE=-1"}, "the defaults of compression and batches are used instead", false, nil},
		{[]string{kafka, broker, "TAP_KAFKA_BATCH_SIZE=many", "TAP_SPOOL_MAX=0"}, "2000 is used instead", false, func(t *tap) bool { return t.SpoolMax == 64<<20 }},
	} {
		t.Run(strings.Join(c.environ, " "), func(t *testing.T) {
			made := tapFrom(t, c.environ...)
			if (c.problem == "") != (len(made.settingErrors) == 0) || !strings.Contains(strings.Join(made.settingErrors, "\n"), c.problem) {
				t.Errorf("errors %q, want %q", made.settingErrors, c.problem)
			}
			if _, discards := made.publisher.(*discard); discards != c.discards {
				t.Errorf("the sink is a %T", made.publisher)
			}
			if c.check != nil && !c.check(made) {
				t.Errorf("settings: %+v", made.settings)
			}
			if problems := strings.Join(made.problems(), "\n"); !strings.Contains(problems, c.problem) {
				t.Errorf("/readyz would show %q", problems)
			}
			if last := made.selfTest().Checks; last[len(last)-1].OK != (c.problem == "") {
				t.Errorf("self-test: %+v", last)
			}
		})
	}
}

// TestFallBackFromAnything: a tap is created even if one variable, or all of them, have an odd value.
func TestFallBackFromAnything(t *testing.T) {
	norace(t)
	t.Chdir(t.TempDir()) // one of the variables is the path of a folder
	values := []string{" ", "-1", "x", "999999999999999999999", "{namespace}", "\x00ä"}
	for _, value := range values {
		var all []string
		for name := range variables.Defaults[environment]() {
			one := name + "=" + value
			all = append(all, one)
			tapFrom(t, "TAP_SINK=kafka", "TAP_KAFKA_BROKERS=127.0.0.1:1", one)
		}
		tapFrom(t, all...)
	}
}

// TestDiscard: dropped records are counted.
func TestDiscard(t *testing.T) {
	n := newDiscard("why")
	if n.Put(buffer.Message{Dataset: buffer.Finding}) {
		t.Error("a record was accepted")
	}
	s := n.Status()
	if s.OK || !s.Down || s.Reason != "why" || s.Dropped[buffer.Finding] != 1 || s.Reasons["no_sink"] != 1 {
		t.Errorf("%+v", s)
	}
	if left, err := n.Close(t.Context()); left != 0 || err != nil {
		t.Errorf("%d %v", left, err)
	}
}

package main

import (
	"slices"
	"testing"
)

// TestDoubts: settings that do not do what they say are reported, and the others are not.
func TestDoubts(t *testing.T) {
	const kafka, broker = "TAP_SINK=kafka", "TAP_KAFKA_BROKERS=kafka:9092"
	for _, c := range []struct {
		environ []string
		want    []string
	}{
		{nil, nil},
		{[]string{kafka, broker, "TAP_KAFKA_TOPIC=t", "TAP_SPOOL_DIR=/s", "TAP_SPOOL_MAX=1Mi"}, nil},
		{[]string{"TAP_SINK=stdout", "TAP_KAFKA_BROKERS=", "TAP_SPOOL_DIR="}, nil},
		{[]string{"TAP_FOO=1", "OTHER=1"}, []string{"TAP_FOO: this version has no such variable"}},
		{[]string{broker, "TAP_KAFKA_SASL_USERNAME=tap", "TAP_SPOOL_DIR=/s"}, []string{"TAP_KAFKA_BROKERS, TAP_KAFKA_SASL_USERNAME, TAP_SPOOL_DIR: no effect, because TAP_SINK is not kafka"}},
		{[]string{kafka, broker, "TAP_KAFKA_SASL_USERNAME=tap", "TAP_KAFKA_SASL_PASSWORD=x"}, []string{"TAP_KAFKA_SASL_PASSWORD, TAP_KAFKA_SASL_USERNAME: no effect, because TAP_KAFKA_SASL_MECHANISM is not set"}},
		{[]string{"TAP_KAFKA_EVIDENCE_TOPIC=e"}, []string{"TAP_KAFKA_EVIDENCE_TOPIC: no effect, because TAP_SINK is not kafka"}},
		{[]string{kafka, broker, "TAP_KAFKA_EVIDENCE_TOPIC=e", "TAP_EVIDENCE_FILE_MAX=16Ki"}, nil},
		{[]string{kafka, broker, "TAP_KAFKA_EVIDENCE_TOPIC=none", "TAP_REDACT=strict"}, nil},
		{[]string{kafka, broker, "TAP_EVIDENCE_FILE_MAX=16Ki"}, []string{"TAP_EVIDENCE_FILE_MAX: no effect, because neither TAP_EVIDENCE_DIR nor TAP_KAFKA_EVIDENCE_TOPIC is set"}},
		{[]string{kafka, broker, "TAP_KAFKA_EVIDENCE_TOPIC=e", "TAP_EVIDENCE_FILES=3", "TAP_EVIDENCE_AGE=1h"}, []string{"TAP_EVIDENCE_AGE, TAP_EVIDENCE_FILES: no effect, because TAP_EVIDENCE_DIR is not set"}},
		{[]string{kafka, broker, "TAP_KAFKA_EVIDENCE_TOPIC=e", "TAP_REDACT=strict"}, []string{"TAP_KAFKA_EVIDENCE_TOPIC: no effect, because TAP_REDACT is strict, and TLS handshakes contain names"}},
		{[]string{kafka, broker, "TAP_KAFKA_EVIDENCE_TOPIC=e", "TAP_EVIDENCE_FILE_MAX=1Mi"}, []string{"TAP_EVIDENCE_FILE_MAX=1048576: files larger than TAP_KAFKA_BATCH_BYTES=1000000 allows are not sent"}},
		{[]string{kafka, broker, "TAP_SPOOL_MAX=1"}, []string{"TAP_SPOOL_MAX: no effect, because TAP_SPOOL_DIR is not set", "TAP_SPOOL_MAX=1: less than 1Mi, which is used instead"}},
	} {
		s, err := readEnvironment(c.environ)
		if err != nil || !slices.Equal(s.doubtful, c.want) {
			t.Errorf("%v: %q, %v; want %q", c.environ, s.doubtful, err, c.want)
		}
		if s, err := fallBack(c.environ); err != nil || !slices.Equal(s.doubtful, c.want) {
			t.Errorf("%v: %q, %v at the start", c.environ, s.doubtful, err)
		}
	}
	if s, err := fallBack([]string{"TAP_SINK=kafak", broker}); err != nil || len(s.doubtful) != 0 { // it is not known whether they would have an effect
		t.Errorf("%q, %v", s.doubtful, err)
	}
}

package sink

import (
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
)

// TestTopics: each dataset has a topic. Evidence has one only if it is configured; it is the last, since it is the least urgent.
func TestTopics(t *testing.T) {
	for evidence, want := range map[string][]string{
		"":                     {"meshtls-tap.findings", "meshtls-tap.posture", "meshtls-tap.flows"},
		"meshtls-tap.evidence": {"meshtls-tap.findings", "meshtls-tap.posture", "meshtls-tap.flows", "meshtls-tap.evidence"},
	} {
		cfg := KafkaConfig{EvidenceTopic: evidence}.withDefaults()
		var names []string
		for _, to := range topicsOf(&cfg, 10) {
			names = append(names, to.name)
			if want := map[bool]int{true: 1, false: 10}[to.name == "meshtls-tap.evidence"]; to.limit != want {
				t.Errorf("the first batch of %s has at most %d records, want %d", to.name, to.limit, want)
			}
			if got := to.datasets.Has(buffer.Evidence); got != (to.name == "meshtls-tap.evidence") {
				t.Errorf("%q: %s has evidence: %v", evidence, to.name, got)
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%q: %q, want %q", evidence, names, want)
		}
		slices.Sort(want)
		if got := cfg.topicNames(); !slices.Equal(got, want) {
			t.Errorf("%q: names %q, want %q", evidence, got, want)
		}
	}
	c := &client{cfg: KafkaConfig{EvidenceTopic: "e"}}
	if got := c.topicSetting("e"); got != "TAP_KAFKA_EVIDENCE_TOPIC" {
		t.Error(got)
	}
}

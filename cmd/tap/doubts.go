package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// doubts returns the settings that the tap accepts but that do not do what they say, one line each: variables that this version does not
// have, and variables that have no effect because another one is missing. They do not count as invalid, because a webhook may know
// more variables than an older tap. `tap run` logs them, and `tap check` fails.
func (s *settings) doubts(vars map[string]string) (out []string) {
	var known []string
	for name := range variables.Defaults[environment]() {
		if rest, ok := strings.CutPrefix(name, tapPrefix); ok {
			known = append(known, rest)
		}
	}
	slices.Sort(known) // so that equally close names always have the same order
	for _, name := range s.unknown {
		out = append(out, name+": this version has no such variable"+didYouMean(strings.TrimPrefix(name, tapPrefix), tapPrefix, known))
	}
	if s.SpoolMax < leastSpool {
		out = append(out, fmt.Sprintf("TAP_SPOOL_MAX=%d: less than 1Mi, which is used instead", s.SpoolMax))
	}

	if s.kafka.EvidenceTopic != "" && s.EvidenceMax+messageOverhead > s.BatchBytes {
		out = append(out, fmt.Sprintf("TAP_EVIDENCE_FILE_MAX=%d: files larger than TAP_KAFKA_BATCH_BYTES=%d allows are not sent", s.EvidenceMax, s.BatchBytes))
	}

	if s.redact == finding.RedactStrict && slices.ContainsFunc(s.mute, func(m finding.Mute) bool { return m.SelectsNames() }) {
		out = append(out, "TAP_MUTE: no effect for peers by name, because TAP_REDACT is strict")
	}

	idle := map[string][]string{} // variables without effect, by the reason
	for name, value := range vars {
		if value == "" {
			continue
		}
		if reason := s.idleReason(name); reason != "" {
			idle[reason] = append(idle[reason], name)
		}
	}
	for reason, names := range idle {
		slices.Sort(names)
		out = append(out, strings.Join(names, ", ")+": no effect, because "+reason)
	}
	slices.Sort(out)
	return out
}

// tapPrefix is how the names of the tap's own variables begin.
const tapPrefix = "TAP_"

// messageOverhead bounds the bytes of a record of Kafka in addition to its value: key, headers and framing.
const messageOverhead = 1 << 10

// leastSpool is the least size of a spool in bytes; see buffer.SpoolConfig.
const leastSpool = 1 << 20

// idleReason returns why a variable has no effect with these settings, "" if it has one.
func (s *settings) idleReason(name string) string {
	if _, known := variables.Defaults[environment]()[name]; !known {
		return ""
	}
	login := strings.HasPrefix(name, "TAP_KAFKA_SASL_")
	switch {
	case !s.publishToKafka && s.noSink == "" && (strings.HasPrefix(name, "TAP_KAFKA_") || strings.HasPrefix(name, "TAP_SPOOL_")):
		return "TAP_SINK is not kafka"
	case login && s.Mechanism == "" && s.publishToKafka:
		return "TAP_KAFKA_SASL_MECHANISM is not set"
	case name == "TAP_SPOOL_MAX" && s.SpoolDir == "":
		return "TAP_SPOOL_DIR is not set"
	case strings.HasPrefix(name, "TAP_EVIDENCE_") && s.noEvidence() != "", name == "TAP_KAFKA_EVIDENCE_TOPIC" && s.FilesTopic != "none" && s.redact == finding.RedactStrict:
		return s.noEvidence()
	case (name == "TAP_EVIDENCE_FILES" || name == "TAP_EVIDENCE_AGE") && s.EvidenceDir == "":
		return "TAP_EVIDENCE_DIR is not set"
	}
	return ""
}

package main

import "testing"

// TestFormatHeader: Kafka's header "schema" has the format. It is the sink's default, 1, for records in ECS.
func TestFormatHeader(t *testing.T) {
	for value, want := range map[string]string{"": "", "ecs": "", "ocsf": "ocsf-1.6.0"} {
		s, err := readEnvironment([]string{"TAP_SINK=kafka", "TAP_KAFKA_BROKERS=kafka:9093", "TAP_FORMAT=" + value})
		if err != nil || s.kafka.Schema != want {
			t.Errorf("TAP_FORMAT=%s: header %q, %v", value, s.kafka.Schema, err)
		}
	}
}

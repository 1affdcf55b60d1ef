package sink

import (
	"strings"
	"testing"
)

func TestKafkaConfigErrors(t *testing.T) {
	sasl := func(s SASLConfig) func(*KafkaConfig) { return func(c *KafkaConfig) { c.SASL = &s } }
	for _, c := range []struct {
		name string
		set  func(*KafkaConfig)
		want string // part of the error message, which must be one line
	}{
		{"no brokers", func(c *KafkaConfig) { c.Brokers = nil }, `TAP_KAFKA_BROKERS: "": expected a list of host:port`},
		{"no port", func(c *KafkaConfig) { c.Brokers = []string{"kafka"} }, `TAP_KAFKA_BROKERS: "kafka": expected host:port`},
		{"a URL", func(c *KafkaConfig) { c.Brokers = []string{"kafka://a:9092"} }, `"kafka://a:9092"`},
		{"a password", func(c *KafkaConfig) { c.Brokers = []string{"a:9092", "sasl://tap:pass", "wo@rd@b:9092"} }, `TAP_KAFKA_BROKERS: "...@b:9092": expected host:port`},
		{"a name", func(c *KafkaConfig) { c.Brokers = []string{"tap@b:9092"} }, `TAP_KAFKA_BROKERS: "...@b:9092": expected host:port`},
		{"port 0", func(c *KafkaConfig) { c.Brokers = []string{"a:0"} }, `"a:0"`},
		{"port name", func(c *KafkaConfig) { c.Brokers = []string{"a:kafka"} }, `"a:kafka"`},
		{"bare IPv6", func(c *KafkaConfig) { c.Brokers = []string{"2001:db8::1"} }, `"2001:db8::1"`},
		{"topic", func(c *KafkaConfig) { c.FlowsTopic = "a b" }, `TAP_KAFKA_FLOWS_TOPIC: "a b": expected`},
		{"evidence topic", func(c *KafkaConfig) { c.EvidenceTopic = "{namespace}" }, `TAP_KAFKA_EVIDENCE_TOPIC: "{namespace}": expected`},
		{"evidence with findings", func(c *KafkaConfig) { c.EvidenceTopic = "meshtls-tap.findings" }, `TAP_KAFKA_EVIDENCE_TOPIC: "meshtls-tap.findings": expected a topic of its own`},
		{"codec", func(c *KafkaConfig) { c.Compression = "brotli" }, `TAP_KAFKA_COMPRESSION: "brotli": expected zstd`},
		{"batch size", func(c *KafkaConfig) { c.BatchSize = -1 }, `TAP_KAFKA_BATCH_SIZE: "-1"`},
		{"key without certificate", func(c *KafkaConfig) { c.TLS = &TLSConfig{KeyFile: "k"} }, `TAP_KAFKA_TLS_CERT_FILE and TAP_KAFKA_TLS_KEY_FILE: expected both`},
		{"mechanism", sasl(SASLConfig{Mechanism: "gssapi", Username: "u", Password: "p"}), `TAP_KAFKA_SASL_MECHANISM: "gssapi": expected plain`},
		{"user", sasl(SASLConfig{Mechanism: "plain", Password: "p"}), `TAP_KAFKA_SASL_USERNAME: expected a name`},
		{"no password", sasl(SASLConfig{Mechanism: "plain", Username: "u"}), `TAP_KAFKA_SASL_PASSWORD and TAP_KAFKA_SASL_PASSWORD_FILE`},
		{"two passwords", sasl(SASLConfig{Mechanism: "plain", Username: "u", Password: "p", PasswordFile: "f"}), `expected one of them`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := KafkaConfig{Brokers: []string{"127.0.0.1:9092", "[2001:db8::1]:9092"}}
			c.set(&cfg)
			k, err := NewKafka(cfg)
			if err == nil {
				k.Close(t.Context())
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q, want one line with %q", err, c.want)
			}
		})
	}
}

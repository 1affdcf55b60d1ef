package sink

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

type record = kafkatest.Record

var distinct = kafkatest.Distinct

// broker is a real Apache Kafka that runs until the end of the test, together with the issuer of the tokens that
// it accepts.
type broker struct {
	*kafkatest.Broker
	issuer *issuer
}

// Two listeners of the broker advertise these addresses, at which there is no broker.
const (
	nowhereByName    = "kafka-0.kafka.invalid:9092"
	nowhereByAddress = "127.0.0.1:1"
)

// session is the lifetime of a connection that logged in with a token.
const session = 2 * time.Second

func startBroker(t *testing.T) *broker {
	t.Helper()
	kafkatest.Require(t)
	i := newIssuer(t)
	return &broker{kafkatest.Start(t, "tls", []string{
		"AUTHORIZE=1", "JWKS=" + i.jwks, fmt.Sprint("MAX_REAUTH=", session.Milliseconds()), "ALIASES=" + nowhereByName + " " + nowhereByAddress,
	}, nil), i}
}

// topics creates the topics prefix.findings, .posture and .flows with three partitions each. It
// returns a configuration that uses them. Its IOTimeout is so long that no response times out
// because the machine is busy. So any duplicate is an error.
func (b *broker) topics(t *testing.T, prefix string) KafkaConfig {
	t.Helper()
	cfg := KafkaConfig{
		Brokers: []string{b.Plain}, FindingsTopic: prefix + ".findings", PostureTopic: prefix + ".posture", FlowsTopic: prefix + ".flows",
		MaxBackoff: 4 * time.Second, IOTimeout: 2 * eventually.Limit,
	}
	b.Create(cfg.FindingsTopic, cfg.PostureTopic, cfg.FlowsTopic)
	return cfg
}

// readAll reads the three topics of cfg.
func (b *broker) readAll(cfg KafkaConfig) []record {
	return b.Read(cfg.FindingsTopic, cfg.PostureTopic, cfg.FlowsTopic)
}

// sample returns a record similar to the tap's records.
func sample(dataset string, n int) buffer.Message {
	id := fmt.Sprintf("%s-%d", dataset, n)
	return buffer.Message{
		Dataset: dataset, ID: id, Key: fmt.Sprintf("edge-%d", n%7), Time: time.Now().Truncate(time.Millisecond),
		Value: fmt.Appendf(nil, `{"event":{"id":%q,"dataset":%q,"sequence":%d},"message":"é \"quoted\""}`, id, dataset, n),
	}
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

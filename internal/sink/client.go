package sink

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// client owns the connections to the brokers and explains their errors.
type client struct {
	cfg       KafkaConfig
	dialer    *dialer
	transport *kafka.Transport
	life      context.Context // close cancels it: all requests end, and no connection is opened any more
	end       context.CancelFunc
}

// newClient returns a client of a checked configuration. The client connects at its first
// request.
func newClient(cfg KafkaConfig, topics []string) *client {
	c := &client{cfg: cfg}
	c.life, c.end = context.WithCancel(context.Background())
	c.dialer = &dialer{sockets: cfg.Sockets, tls: cfg.TLS, limit: cfg.IOTimeout, life: c.life, brokers: cfg.Brokers}
	c.transport = &kafka.Transport{
		Dial:           c.dialer.dial,
		DialTimeout:    20 * time.Second, // limit for TCP, TLS and the exchange of versions
		IdleTimeout:    9 * time.Minute,  // longer than the interval of heartbeats, shorter than the 10 min of most brokers
		MetadataTTL:    5 * time.Minute,
		MetadataTopics: topics, // if empty, kafka-go would request all topics of the cluster each time
		ClientID:       cfg.ClientID,
		Context:        c.life,
	}
	if cfg.SASL != nil {
		c.transport.SASL = &login{*cfg.SASL}
	}
	return c
}

// sendsSecretUnencrypted reports whether the configuration sends a password or token without TLS.
func (c *client) sendsSecretUnencrypted() bool {
	s := c.cfg.SASL
	return s != nil && c.cfg.TLS == nil && (s.bearer() || strings.EqualFold(s.Mechanism, "plain"))
}

// close ends all connections.
func (c *client) close() {
	c.end()
	c.transport.CloseIdleConnections()
	c.dialer.closeAll()
}

// api returns a client for requests to the brokers.
func (c *client) api() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(c.cfg.Brokers...), Transport: c.transport}
}

// exists returns an error if a topic does not exist.
func (c *client) exists(topic string) error {
	r, err := c.api().Metadata(c.life, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	for _, t := range r.Topics {
		if t.Name == topic {
			return t.Error
		}
	}
	return kafka.UnknownTopicOrPartition
}

// mayWrite asks the leader of a topic's first partition to write an empty record set. Apache Kafka
// checks authorization before it rejects the empty set. It has no other request for such a check.
// mayWrite returns only errors that would refuse real records too.
func (c *client) mayWrite(topic string) error {
	r, err := c.api().RawProduce(c.life, &kafka.RawProduceRequest{
		Topic: topic, RequiredAcks: kafka.RequireAll,
		RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(make([]byte, 4))}, // a record set with a length of 0
	})
	if _, unreachable := errors.AsType[*errConnect](err); unreachable {
		return err
	}
	if r != nil && (errors.Is(r.Error, kafka.TopicAuthorizationFailed) || errors.Is(r.Error, kafka.ClusterAuthorizationFailed)) {
		return r.Error
	}
	return nil
}

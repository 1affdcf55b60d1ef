package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// Admin checks whether a Kafka sink can deliver, and creates topics. Its errors are one-line reasons as in Status, and name
// the setting to check. When the context of a request is done, Admin closes all connections as Close does, and later requests
// fail. Close must be called after use.
type Admin struct{ *client }

// NewAdmin checks cfg as NewKafka does. It connects at the first request.
func NewAdmin(cfg KafkaConfig) (*Admin, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Admin{newClient(cfg, cfg.topicNames())}, nil
}

// Close ends all connections.
func (a *Admin) Close() { a.close() }

// within ends all requests when ctx is done. The caller calls stop after its request.
func (a *Admin) within(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, a.close)
}

// explain returns an error whose text is the reason for err. It returns nil if err is nil.
func (a *Admin) explain(err error, topic string) error {
	if err == nil {
		return nil
	}
	if a.life.Err() != nil {
		return errors.New(a.reasonf("no response in time"))
	}
	return &explained{a.diagnose(err, topic).reason, err}
}

// explained is an error with the text of its reason.
type explained struct {
	reason string
	err    error
}

func (e *explained) Error() string { return e.reason }
func (e *explained) Unwrap() error { return e.err }

// IsMissing reports whether an error of Admin is about a topic that does not exist, or that this client may not describe.
func IsMissing(err error) bool { return errors.Is(err, kafka.UnknownTopicOrPartition) }

// Reach connects to the brokers, with TLS and login as configured. It returns the number of
// brokers, the TLS version, the end of the certificate's validity and the login mechanism, as text.
func (a *Admin) Reach(ctx context.Context) (found string, err error) {
	defer a.within(ctx)()
	m, err := a.api().Metadata(a.life, &kafka.MetadataRequest{Topics: []string{a.cfg.PostureTopic}})
	if err != nil {
		return "", a.explain(err, a.cfg.PostureTopic)
	}
	found = fmt.Sprintf("%d in the cluster", len(m.Brokers))
	if s := a.dialer.lastState(); s != nil {
		found += ", " + tls.VersionName(s.Version)
		if len(s.PeerCertificates) > 0 {
			found += ", certificate until " + s.PeerCertificates[0].NotAfter.UTC().Format(time.RFC3339)
		}
	}
	if a.cfg.SASL != nil {
		found += ", logged in by " + (&login{*a.cfg.SASL}).Name()
	}
	return found, nil
}

// Topic describes an existing topic, or a topic to be created.
type Topic struct {
	Name       string
	Partitions int
	Replicas   int               // replicas of each partition; 0 in Create: the brokers' default
	InSync     int               // in-sync replicas of the partition that has the fewest
	Config     map[string]string // nil: this client may not read it
}

// Topic describes an existing topic. It returns an error if the topic does not exist, or if this client has no
// permission to describe it.
func (a *Admin) Topic(ctx context.Context, name string) (Topic, error) {
	defer a.within(ctx)()
	t := Topic{Name: name}
	m, err := a.api().Metadata(a.life, &kafka.MetadataRequest{Topics: []string{name}})
	if err == nil && (len(m.Topics) != 1 || m.Topics[0].Name != name) {
		err = kafka.UnknownTopicOrPartition
	}
	if err == nil {
		err = m.Topics[0].Error
	}
	if err != nil {
		return t, a.explain(err, name)
	}
	for i, p := range m.Topics[0].Partitions {
		t.Partitions++
		t.Replicas = max(t.Replicas, len(p.Replicas))
		if i == 0 || len(p.Isr) < t.InSync {
			t.InSync = len(p.Isr)
		}
	}
	t.Config = a.config(name)
	return t, nil
}

// config returns a topic's settings. It returns nil if this client has no permission to read them.
func (a *Admin) config(topic string) map[string]string {
	r, err := a.api().DescribeConfigs(a.life, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}},
	})
	if err != nil || len(r.Resources) != 1 || r.Resources[0].Error != nil {
		return nil
	}
	out := map[string]string{}
	for _, e := range r.Resources[0].ConfigEntries {
		out[e.ConfigName] = e.ConfigValue
	}
	return out
}

// MayWrite checks whether records may be written to a topic. It writes no record. It returns an
// error only if the broker refuses. Brokers other than Apache Kafka may not support the check.
func (a *Admin) MayWrite(ctx context.Context, topic string) error {
	defer a.within(ctx)()
	return a.explain(a.mayWrite(topic), topic)
}

// Create creates a topic with the partitions, replicas and settings of t. It returns an error if the topic exists.
func (a *Admin) Create(ctx context.Context, t Topic) error {
	defer a.within(ctx)()
	c := kafka.TopicConfig{Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: t.Replicas}
	if t.Replicas == 0 {
		c.ReplicationFactor = -1
	}
	for name, value := range t.Config {
		c.ConfigEntries = append(c.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	r, err := a.api().CreateTopics(a.life, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{c}})
	if err == nil {
		err = r.Errors[t.Name]
	}
	if errors.Is(err, kafka.TopicAuthorizationFailed) || errors.Is(err, kafka.ClusterAuthorizationFailed) {
		return errors.New(a.reasonf("not authorized to create topic %q: grant Create on it, or see %s", t.Name, a.userSetting()))
	}
	if code, ok := errors.AsType[kafka.Error](err); ok && code != kafka.UnknownTopicOrPartition {
		return errors.New(a.reasonf("topic %q: %v", t.Name, err))
	}
	return a.explain(err, t.Name)
}

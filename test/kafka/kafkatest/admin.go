package kafkatest

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha512"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// Admin calls f with a client that has all rights. The client uses the listener without login.
func (b *Broker) Admin(f func(context.Context, *kafka.Client) error) {
	b.t.Helper()
	transport := &kafka.Transport{Dial: b.Dial}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), eventually.Limit)
	defer cancel()
	if err := f(ctx, &kafka.Client{Addr: kafka.TCP(b.Plain), Transport: transport, Timeout: eventually.Limit}); err != nil {
		b.t.Fatalf("%v\n%s", err, b.Log())
	}
}

// asked is like Admin, but repeats the request until the response is the expected one. After a change it takes a
// moment until the broker knows the change, and longer on a busy machine.
func (b *Broker) asked(what string, f func(context.Context, *kafka.Client) (answer any, ok bool, err error)) {
	b.t.Helper()
	b.Admin(func(ctx context.Context, c *kafka.Client) error {
		var answer any
		var err error
		done := eventually.Holds(func() bool {
			var ok bool
			answer, ok, err = f(ctx, c)
			return ok && err == nil
		})
		if !done {
			return fmt.Errorf("not within %v: %s: %+v, %w", eventually.Limit, what, answer, err)
		}
		return nil
	})
}

// Create creates topics with three partitions each.
func (b *Broker) Create(topics ...string) { b.t.Helper(); b.CreateReplicated(1, topics...) }

// CreateReplicated creates topics with three partitions and the given number of replicas, and waits until the broker
// knows the leaders of the partitions. It repeats its request, because no topic can be created while a broker's
// heartbeat is late, as on a busy machine.
func (b *Broker) CreateReplicated(replicas int, topics ...string) {
	b.t.Helper()
	b.asked(fmt.Sprint("topics are created: ", topics), func(ctx context.Context, c *kafka.Client) (any, bool, error) {
		r := &kafka.CreateTopicsRequest{}
		for _, topic := range topics {
			r.Topics = append(r.Topics, kafka.TopicConfig{Topic: topic, NumPartitions: 3, ReplicationFactor: replicas})
		}
		res, err := c.CreateTopics(ctx, r)
		if err != nil {
			return nil, false, err
		}
		for topic, err := range res.Errors { // if the response to an earlier request was late, the topic exists already
			if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
				return nil, false, fmt.Errorf("%s: %w", topic, err)
			}
		}
		return nil, true, nil
	})
	b.asked(fmt.Sprint("partitions have leaders: ", topics), func(ctx context.Context, c *kafka.Client) (any, bool, error) {
		m, err := c.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
		if err != nil {
			return nil, false, err
		}
		led := 0
		for _, topic := range m.Topics {
			for _, p := range topic.Partitions {
				if topic.Error == nil && p.Error == nil && p.Leader.ID > 0 && len(p.Isr) == replicas {
					led++
				}
			}
		}
		return m.Topics, led == 3*len(topics), nil
	})
}

// Allow grants Write and Describe on all topics that begin with prefix to principals, and revokes both rights from
// everybody else. It waits until the broker knows the change.
func (b *Broker) Allow(prefix string, principals ...string) {
	b.t.Helper()
	b.Admin(func(ctx context.Context, c *kafka.Client) error {
		filter := kafka.DeleteACLsFilter{
			ResourceTypeFilter: kafka.ResourceTypeTopic, ResourceNameFilter: prefix, ResourcePatternTypeFilter: kafka.PatternTypePrefixed,
			Operation: kafka.ACLOperationTypeAny, PermissionType: kafka.ACLPermissionTypeAny,
		}
		r := &kafka.CreateACLsRequest{}
		for _, p := range append(principals, "User:nobody") { // nobody has a rule too, because a topic without any rule is open to everybody
			for _, operation := range []kafka.ACLOperationType{kafka.ACLOperationTypeWrite, kafka.ACLOperationTypeDescribe} {
				r.ACLs = append(r.ACLs, kafka.ACLEntry{
					ResourceType: kafka.ResourceTypeTopic, ResourceName: prefix, ResourcePatternType: kafka.PatternTypePrefixed,
					Principal: p, Host: "*", Operation: operation, PermissionType: kafka.ACLPermissionTypeAllow,
				})
			}
		}
		made, err := c.CreateACLs(ctx, &kafka.CreateACLsRequest{ACLs: r.ACLs[len(r.ACLs)-2:]})
		if err == nil {
			_, err = c.DeleteACLs(ctx, &kafka.DeleteACLsRequest{Filters: []kafka.DeleteACLsFilter{filter}})
		}
		if err == nil {
			made, err = c.CreateACLs(ctx, r)
		}
		if err != nil {
			return err
		}
		return errors.Join(made.Errors...)
	})
	b.Knows(kafka.ACLFilter{
		ResourceTypeFilter: kafka.ResourceTypeTopic, ResourceNameFilter: prefix, ResourcePatternTypeFilter: kafka.PatternTypePrefixed,
		Operation: kafka.ACLOperationTypeAny, PermissionType: kafka.ACLPermissionTypeAny,
	}, 2*(len(principals)+1))
}

// Knows waits until the broker's own authorizer knows the given number of access rules that match filter.
func (b *Broker) Knows(filter kafka.ACLFilter, rules int) {
	b.t.Helper()
	b.asked("the broker knows the access rules", func(ctx context.Context, c *kafka.Client) (any, bool, error) {
		res, err := c.DescribeACLs(ctx, &kafka.DescribeACLsRequest{Filter: filter})
		if err != nil {
			return nil, false, err
		}
		n := 0
		for _, r := range res.Resources {
			n += len(r.ACLs)
		}
		return res.Resources, n == rules, res.Error
	})
}

// Grant adds one access rule and waits until the broker knows it.
func (b *Broker) Grant(rule kafka.ACLEntry) {
	b.t.Helper()
	b.Admin(func(ctx context.Context, c *kafka.Client) error {
		made, err := c.CreateACLs(ctx, &kafka.CreateACLsRequest{ACLs: []kafka.ACLEntry{rule}})
		if err != nil {
			return err
		}
		return errors.Join(made.Errors...)
	})
	b.Knows(kafka.ACLFilter{
		ResourceTypeFilter: rule.ResourceType, ResourceNameFilter: rule.ResourceName, ResourcePatternTypeFilter: rule.ResourcePatternType,
		PrincipalFilter: rule.Principal, HostFilter: rule.Host, Operation: rule.Operation, PermissionType: rule.PermissionType,
	}, 1)
}

// Quota bounds how many bytes per second a client may produce; 0 removes the bound. client is its client id.
func (b *Broker) Quota(client string, bytesPerSecond int) {
	b.t.Helper()
	b.Admin(func(ctx context.Context, c *kafka.Client) error {
		res, err := c.AlterClientQuotas(ctx, &kafka.AlterClientQuotasRequest{Entries: []kafka.AlterClientQuotaEntry{{
			Entities: []kafka.AlterClientQuotaEntity{{EntityType: "client-id", EntityName: client}},
			Ops:      []kafka.AlterClientQuotaOps{{Key: "producer_byte_rate", Value: float64(bytesPerSecond), Remove: bytesPerSecond == 0}},
		}}})
		if err != nil {
			return err
		}
		return res.Entries[0].Error
	})
}

// SetPassword sets the password of a user for SCRAM-SHA-512 (RFC 5802).
func (b *Broker) SetPassword(user, password string) {
	b.t.Helper()
	const iterations = 4096
	salt := []byte("of a test")
	salted, err := pbkdf2.Key(sha512.New, password, salt, iterations, sha512.Size)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Admin(func(ctx context.Context, c *kafka.Client) error {
		res, err := c.AlterUserScramCredentials(ctx, &kafka.AlterUserScramCredentialsRequest{Upsertions: []kafka.UserScramCredentialsUpsertion{{
			Name: user, Mechanism: kafka.ScramMechanismSha512, Iterations: iterations, Salt: salt, SaltedPassword: salted,
		}}})
		if err != nil {
			return err
		}
		return res.Results[0].Error
	})
}

// Delete deletes topics and waits until the broker no longer knows them.
func (b *Broker) Delete(topics ...string) {
	b.t.Helper()
	b.Admin(func(ctx context.Context, c *kafka.Client) error {
		res, err := c.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: topics})
		if err != nil {
			return err
		}
		for topic, err := range res.Errors {
			if err != nil {
				return fmt.Errorf("%s: %w", topic, err)
			}
		}
		return nil
	})
	b.asked(fmt.Sprint("topics are gone: ", topics), func(ctx context.Context, c *kafka.Client) (any, bool, error) {
		m, err := c.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
		if err != nil {
			return nil, false, err
		}
		gone := 0
		for _, topic := range m.Topics {
			if errors.Is(topic.Error, kafka.UnknownTopicOrPartition) {
				gone++
			}
		}
		return m.Topics, gone == len(topics), nil
	})
}

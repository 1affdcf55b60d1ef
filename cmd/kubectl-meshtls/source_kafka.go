package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/spf13/cobra"

	"github.com/meshtls-tap/meshtls-tap/internal/offline"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
)

// kafkaFlags are the flags about brokers and topics. Their names follow the tap's variables.
type kafkaFlags struct {
	brokers, topics       []string
	tls                   bool
	ca, cert, key, server string
	sasl                  sink.SASLConfig
}

func (k *kafkaFlags) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&k.brokers, "kafka-brokers", nil, "addresses of brokers as HOST:PORT, for --from kafka")
	f.StringSliceVar(&k.topics, "kafka-topics", []string{"meshtls-tap.posture", "meshtls-tap.findings", "meshtls-tap.flows"}, "topics to read; topics that do not exist are skipped")
	f.BoolVar(&k.tls, "kafka-tls", false, "connect with TLS")
	f.StringVar(&k.ca, "kafka-ca-file", "", "PEM file of the certificate authorities to trust; default: the system's")
	f.StringVar(&k.cert, "kafka-cert-file", "", "PEM file of the client certificate")
	f.StringVar(&k.key, "kafka-key-file", "", "PEM file of the client certificate's private key")
	f.StringVar(&k.server, "kafka-server-name", "", "name in the brokers' certificates, if it is not the host connected to")
	f.StringVar(&k.sasl.Mechanism, "kafka-sasl", "", "SASL mechanism: plain, scram-sha-256, scram-sha-512 or oauthbearer")
	f.StringVar(&k.sasl.Username, "kafka-username", "", "SASL user name")
	f.StringVar(&k.sasl.PasswordFile, "kafka-password-file", "", "file with the SASL password")
	f.StringVar(&k.sasl.TokenFile, "kafka-token-file", "", "file with the token for oauthbearer")
}

// check returns a usage error about the flags. used reports whether Kafka is the source.
func (k *kafkaFlags) check(used bool) error {
	switch {
	case !used && len(k.brokers) > 0:
		return usageErrorf("--kafka-brokers is set, but --from is not kafka: expected --from=kafka too")
	case !used:
		return nil
	case len(k.brokers) == 0:
		return usageErrorf("--from=kafka needs --kafka-brokers=HOST:PORT")
	case len(k.topics) == 0:
		return usageErrorf("--kafka-topics: expected the name of a topic")
	case (k.cert == "") != (k.key == ""):
		return usageErrorf("--kafka-cert-file and --kafka-key-file: expected both or neither")
	case !k.tls && k.ca+k.cert+k.server != "":
		return usageErrorf("--kafka-ca-file, --kafka-cert-file and --kafka-server-name need --kafka-tls")
	}
	return nil
}

// timeLimit bounds one request to a broker. A partition that sends nothing for as long has no further records.
const timeLimit = 20 * time.Second

// maxMessage bounds a message, in bytes.
const maxMessage = 4 << 20

// dialer returns the dialer of the flags.
func (k *kafkaFlags) dialer() (*kafka.Dialer, error) {
	d := &kafka.Dialer{ClientID: "kubectl-meshtls", Timeout: timeLimit, DualStack: true}
	if k.tls {
		d.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: k.server}
		if k.ca != "" {
			pem, err := os.ReadFile(k.ca)
			if err != nil {
				return nil, fmt.Errorf("--kafka-ca-file: %w", err)
			}
			d.TLS.RootCAs = x509.NewCertPool()
			if !d.TLS.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("--kafka-ca-file=%s: no certificate in it: expected PEM", k.ca)
			}
		}
		if k.cert != "" {
			pair, err := tls.LoadX509KeyPair(k.cert, k.key)
			if err != nil {
				return nil, fmt.Errorf("--kafka-cert-file: %w", err)
			}
			d.TLS.Certificates = []tls.Certificate{pair}
		}
	}
	if k.sasl.Mechanism != "" {
		login, err := sink.NewLogin(k.sasl)
		if err != nil {
			return nil, usageErrorf("--kafka-sasl: %w", err)
		}
		d.SASLMechanism = login
	}
	return d, nil
}

// read reads the topics from the time since before now, or from their start if since is 0, up to their ends at the time of the call. missing has what
// could not be read, and notes which topics do not exist, a sentence each. The error means that no partition could be read to its end.
func (k *kafkaFlags) read(ctx context.Context, since time.Duration, now time.Time, add func(*record.Record)) (notes, missing []string, err error) {
	d, err := k.dialer()
	if err != nil {
		return nil, nil, err
	}
	partitions, notes, missing, err := k.partitions(ctx, d)
	if err != nil {
		return nil, nil, fmt.Errorf("kafka brokers %s: %w", strings.Join(k.brokers, ", "), err)
	}
	if len(partitions) == 0 {
		return nil, nil, fmt.Errorf("none of the topics %s exists, or you may not describe them: check --kafka-topics and the user's rights", strings.Join(k.topics, ", "))
	}
	wrong, failed := 0, 0
	var last error
	for i := range partitions {
		p := &partitions[i]
		n, err := readPartition(ctx, d, p, since, now, add)
		wrong += n
		if err != nil {
			failed, last = failed+1, err
			missing = append(missing, fmt.Sprintf("Partition %d of the topic %s could not be read to its end: %v.", p.ID, p.Topic, err))
		}
	}
	if wrong > 0 {
		missing = append(missing, choose(wrong, "1 message in the topics is not a record of meshtls-tap.", fmt.Sprintf("%d messages in the topics are not records of meshtls-tap.", wrong)))
	}
	if failed == len(partitions) {
		return notes, missing, fmt.Errorf("no partition could be read to its end: %w", last)
	}
	return notes, missing, nil
}

// partitions returns the partitions of the topics, from the first broker that answers. notes has the topics that do not exist, and missing those that
// could not be asked for, a sentence each.
func (k *kafkaFlags) partitions(ctx context.Context, d *kafka.Dialer) (all []kafka.Partition, notes, missing []string, err error) {
	var errs []error
	for _, broker := range k.brokers {
		c, err := d.DialContext(ctx, "tcp", broker)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		_ = c.SetDeadline(time.Now().Add(timeLimit)) // an error shows at the next request
		all, notes, missing = nil, nil, nil
		var failed []error
		for _, topic := range k.topics {
			found, err := c.ReadPartitions(topic)
			switch {
			case errors.Is(err, kafka.UnknownTopicOrPartition) || err == nil && len(found) == 0:
				notes = append(notes, fmt.Sprintf("The topic %s does not exist, or you may not describe it: its records were not read.", topic))
			case errors.Is(err, kafka.TopicAuthorizationFailed):
				missing = append(missing, fmt.Sprintf("You may not read the topic %s: its records were not read.", topic))
			case err != nil:
				failed = append(failed, fmt.Errorf("topic %s: %w", topic, err))
				missing = append(missing, fmt.Sprintf("The topic %s could not be read: %v.", topic, err))
			}
			all = append(all, found...)
		}
		c.Close()
		if errs = append(errs, failed...); len(all) > 0 || len(errs) == 0 {
			return all, notes, missing, nil
		}
	}
	return nil, nil, nil, errors.Join(errs...)
}

// readPartition reads a partition. It returns how many messages are not records.
func readPartition(ctx context.Context, d *kafka.Dialer, p *kafka.Partition, since time.Duration, now time.Time, add func(*record.Record)) (wrong int, err error) {
	c, err := d.DialPartition(ctx, "tcp", net.JoinHostPort(p.Leader.Host, strconv.Itoa(p.Leader.Port)), *p)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	limit := func() { _ = c.SetDeadline(time.Now().Add(timeLimit)) } // an error shows at the next request
	limit()
	at, end, err := c.ReadOffsets()
	if err == nil && since > 0 {
		var later int64
		if later, err = c.ReadOffset(now.Add(-since)); later >= 0 {
			at = later
		} else {
			at = end // the broker knows no message of that time
		}
	}
	if err != nil {
		return 0, err
	}
	for at < end {
		limit()
		if _, err := c.Seek(at, kafka.SeekAbsolute|kafka.SeekDontCheck); err != nil {
			return wrong, err
		}
		next, n, err := readBatch(c, at, end, add)
		wrong += n
		switch {
		case err != nil:
			return wrong, errors.Join(ctx.Err(), err)
		case next <= at:
			return wrong, fmt.Errorf("no message between the offsets %d and %d within %s", at, end, timeLimit)
		}
		at = next
	}
	return wrong, nil
}

// readBatch reads the messages of one response, from offset at to before end. It returns the offset after the last.
func readBatch(c *kafka.Conn, at, end int64, add func(*record.Record)) (next int64, wrong int, err error) {
	batch := c.ReadBatchWith(kafka.ReadBatchConfig{MinBytes: 1, MaxBytes: maxMessage, MaxWait: time.Second})
	next = at
	for next < end {
		m, err := batch.ReadMessage()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrShortBuffer) {
			break
		}
		if err != nil {
			return next, wrong, errors.Join(err, batch.Close())
		}
		next = m.Offset + 1
		if m.Offset >= end || len(m.Value) == 0 { // a tombstone has no value
			continue
		}
		r, err := offline.Parse(m.Value)
		if err != nil {
			wrong++
			continue
		}
		add(r)
	}
	if err := batch.Close(); err != nil && !slices.ContainsFunc([]error{io.EOF, io.ErrShortBuffer}, func(e error) bool { return errors.Is(err, e) }) {
		return next, wrong, err
	}
	return next, wrong, nil
}

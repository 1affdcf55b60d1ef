package sink

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/ownsockets"
	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// The tap's environment variables, as errors and reasons name them.
const (
	settingBrokers       = "TAP_KAFKA_BROKERS"
	settingTopic         = "TAP_KAFKA_TOPIC"
	settingPostureTopic  = "TAP_KAFKA_POSTURE_TOPIC"
	settingFlowsTopic    = "TAP_KAFKA_FLOWS_TOPIC"
	settingEvidenceTopic = "TAP_KAFKA_EVIDENCE_TOPIC"
	settingCompression   = "TAP_KAFKA_COMPRESSION"
	settingBatchTimeout  = "TAP_KAFKA_BATCH_TIMEOUT"
	settingBatchSize     = "TAP_KAFKA_BATCH_SIZE"
	settingBatchBytes    = "TAP_KAFKA_BATCH_BYTES"
	settingTLS           = "TAP_KAFKA_TLS"
	settingTLSCAFile     = "TAP_KAFKA_TLS_CA_FILE"
	settingTLSCertFile   = "TAP_KAFKA_TLS_CERT_FILE"
	settingTLSKeyFile    = "TAP_KAFKA_TLS_KEY_FILE"
	settingTLSServerName = "TAP_KAFKA_TLS_SERVER_NAME"
	settingSASLMechanism = "TAP_KAFKA_SASL_MECHANISM"
	settingSASLUsername  = "TAP_KAFKA_SASL_USERNAME"
	settingSASLPassword  = "TAP_KAFKA_SASL_PASSWORD"
	settingSASLFile      = "TAP_KAFKA_SASL_PASSWORD_FILE"
	settingSASLTokenFile = "TAP_KAFKA_SASL_TOKEN_FILE"
	settingSpoolDir      = "TAP_SPOOL_DIR"
)

// KafkaConfig configures a Kafka sink. Only Brokers is required.
type KafkaConfig struct {
	Brokers []string // host:port, IPv6 in brackets; each of them knows all brokers of the cluster

	FindingsTopic string // for the dataset Finding; default meshtls-tap.findings
	PostureTopic  string // for the datasets Posture and Tap; default meshtls-tap.posture
	FlowsTopic    string // for the dataset Flow; default meshtls-tap.flows
	EvidenceTopic string // for the dataset Evidence, a topic of its own; empty: none, and Put must not get such records

	TLS  *TLSConfig  // nil: no TLS
	SASL *SASLConfig // nil: no authentication except by a TLS client certificate

	BatchTimeout time.Duration // how long a record waits for its batch to fill; default 100 ms
	BatchSize    int           // most records in one batch; default 2000
	BatchBytes   int           // most bytes of one request to a partition; default 1,000,000
	Compression  string        // zstd (default), lz4, snappy, gzip or none
	ClientID     string        // default meshtls-tap
	Schema       string        // value of the header "schema"; default 1

	QueueRecords int // most records in memory; see buffer.Config
	QueueBytes   int

	Spool *buffer.SpoolConfig // nil: records wait only in memory

	// Seed (the pod's UID) determines this sink's moment within every period of length Spread, so
	// that the taps of a fleet do not connect at the same time. After the sink has failed to
	// connect for some seconds, it retries only at that moment. While an alert waits, it retries
	// earlier. The first connection is delayed by at most a twelfth of Spread. A Spread of 0 delays
	// nothing.
	Seed   string
	Spread time.Duration

	Sockets *ownsockets.Sockets // opens the sink's connections; nil: the sink creates its own Sockets

	// Times between attempts. After an error that may pass by itself, they double from MinBackoff
	// (default 200 ms) to MaxBackoff (10 s). After an error that somebody has to fix, they are
	// SlowBackoff (30 s). Each time is varied at random, by at most half of it.
	MinBackoff, MaxBackoff, SlowBackoff time.Duration

	// IOTimeout bounds the time for a response of the broker (default 30 s). If the broker is
	// slower, it may already have stored the records that the sink then sends again.
	IOTimeout time.Duration

	Log *slog.Logger // reports each change of Status once; nil: none
}

// TLSConfig configures TLS (1.2 or newer) to the brokers. Files are read again for each
// connection, so that they can be renewed.
type TLSConfig struct {
	CAFile     string // PEM certificates to trust; empty: the system's
	CertFile   string // client certificate, PEM, with KeyFile; empty: none
	KeyFile    string
	ServerName string // the name in the broker's certificate; empty: the host that the sink connects to
}

// SASLConfig configures the login.
type SASLConfig struct {
	Mechanism    string // plain, scram-sha-256, scram-sha-512 or oauthbearer
	Username     string
	Password     string // either Password or PasswordFile
	PasswordFile string // read again for each connection; one line break at its end is ignored
	TokenFile    string // token for oauthbearer, in place of the three fields above; read again for each connection
}

func (s *SASLConfig) bearer() bool { return strings.EqualFold(s.Mechanism, "oauthbearer") }

// withDefaults returns the configuration with its zero values filled in.
func (c KafkaConfig) withDefaults() KafkaConfig {
	setDefault(&c.FindingsTopic, "meshtls-tap.findings")
	setDefault(&c.PostureTopic, "meshtls-tap.posture")
	setDefault(&c.FlowsTopic, "meshtls-tap.flows")
	setDefault(&c.BatchTimeout, 100*time.Millisecond)
	setDefault(&c.BatchSize, 2000)
	setDefault(&c.BatchBytes, 1_000_000)
	setDefault(&c.Compression, "zstd")
	setDefault(&c.ClientID, "meshtls-tap")
	setDefault(&c.Schema, "1")
	setDefault(&c.MinBackoff, 200*time.Millisecond)
	setDefault(&c.MaxBackoff, 10*time.Second)
	setDefault(&c.SlowBackoff, 30*time.Second)
	setDefault(&c.IOTimeout, 30*time.Second)
	if c.Sockets == nil {
		c.Sockets = &ownsockets.Sockets{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// check returns the first error as one line. The line names the setting, its value and the expected
// kind of value. check does not read files, because they may be created later.
func (c *KafkaConfig) check() error {
	invalid := func(setting, value, expected string) error {
		return fmt.Errorf("%s: %q: expected %s", setting, value, expected)
	}
	if len(c.Brokers) == 0 {
		return invalid(settingBrokers, "", "a list of host:port")
	}
	for _, b := range c.Brokers {
		if !validBroker(b) {
			if all := strings.Join(c.Brokers, ","); strings.Contains(all, "@") { // b may be a part of a password with a comma
				b = variables.WithoutLogin(all)
			}
			return invalid(settingBrokers, b, "host:port, such as kafka.example.org:9092 or [2001:db8::1]:9092")
		}
	}
	for setting, topic := range map[string]string{
		settingTopic: c.FindingsTopic, settingPostureTopic: c.PostureTopic, settingFlowsTopic: c.FlowsTopic,
	} {
		if !validTopic(topic) {
			return invalid(setting, topic, "1 to 249 of a-z A-Z 0-9 . _ -")
		}
	}

	switch name := c.EvidenceTopic; {
	case name == "":
	case !validTopic(name):
		return invalid(settingEvidenceTopic, name, "1 to 249 of a-z A-Z 0-9 . _ -, or none")
	case name == c.FindingsTopic, name == c.PostureTopic, name == c.FlowsTopic:
		return invalid(settingEvidenceTopic, name, "a topic of its own, because evidence is not JSON")
	}
	if _, ok := codec(c.Compression); !ok {
		return invalid(settingCompression, c.Compression, "zstd, lz4, snappy, gzip or none")
	}
	switch {
	case c.BatchTimeout < 0:
		return invalid(settingBatchTimeout, c.BatchTimeout.String(), "a duration such as 100ms")
	case c.BatchSize < 0:
		return invalid(settingBatchSize, strconv.Itoa(c.BatchSize), "a number of records of at least 1")
	case c.BatchBytes < 0:
		return invalid(settingBatchBytes, strconv.Itoa(c.BatchBytes), "a number of bytes of at least 1")
	}
	return errors.Join(c.checkTLS(), c.checkSASL())
}

func (c *KafkaConfig) checkTLS() error {
	if c.TLS != nil && (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return fmt.Errorf("%s and %s: expected both or none", settingTLSCertFile, settingTLSKeyFile)
	}
	return nil
}

func (c *KafkaConfig) checkSASL() error {
	s := c.SASL
	if s == nil {
		return nil
	}
	if _, ok := mechanisms()[strings.ToLower(s.Mechanism)]; !ok {
		return fmt.Errorf("%s: %q: expected plain, scram-sha-256, scram-sha-512 or oauthbearer", settingSASLMechanism, s.Mechanism)
	}

	if s.bearer() {
		if s.TokenFile == "" {
			return fmt.Errorf("%s: expected a file, because %s is oauthbearer", settingSASLTokenFile, settingSASLMechanism)
		}
		return nil
	}
	if s.Username == "" {
		return fmt.Errorf("%s: expected a name, because %s is set", settingSASLUsername, settingSASLMechanism)
	}
	if (s.Password == "") == (s.PasswordFile == "") {
		return fmt.Errorf("%s and %s: expected one of them", settingSASLPassword, settingSASLFile)
	}
	return nil
}

func validBroker(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(host, "/, @") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// validTopic applies Kafka's own rule for names of topics (org.apache.kafka.common.internals.Topic).
func validTopic(name string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	return name != "" && len(name) <= 249 && strings.Trim(name, allowed) == "" && name != "." && name != ".."
}

func codec(name string) (kafka.Compression, bool) {
	c, ok := map[string]kafka.Compression{
		"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
	}[strings.ToLower(name)]
	return c, ok
}

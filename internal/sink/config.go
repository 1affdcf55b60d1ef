package sink

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// The settings as errors and reasons name them: the tap's environment variables. A caller
// with other names for them gives KafkaConfig.Names.
const (
	SettingBrokers       = "TAP_KAFKA_BROKERS"
	SettingTopic         = "TAP_KAFKA_TOPIC"
	SettingPostureTopic  = "TAP_KAFKA_POSTURE_TOPIC"
	SettingFlowsTopic    = "TAP_KAFKA_FLOWS_TOPIC"
	SettingCompression   = "TAP_KAFKA_COMPRESSION"
	SettingBatchTimeout  = "TAP_KAFKA_BATCH_TIMEOUT"
	SettingBatchSize     = "TAP_KAFKA_BATCH_SIZE"
	SettingBatchBytes    = "TAP_KAFKA_BATCH_BYTES"
	SettingTLS           = "TAP_KAFKA_TLS"
	SettingTLSCAFile     = "TAP_KAFKA_TLS_CA_FILE"
	SettingTLSCertFile   = "TAP_KAFKA_TLS_CERT_FILE"
	SettingTLSKeyFile    = "TAP_KAFKA_TLS_KEY_FILE"
	SettingTLSServerName = "TAP_KAFKA_TLS_SERVER_NAME"
	SettingSASLMechanism = "TAP_KAFKA_SASL_MECHANISM"
	SettingSASLUsername  = "TAP_KAFKA_SASL_USERNAME"
	SettingSASLPassword  = "TAP_KAFKA_SASL_PASSWORD"
	SettingSASLFile      = "TAP_KAFKA_SASL_PASSWORD_FILE"
	SettingSASLTokenFile = "TAP_KAFKA_SASL_TOKEN_FILE"
	SettingSpoolDir      = "TAP_SPOOL_DIR"
)

// KafkaConfig says where records go and how. Only Brokers must be given.
type KafkaConfig struct {
	Brokers []string // host:port, IPv6 in brackets; any of them tells about the others

	FindingsTopic string // of Finding; default meshtls-tap.findings
	PostureTopic  string // of Posture and Tap; default meshtls-tap.posture
	FlowsTopic    string // of Flow; default meshtls-tap.flows

	TLS  *TLSConfig  // nil: no TLS
	SASL *SASLConfig // nil: no authentication but TLS's

	BatchTimeout time.Duration // how long a record waits for company; default 100 ms
	BatchSize    int           // records in one batch at most; default 2000
	BatchBytes   int           // bytes of one request to a partition at most; default 1,000,000
	Compression  string        // zstd (default), lz4, snappy, gzip or none
	ClientID     string        // default meshtls-tap
	Schema       string        // value of the header "schema"; default 1

	QueueRecords int // see NewQueue
	QueueBytes   int

	Spool *SpoolConfig // nil: records wait in memory alone

	// A fleet must not storm the brokers. Seed tells this sink from others (the pod's UID):
	// its share of Spread is when it tries again after it could not connect for seconds
	// (sooner while an alert waits), and a twelfth of that is when it connects at first.
	// 0 spreads nothing.
	Seed   string
	Spread time.Duration

	Sockets *Sockets // gets to know the sink's own connections; nil: nobody asks

	// Waits between attempts: from MinBackoff (200 ms) doubling to MaxBackoff (10 s) where
	// the fault may pass by itself, SlowBackoff (30 s) where somebody has to change
	// something. Each is spread by up to a half either way.
	MinBackoff, MaxBackoff, SlowBackoff time.Duration

	// IOTimeout is how long an answer of the broker may take (30 s). A broker that is
	// slower than that may have kept what is then sent again.
	IOTimeout time.Duration

	Log   *slog.Logger      // told of each change of Status once; nil: nobody is
	Names map[string]string // from a Setting constant to the caller's name of it
}

// TLSConfig is how to speak TLS (1.2 or newer) to the brokers. Files are read again for
// each connection, so that they can be renewed.
type TLSConfig struct {
	CAFile     string // PEM certificates to trust; empty: the system's
	CertFile   string // client certificate, PEM, with KeyFile; empty: none
	KeyFile    string
	ServerName string // the name in the broker's certificate; empty: the host connected to
}

// SASLConfig is how to authenticate.
type SASLConfig struct {
	Mechanism    string // plain, scram-sha-256, scram-sha-512 or oauthbearer
	Username     string
	Password     string // or
	PasswordFile string // read again for each connection; one line break at its end is dropped
	TokenFile    string // of oauthbearer, in place of the three above; read again for each connection
}

func (s *SASLConfig) bearer() bool { return strings.EqualFold(s.Mechanism, "oauthbearer") }

// topics returns the names of the topics, each once.
func (c *KafkaConfig) topics() []string {
	all := []string{c.FindingsTopic, c.PostureTopic, c.FlowsTopic}
	slices.Sort(all)
	return slices.Compact(all)
}

// withDefaults returns the configuration with its zero values filled in.
func (c KafkaConfig) withDefaults() KafkaConfig {
	def(&c.FindingsTopic, "meshtls-tap.findings")
	def(&c.PostureTopic, "meshtls-tap.posture")
	def(&c.FlowsTopic, "meshtls-tap.flows")
	def(&c.BatchTimeout, 100*time.Millisecond)
	def(&c.BatchSize, 2000)
	def(&c.BatchBytes, 1_000_000)
	def(&c.Compression, "zstd")
	def(&c.ClientID, "meshtls-tap")
	def(&c.Schema, "1")
	def(&c.MinBackoff, 200*time.Millisecond)
	def(&c.MaxBackoff, 10*time.Second)
	def(&c.SlowBackoff, 30*time.Second)
	def(&c.IOTimeout, 30*time.Second)
	if c.Sockets == nil {
		c.Sockets = &Sockets{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// name returns what the caller calls a setting.
func (c *KafkaConfig) name(setting string) string {
	if n, ok := c.Names[setting]; ok {
		return n
	}
	return setting
}

// check returns the first fault as one line that names the setting, its value and what
// was expected. Files are not looked at: they may come later.
func (c *KafkaConfig) check() error {
	fault := func(setting, value, expected string) error {
		return fmt.Errorf("%s: %q: expected %s", c.name(setting), value, expected)
	}
	if len(c.Brokers) == 0 {
		return fault(SettingBrokers, "", "a list of host:port")
	}
	for _, b := range c.Brokers {
		if !validBroker(b) {
			return fault(SettingBrokers, b, "host:port, such as kafka.example.org:9092 or [2001:db8::1]:9092")
		}
	}
	for setting, topic := range map[string]string{
		SettingTopic: c.FindingsTopic, SettingPostureTopic: c.PostureTopic, SettingFlowsTopic: c.FlowsTopic,
	} {
		if !validTopic(topic) {
			return fault(setting, topic, "1 to 249 of a-z A-Z 0-9 . _ -")
		}
	}
	if _, ok := codec(c.Compression); !ok {
		return fault(SettingCompression, c.Compression, "zstd, lz4, snappy, gzip or none")
	}
	switch {
	case c.BatchTimeout < 0:
		return fault(SettingBatchTimeout, c.BatchTimeout.String(), "a duration such as 100ms")
	case c.BatchSize < 0:
		return fault(SettingBatchSize, strconv.Itoa(c.BatchSize), "a number of records from 1 on")
	case c.BatchBytes < 0:
		return fault(SettingBatchBytes, strconv.Itoa(c.BatchBytes), "a number of bytes from 1 on")
	}
	return errors.Join(c.checkTLS(), c.checkSASL())
}

func (c *KafkaConfig) checkTLS() error {
	if c.TLS != nil && (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return fmt.Errorf("%s and %s: expected both or none", c.name(SettingTLSCertFile), c.name(SettingTLSKeyFile))
	}
	return nil
}

func (c *KafkaConfig) checkSASL() error {
	s := c.SASL
	if s == nil {
		return nil
	}
	if _, ok := mechanisms()[strings.ToLower(s.Mechanism)]; !ok {
		return fmt.Errorf("%s: %q: expected plain, scram-sha-256, scram-sha-512 or oauthbearer", c.name(SettingSASLMechanism), s.Mechanism)
	}
	if s.bearer() {
		if s.TokenFile == "" {
			return fmt.Errorf("%s: expected a file, as %s is oauthbearer", c.name(SettingSASLTokenFile), c.name(SettingSASLMechanism))
		}
		return nil
	}
	if s.Username == "" {
		return fmt.Errorf("%s: expected a name, as %s is set", c.name(SettingSASLUsername), c.name(SettingSASLMechanism))
	}
	if (s.Password == "") == (s.PasswordFile == "") {
		return fmt.Errorf("%s and %s: expected one of them", c.name(SettingSASLPassword), c.name(SettingSASLFile))
	}
	return nil
}

func validBroker(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(host, "/, ") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// validTopic is Kafka's own rule (org.apache.kafka.common.internals.Topic).
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

package sink

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
	"strings"
	"syscall"

	"github.com/segmentio/kafka-go"
)

// fault is what a failed attempt means.
type fault struct {
	class  string // one of the Fault constants
	reason string // one line with the setting to look at
	slow   bool   // somebody has to change something: no use to hurry
	topic  bool   // concerns one topic, not the cluster
	stale  bool   // perhaps only a connection that the broker closed long ago
}

// diagnose finds out what err, from an attempt to write to topic, means.
func (c *client) diagnose(err error, topic string) fault {
	for _, try := range []func(error, string) (fault, bool){c.fileFault, c.brokerFault, c.tlsFault, c.networkFault} {
		if f, ok := try(err, topic); ok {
			return f
		}
	}
	return fault{class: FaultOther, reason: c.say("the attempt failed: %v", err)}
}

// say makes a reason, on one line, with the brokers in front.
func (c *client) say(format string, args ...any) string {
	s := fmt.Sprintf("kafka %s: ", strings.Join(c.cfg.Brokers, ",")) + fmt.Sprintf(format, args...)
	return strings.Join(strings.Fields(s), " ")
}

func (c *client) fileFault(err error, _ string) (fault, bool) {
	if f, ok := errors.AsType[*errFile](err); ok {
		return fault{class: FaultFile, slow: true, reason: c.say("%v: see %s", f.err, c.cfg.name(f.setting))}, true
	}
	if p, ok := errors.AsType[*errPassword](err); ok {
		return fault{class: FaultFile, slow: true, reason: c.say("%v: see %s", p.err, c.cfg.name(c.passwordSetting()))}, true
	}
	return fault{}, false
}

// brokerFault knows the error codes of the protocol.
func (c *client) brokerFault(err error, topic string) (fault, bool) {
	if errors.Is(err, errServer) {
		return fault{class: FaultLogin, slow: true, reason: c.say("%v: see %s", err, c.cfg.name(SettingSASLMechanism))}, true
	}
	code, ok := errors.AsType[kafka.Error](err)
	if !ok {
		return fault{}, false
	}
	setting := c.cfg.name(c.topicSetting(topic))
	switch code {
	case kafka.SASLAuthenticationFailed:
		if s := c.cfg.SASL; s != nil && s.bearer() {
			return fault{class: FaultLogin, slow: true, reason: c.say("the broker refused the token (%s): see %s, and the broker's expected issuer and audience",
				describeToken(s.TokenFile), c.cfg.name(SettingSASLTokenFile))}, true
		}
		return fault{class: FaultLogin, slow: true, reason: c.say("the broker refused the user name or password: see %s and %s",
			c.cfg.name(SettingSASLUsername), c.cfg.name(c.passwordSetting()))}, true
	case kafka.UnsupportedSASLMechanism, kafka.IllegalSASLState:
		return fault{class: FaultLogin, slow: true, reason: c.say("the broker does not offer this SASL mechanism on this port: see %s and %s",
			c.cfg.name(SettingSASLMechanism), c.cfg.name(SettingBrokers))}, true
	case kafka.UnknownTopicOrPartition:
		return fault{class: FaultTopic, slow: true, topic: true, reason: c.say("topic %q does not exist or may not be described: create it or see %s", topic, setting)}, true
	case kafka.InvalidTopic:
		return fault{class: FaultTopic, slow: true, topic: true, reason: c.say("the broker does not take the topic name %q: see %s", topic, setting)}, true
	case kafka.TopicAuthorizationFailed:
		return fault{class: FaultAuthorization, slow: true, topic: true, reason: c.say("not authorized to write to topic %q: grant Write and Describe on it, or see %s and %s",
			topic, c.cfg.name(c.userSetting()), setting)}, true
	case kafka.ClusterAuthorizationFailed, kafka.BrokerAuthorizationFailed:
		return fault{class: FaultAuthorization, slow: true, reason: c.say("not authorized on this cluster: see %s", c.cfg.name(c.userSetting()))}, true
	default:
		return fault{class: FaultBroker, topic: true, reason: c.say("topic %q: the broker answered [%d] %s", topic, int(code), code.Title())}, true
	}
}

// userSetting returns the setting that says who the sink is to the brokers.
func (c *client) userSetting() string {
	switch s := c.cfg.SASL; {
	case s == nil && c.cfg.TLS != nil:
		return SettingTLSCertFile
	case s != nil && s.bearer():
		return SettingSASLTokenFile
	}
	return SettingSASLUsername
}

// passwordSetting returns the setting that the password or token comes from.
func (c *client) passwordSetting() string {
	switch s := c.cfg.SASL; {
	case s != nil && s.bearer():
		return SettingSASLTokenFile
	case s != nil && s.PasswordFile != "":
		return SettingSASLFile
	}
	return SettingSASLPassword
}

// tlsFault knows why a handshake fails.
func (c *client) tlsFault(err error, _ string) (fault, bool) {
	verify, invalid := errors.AsType[*tls.CertificateVerificationError](err)
	op, inNet := errors.AsType[*net.OpError](err)
	connect, early := errors.AsType[*errConnect](err)
	_, noise := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case invalid:
		return fault{class: FaultTLS, slow: true, reason: c.say("the broker's certificate is not valid here: %v: see %s", verify.Err, c.cfg.name(verifySetting(verify.Err)))}, true
	case strings.Contains(err.Error(), "expecting TLS"): // kafka-go has no value for it
		return fault{class: FaultTLS, slow: true, reason: c.say("the broker expects TLS on this port: set %s, or see %s", c.cfg.name(SettingTLS), c.cfg.name(SettingBrokers))}, true
	case inNet && op.Op == "remote error":
		return fault{class: FaultTLS, slow: true, reason: c.say("the broker refused the TLS handshake (%v): see %s and %s",
			op.Err, c.cfg.name(SettingTLSCertFile), c.cfg.name(SettingTLSKeyFile))}, true
	case early && connect.tls && (lost(err) || noise):
		// A broker or load balancer that is just starting closes connections too.
		return fault{class: FaultTLS, slow: !lost(err), reason: c.say("the broker does not speak TLS on this port (%v): unset %s, or see %s",
			connect.err, c.cfg.name(SettingTLS), c.cfg.name(SettingBrokers))}, true
	}
	return fault{}, false
}

func verifySetting(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return SettingTLSServerName
	}
	return SettingTLSCAFile
}

// networkFault knows that which mostly passes by itself.
func (c *client) networkFault(err error, _ string) (fault, bool) {
	dns, unresolved := errors.AsType[*net.DNSError](err)
	connect, early := errors.AsType[*errConnect](err)
	brokers := c.cfg.name(SettingBrokers)
	switch {
	case unresolved && early && !slices.Contains(c.cfg.Brokers, connect.address):
		return fault{class: FaultAdvertised, reason: c.say("the brokers say that one of them is %s, a name that cannot be resolved here (%s): see their advertised.listeners",
			connect.address, dns.Err)}, true
	case unresolved:
		return fault{class: FaultName, reason: c.say("the name %q cannot be resolved (%s): see %s", dns.Name, dns.Err, brokers)}, true
	case early && !slices.Contains(c.cfg.Brokers, connect.address):
		return fault{class: FaultAdvertised, reason: c.say("no connection to %v, as which the brokers know one of them: if it is up, see their advertised.listeners", connect)}, true
	case early:
		return fault{class: FaultConnection, reason: c.say("no connection: %v: see %s", connect, brokers)}, true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fault{class: FaultTimeout, reason: c.say("no answer in time")}, true
	case lost(err) && c.cfg.SASL == nil:
		return fault{class: FaultClosed, stale: true, reason: c.say("the broker closed the connection (%v); if this lasts, it may ask for a login: see %s",
			err, c.cfg.name(SettingSASLMechanism))}, true
	case lost(err):
		return fault{class: FaultClosed, stale: true, reason: c.say("the broker closed the connection (%v)", err)}, true
	}
	return fault{}, false
}

// lost reports whether err says no more than that the connection is gone.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// perRecord reports whether err is about the records, not about who sends them, and the
// reason to drop one for that it names.
func perRecord(err error) (reason string, ok bool) {
	switch {
	case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.RecordListTooLarge):
		return DropTooLarge, true
	case errors.Is(err, kafka.InvalidTimestamp):
		return DropBadTime, true
	case errors.Is(err, kafka.InvalidRecord):
		return DropRejected, true
	}
	return "", false
}

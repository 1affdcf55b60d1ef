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

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
)

// deliveryError is the diagnosis of a failed attempt.
type deliveryError struct {
	class    string // one of the class constants
	reason   string // one line that names the setting to check
	slow     bool   // somebody has to change something: retry slowly
	oneTopic bool   // the failure concerns one topic, not the cluster
	stale    bool   // the failure may only mean that the broker closed an idle connection long ago
}

// diagnose explains err, from an attempt to write to topic.
func (c *client) diagnose(err error, topic string) deliveryError {
	for _, try := range []func(error, string) (deliveryError, bool){c.fileError, c.brokerError, c.tlsError, c.networkError} {
		if f, ok := try(err, topic); ok {
			return f
		}
	}
	return deliveryError{class: classOther, reason: c.reasonf("the attempt failed: %v", err)}
}

// reasonf returns a reason on one line. The line starts with the brokers' addresses.
func (c *client) reasonf(format string, args ...any) string {
	s := fmt.Sprintf("kafka %s: ", strings.Join(c.cfg.Brokers, ",")) + fmt.Sprintf(format, args...)
	return strings.Join(strings.Fields(s), " ")
}

// fileError explains files that cannot be used.
func (c *client) fileError(err error, _ string) (deliveryError, bool) {
	if problem := c.fileProblem(err); problem != nil {
		return deliveryError{class: classFile, slow: true, reason: c.reasonf("%v", problem)}, true
	}
	return deliveryError{}, false
}

// brokerError explains the error codes of the protocol.
func (c *client) brokerError(err error, topic string) (deliveryError, bool) {
	if errors.Is(err, errServer) {
		return deliveryError{class: classLogin, slow: true, reason: c.reasonf("%v: see %s", err, settingSASLMechanism)}, true
	}
	code, ok := errors.AsType[kafka.Error](err)
	if !ok {
		return deliveryError{}, false
	}
	setting := c.topicSetting(topic)
	switch code {
	case kafka.SASLAuthenticationFailed:
		if s := c.cfg.SASL; s != nil && s.bearer() {
			return deliveryError{class: classLogin, slow: true, reason: c.reasonf("the broker refused the token (%s): see %s, and the broker's expected issuer and audience",
				describeToken(s.TokenFile), settingSASLTokenFile)}, true
		}
		return deliveryError{class: classLogin, slow: true, reason: c.reasonf("the broker refused the user name or password: see %s and %s",
			settingSASLUsername, c.passwordSetting())}, true
	case kafka.UnsupportedSASLMechanism, kafka.IllegalSASLState:
		return deliveryError{class: classLogin, slow: true, reason: c.reasonf("the broker does not offer this SASL mechanism on this port: see %s and %s",
			settingSASLMechanism, settingBrokers)}, true
	case kafka.UnknownTopicOrPartition:
		return deliveryError{class: classTopic, slow: true, oneTopic: true, reason: c.reasonf("topic %q does not exist or may not be described: create it or see %s", topic, setting)}, true
	case kafka.InvalidTopic:
		return deliveryError{class: classTopic, slow: true, oneTopic: true, reason: c.reasonf("the broker refuses the topic name %q: see %s", topic, setting)}, true
	case kafka.TopicAuthorizationFailed:
		return deliveryError{class: classAuthorization, slow: true, oneTopic: true, reason: c.reasonf("not authorized to write to topic %q: grant Write and Describe on it, or see %s and %s",
			topic, c.userSetting(), setting)}, true
	case kafka.ClusterAuthorizationFailed, kafka.BrokerAuthorizationFailed:
		return deliveryError{class: classAuthorization, slow: true, reason: c.reasonf("not authorized on this cluster: see %s", c.userSetting())}, true
	default:
		return deliveryError{class: classBroker, oneTopic: true, reason: c.reasonf("topic %q: the broker returned error [%d] %s", topic, int(code), code.Title())}, true
	}
}

// userSetting returns the setting that identifies the sink to the brokers.
func (c *client) userSetting() string {
	switch s := c.cfg.SASL; {
	case s == nil && c.cfg.TLS != nil:
		return settingTLSCertFile
	case s != nil && s.bearer():
		return settingSASLTokenFile
	}
	return settingSASLUsername
}

// passwordSetting returns the setting that contains the password or token, or names its file.
func (c *client) passwordSetting() string {
	switch s := c.cfg.SASL; {
	case s != nil && s.bearer():
		return settingSASLTokenFile
	case s != nil && s.PasswordFile != "":
		return settingSASLFile
	}
	return settingSASLPassword
}

// tlsError explains why a handshake failed.
func (c *client) tlsError(err error, _ string) (deliveryError, bool) {
	verify, invalid := errors.AsType[*tls.CertificateVerificationError](err)
	op, inNet := errors.AsType[*net.OpError](err)
	connect, early := errors.AsType[*errConnect](err)
	_, noise := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case invalid:
		return deliveryError{class: classTLS, slow: true, reason: c.reasonf("the broker's certificate is not valid here: %v: see %s", verify.Err, verifySetting(verify.Err))}, true
	case strings.Contains(err.Error(), "expecting TLS"): // kafka-go exports no value of this error
		return deliveryError{class: classTLS, slow: true, reason: c.reasonf("the broker expects TLS on this port: set %s, or see %s", settingTLS, settingBrokers)}, true
	case inNet && op.Op == "remote error":
		return deliveryError{class: classTLS, slow: true, reason: c.reasonf("the broker refused the TLS handshake (%v): see %s and %s",
			op.Err, settingTLSCertFile, settingTLSKeyFile)}, true
	case early && connect.tls && (isDisconnect(err) || noise):
		// After a disconnect the retries are not slow, because a starting broker or load balancer closes
		// connections too.
		return deliveryError{class: classTLS, slow: !isDisconnect(err), reason: c.reasonf("the broker does not speak TLS on this port (%v): unset %s, or see %s",
			connect.err, settingTLS, settingBrokers)}, true
	}
	return deliveryError{}, false
}

func verifySetting(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return settingTLSServerName
	}
	return settingTLSCAFile
}

// networkError explains network errors. Most of them pass by themselves.
func (c *client) networkError(err error, _ string) (deliveryError, bool) {
	dns, unresolved := errors.AsType[*net.DNSError](err)
	connect, early := errors.AsType[*errConnect](err)
	brokers := settingBrokers
	switch {
	case unresolved && early && !slices.Contains(c.cfg.Brokers, connect.address):
		return deliveryError{class: classAdvertised, reason: c.reasonf("the brokers advertise %s, a name that cannot be resolved here (%s): see their advertised.listeners",
			connect.address, dns.Err)}, true
	case unresolved:
		return deliveryError{class: className, reason: c.reasonf("the name %q cannot be resolved (%s): see %s", dns.Name, dns.Err, brokers)}, true
	case early && !slices.Contains(c.cfg.Brokers, connect.address):
		return deliveryError{class: classAdvertised, reason: c.reasonf("no connection to an address that the brokers advertise, %s: %s: if a broker is up there, see their advertised.listeners",
			connect.address, connect.cause())}, true
	case early && len(c.cfg.Brokers) == 1: // the reason starts with its address
		return deliveryError{class: classConnection, reason: c.reasonf("no connection: %s: see %s", connect.cause(), brokers)}, true
	case early:
		return deliveryError{class: classConnection, reason: c.reasonf("no connection to %s: %s: see %s", connect.address, connect.cause(), brokers)}, true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return deliveryError{class: classTimeout, reason: c.reasonf("no response in time")}, true
	case isDisconnect(err) && c.cfg.SASL == nil:
		return deliveryError{class: classClosed, stale: true, reason: c.reasonf("the broker closed the connection (%v); if this continues, it may require a login: see %s",
			err, settingSASLMechanism)}, true
	case isDisconnect(err):
		return deliveryError{class: classClosed, stale: true, reason: c.reasonf("the broker closed the connection (%v)", err)}, true
	}
	return deliveryError{}, false
}

// isDisconnect reports whether err shows only that the connection was closed.
func isDisconnect(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// perRecord reports whether a record caused err, and returns the reason for dropping that record.
func perRecord(err error) (reason string, ok bool) {
	switch {
	case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.RecordListTooLarge):
		return buffer.DropTooLarge, true
	case errors.Is(err, kafka.InvalidTimestamp):
		return dropBadTime, true
	case errors.Is(err, kafka.InvalidRecord):
		return dropRejected, true
	}
	return "", false
}

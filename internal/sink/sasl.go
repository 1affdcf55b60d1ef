package sink

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"os"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
)

// mechanisms returns the SASL mechanisms by their names in a configuration, each with its hash
// function. PLAIN and OAUTHBEARER have no hash function.
func mechanisms() map[string]func() hash.Hash {
	return map[string]func() hash.Hash{"plain": nil, "oauthbearer": nil, "scram-sha-256": sha256.New, "scram-sha-512": sha512.New}
}

// login is a SASL mechanism that reads the password again for each connection.
//
// It replaces kafka-go's implementation, which keeps the first password forever and
// normalizes it (SASLprep). Kafka's brokers do not normalize: they use the UTF-8 bytes of a
// password (org.apache.kafka.common.security.scram.internals.ScramFormatter).
type login struct{ cfg SASLConfig }

// errPassword reports that the password could not be read. It never contains the password.
type errPassword struct{ err error }

func (e *errPassword) Error() string { return e.err.Error() }
func (e *errPassword) Unwrap() error { return e.err }

// errServer reports that a message of the broker violates the exchange.
var errServer = errors.New("SASL: the broker's response is not valid")

// NewLogin returns the login of a configuration for a client that reads. The error names the field that is not valid.
func NewLogin(c SASLConfig) (sasl.Mechanism, error) {
	switch _, known := mechanisms()[strings.ToLower(c.Mechanism)]; {
	case !known:
		return nil, fmt.Errorf("%q: expected plain, scram-sha-256, scram-sha-512 or oauthbearer", c.Mechanism)
	case c.bearer() && c.TokenFile == "":
		return nil, errors.New("oauthbearer needs the file of a token")
	case !c.bearer() && (c.Username == "" || (c.Password == "") == (c.PasswordFile == "")):
		return nil, errors.New("expected a user name and a password")
	}
	return &login{c}, nil
}

// Name returns the mechanism's registered name.
func (l *login) Name() string { return strings.ToUpper(l.cfg.Mechanism) }

// Start starts one exchange.
func (l *login) Start(context.Context) (sasl.StateMachine, []byte, error) {
	password, err := l.password()
	if err != nil {
		return nil, nil, &errPassword{err}
	}
	if l.cfg.bearer() { // RFC 7628, section 3.1
		return &bearer{}, []byte(gs2Header + "\x01auth=Bearer " + password + "\x01\x01"), nil
	}
	h := mechanisms()[strings.ToLower(l.cfg.Mechanism)]
	if h == nil { // RFC 4616
		return plain{}, []byte("\x00" + l.cfg.Username + "\x00" + password), nil
	}
	s := &scram{hash: h, password: password, first: "n=" + scramName(l.cfg.Username) + ",r=" + rand.Text()}
	return s, []byte(gs2Header + s.first), nil
}

// password returns the password, or the token.
func (l *login) password() (string, error) {
	file := l.cfg.PasswordFile
	if l.cfg.bearer() {
		file = l.cfg.TokenFile
	}
	if file == "" {
		return l.cfg.Password, nil
	}
	b, err := os.ReadFile(file)
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if err == nil && len(b) == 0 {
		err = fmt.Errorf("%s is empty", file)
	}
	return string(b), err
}

// bearer is an exchange of RFC 7628.
type bearer struct{}

// Next acknowledges a refusal, so that the broker ends the exchange with its error code (section
// 3.2.3). If the broker accepts the token, its response is empty.
func (*bearer) Next(_ context.Context, message []byte) (bool, []byte, error) {
	return len(message) == 0, []byte{1}, nil
}

// plain is an exchange of RFC 4616: one message of the client.
type plain struct{}

// Next accepts any message of the broker. The broker refuses a password by an error code, not by a
// message.
func (plain) Next(context.Context, []byte) (bool, []byte, error) { return true, nil, nil }

// gs2Header declares that there is no channel binding (RFC 5802, section 7).
const gs2Header = "n,,"

// maxIterations is the largest number of hash iterations that a broker can demand. Kafka's own
// limit is 16384.
const maxIterations = 1 << 18

// scram is one exchange of RFC 5802.
type scram struct {
	hash     func() hash.Hash
	password string
	first    string // client-first-message-bare
	verifier []byte // the signature that the server must send; nil before its first message
}

// Next returns the client's response to one message of the server.
func (s *scram) Next(_ context.Context, message []byte) (done bool, response []byte, err error) {
	if s.verifier != nil {
		return true, nil, s.finish(string(message))
	}
	response, err = s.prove(string(message))
	return false, response, err
}

// prove returns the client-final-message for a server-first-message.
func (s *scram) prove(server string) ([]byte, error) {
	a := attributes(server)
	_, own, _ := strings.Cut(s.first, ",r=")
	salt, err := base64.StdEncoding.DecodeString(a["s"])
	n, err2 := strconv.Atoi(a["i"])
	if err != nil || err2 != nil || len(salt) == 0 || n < 1 || n > maxIterations ||
		len(a["r"]) <= len(own) || !strings.HasPrefix(a["r"], own) {
		return nil, errServer
	}

	salted, err := pbkdf2.Key(s.hash, s.password, salt, n, s.hash().Size())
	if err != nil {
		return nil, err
	}

	final := "c=" + base64.StdEncoding.EncodeToString([]byte(gs2Header)) + ",r=" + a["r"]
	auth := s.first + "," + server + "," + final
	proof := s.mac(salted, "Client Key")
	h := s.hash()
	h.Write(proof)
	for i, b := range s.mac(h.Sum(nil), auth) {
		proof[i] ^= b
	}
	s.verifier = s.mac(s.mac(salted, "Server Key"), auth)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// finish checks the server-final-message, which proves that the server knows the password too.
func (s *scram) finish(server string) error {
	v, err := base64.StdEncoding.DecodeString(attributes(server)["v"])
	if err != nil || !hmac.Equal(v, s.verifier) {
		return errServer
	}
	return nil
}

func (s *scram) mac(key []byte, text string) []byte {
	m := hmac.New(s.hash, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// attributes parses a SCRAM message: pairs name=value, separated by commas.
func attributes(message string) map[string]string {
	out := map[string]string{}
	for part := range strings.SplitSeq(message, ",") {
		name, value, _ := strings.Cut(part, "=")
		out[name] = value
	}
	return out
}

// scramName quotes a user name (RFC 5802, section 5.1).
func scramName(name string) string {
	return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(name)
}

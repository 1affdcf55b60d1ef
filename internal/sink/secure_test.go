package sink

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// issuer creates tokens as a Kubernetes API server does: JSON Web Tokens signed with RS256 (RFC 7519, RFC 7518).
type issuer struct {
	key  *rsa.PrivateKey
	jwks string // file with the issuer's public key, as an API server publishes it at /openid/v1/jwks
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key, filepath.Join(t.TempDir(), "jwks.json")}
	n, e := encode(key.N.Bytes()), encode(big.NewInt(int64(key.E)).Bytes())
	write(t, i.jwks, fmt.Sprintf(`{"keys":[{"kty":"RSA","alg":"RS256","use":"sig","kid":"test","n":%q,"e":%q}]}`, n, e))
	return i
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// write replaces a file atomically, as a projected volume does.
func write(t *testing.T, file, text string) {
	t.Helper()
	err := os.WriteFile(file+".new", []byte(text), 0o600)
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const account = "system:serviceaccount:shop:web"

// token creates a service-account token.
func (i *issuer) token(t *testing.T, audience string, lasts time.Duration) string {
	t.Helper()
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": "https://kubernetes.default.svc", "aud": []string{audience}, "sub": account,
		"iat": now.Add(-time.Minute).Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(lasts).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	text := encode([]byte(`{"alg":"RS256","kid":"test","typ":"JWT"}`)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

// testToken logs in with a token file that is replaced, as a projected service-account token is. A prefixed ACL grants the topics of
// the pod's namespace. Each session ends after two seconds. The token of the first session expires during the test.
func testToken(t *testing.T, b *broker) {
	noLeak(t)
	cfg := b.topics(t, "tap.shop")
	b.Allow("tap.shop", "User:"+account)
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, b.issuer.token(t, "kafka", 2*time.Second))
	cfg.TLS, cfg.Brokers = &TLSConfig{CAFile: b.CA}, []string{b.TLS}
	cfg.SASL = &SASLConfig{Mechanism: "OAUTHBEARER", TokenFile: file}
	k := newKafka(t, cfg)
	sent := 0
	for end := time.Now().Add(3 * session); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if k.Put(sample(datasets[sent%4], sent)) {
			sent++
		}
		if sent%25 == 0 {
			write(t, file, b.issuer.token(t, "kafka", 2*time.Second))
		}
	}
	write(t, file, b.issuer.token(t, "kafka", time.Hour)) // valid for the rest of the test
	s := flush(t, k)
	ids, duplicates := distinct(b.readAll(cfg))
	t.Logf("3 sessions: put %d, arrived %d, duplicates %d, retries %d", sent, len(ids), duplicates, s.Retries)
	if len(ids) != sent || duplicates != 0 {
		t.Errorf("put %d, arrived %d, duplicates %d: %+v", sent, len(ids), duplicates, s)
	}

	cfg.SlowBackoff = time.Hour // only a changed file causes another attempt
	for name, c := range map[string]struct{ token, want string }{
		"expired":  {b.issuer.token(t, "kafka", -5*time.Minute), "expired at"},
		"audience": {b.issuer.token(t, "other", time.Hour), `audience ["other"]`},
		"no token": {"secret", "not a JSON Web Token"},
		"stranger": {newIssuer(t).token(t, "kafka", time.Hour), account}, // proves that this test's broker verifies signatures
	} {
		write(t, file, c.token)
		k := newKafka(t, cfg)
		k.Put(sample(buffer.Tap, 1_000_000))
		eventually.True(t, name+": "+c.want, func() bool {
			r := k.Status().Reason
			return strings.Contains(r, "refused the token") && strings.Contains(r, c.want) && strings.Contains(r, settingSASLTokenFile) && !strings.Contains(r, "secret")
		}, k.Status, b.Log)
		write(t, file, b.issuer.token(t, "kafka", time.Hour))
		eventually.True(t, name+", and then a good one", func() bool { return k.Status().Delivered[buffer.Tap] == 1 }, k.Status, b.Log)
		flush(t, k)
	}
	write(t, file, b.issuer.token(t, "kafka", time.Hour))
	other := b.topics(t, "tap.other")
	b.Allow("tap.other", "User:system:serviceaccount:other:web")
	other.TLS, other.Brokers, other.SASL = cfg.TLS, cfg.Brokers, cfg.SASL
	k = newKafka(t, other)
	eventually.True(t, "not another namespace's topics", func() bool {
		return strings.Contains(k.Status().Reason, "TAP_KAFKA_SASL_TOKEN_FILE") || strings.Contains(k.Status().Reason, "may not be described")
	}, k.Status, b.Log)
}

// testACL revokes the right to write and grants it again. In another case the right is missing from the start, and the sink reports this
// before the first alert.
func testACL(t *testing.T, b *broker) {
	noLeak(t)
	cfg := b.topics(t, "acl")
	cfg.TLS, cfg.Brokers, cfg.SlowBackoff = &TLSConfig{CAFile: b.CA}, []string{b.TLS}, time.Second
	cfg.SASL = &SASLConfig{Mechanism: "plain", Username: "tap", Password: kafkatest.Password}
	b.Allow("acl", "User:tap")
	k := newKafka(t, cfg)
	put := func(from, to int) {
		for n := from; n < to; n++ {
			k.Put(sample(datasets[n%4], n))
		}
	}
	put(0, 100)
	eventually.True(t, "delivered", func() bool { return sum(k.Status().Delivered) == 100 }, k.Status, b.Log)
	b.Allow("acl")
	put(100, 200)
	eventually.True(t, "withdrawn", func() bool {
		s := k.Status()
		return !s.OK && !s.Down && (strings.Contains(s.Reason, "not authorized to write to topic") || strings.Contains(s.Reason, "may not be described"))
	}, k.Status, b.Log)
	t.Log(k.Status().Reason)
	b.Allow("acl", "User:tap")
	put(200, 300)
	eventually.True(t, "granted", func() bool { s := k.Status(); return s.OK && s.Queued == 0 }, k.Status, b.Log)
	s := flush(t, k)
	if ids, duplicates := distinct(b.readAll(cfg)); len(ids) != 300 || duplicates != 0 {
		t.Errorf("arrived %d, duplicates %d: %+v", len(ids), duplicates, s)
	}

	cfg = b.topics(t, "read-only")
	cfg.TLS, cfg.Brokers, cfg.SASL = &TLSConfig{CAFile: b.CA}, []string{b.TLS}, &SASLConfig{Mechanism: "scram-sha-256", Username: "tap", Password: kafkatest.Password}
	b.Grant(kafka.ACLEntry{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: cfg.FindingsTopic, ResourcePatternType: kafka.PatternTypeLiteral,
		Principal: "User:tap", Host: "*", Operation: kafka.ACLOperationTypeDescribe, PermissionType: kafka.ACLPermissionTypeAllow,
	})
	silent := newKafka(t, cfg)
	const want = `not authorized to write to topic "read-only.findings": grant Write and Describe on it, or see TAP_KAFKA_SASL_USERNAME and TAP_KAFKA_TOPIC`
	eventually.True(t, want, func() bool { return strings.Contains(silent.Status().Reason, want) }, silent.Status, b.Log)
	if got := b.readAll(cfg); len(got) != 0 {
		t.Errorf("to ask wrote %v", got)
	}
}

// testPasswordRotated changes the password on the broker and in the file. No connection survives the change.
func testPasswordRotated(t *testing.T, b *broker) {
	noLeak(t)
	cfg := b.topics(t, "rotated")
	set := func(password string) {
		t.Helper()
		b.SetPassword("rotating", password)
		b.accepts(t, cfg, SASLConfig{Mechanism: "scram-sha-512", Username: "rotating", Password: password})
	}
	set("first")
	file := filepath.Join(t.TempDir(), "password")
	write(t, file, "first\n")
	cfg.TLS, cfg.Brokers = &TLSConfig{CAFile: b.CA}, []string{b.TLS}
	cfg.SASL = &SASLConfig{Mechanism: "scram-sha-512", Username: "rotating", PasswordFile: file}
	cfg.SlowBackoff = time.Hour // only a changed file causes another attempt
	k := newKafka(t, cfg)
	for n := range 40 {
		k.Put(sample(datasets[n%4], n))
	}
	eventually.True(t, "delivered", func() bool { return sum(k.Status().Delivered) == 40 }, k.Status, b.Log)
	set("second")
	k.dialer.closeAll()
	for n := 40; n < 80; n++ {
		k.Put(sample(datasets[n%4], n))
	}
	eventually.True(t, "refused", func() bool {
		return strings.Contains(k.Status().Reason, "see TAP_KAFKA_SASL_USERNAME and TAP_KAFKA_SASL_PASSWORD_FILE")
	}, k.Status, b.Log)
	write(t, file, "second\n")
	eventually.True(t, "accepted", func() bool { s := k.Status(); return s.OK && s.Queued == 0 }, k.Status, b.Log)
	flush(t, k)
	if ids, duplicates := distinct(b.readAll(cfg)); len(ids) != 80 || duplicates != 0 {
		t.Errorf("arrived %d, duplicates %d", len(ids), duplicates)
	}
}

// accepts waits until the broker accepts a login. A new password becomes effective only a moment after it was
// set.
func (b *broker) accepts(t *testing.T, cfg KafkaConfig, login SASLConfig) {
	t.Helper()
	cfg.TLS, cfg.Brokers, cfg.SASL = &TLSConfig{CAFile: b.CA}, []string{b.TLS}, &login
	var err error
	eventually.True(t, "the broker takes the password", func() bool {
		var a *Admin
		if a, err = NewAdmin(cfg); err == nil {
			_, err = a.Reach(t.Context())
			a.Close()
		}
		return err == nil
	}, func() error { return err }, b.Log)
}

// testQuota: if a quota slows down a sink, the sink reports this. It neither loses nor repeats a
// record.
func testQuota(t *testing.T, b *broker) {
	noLeak(t)
	cfg := b.topics(t, "quota")
	cfg.ClientID, cfg.Compression = "limited", "none"
	b.Quota(cfg.ClientID, 20000)
	k := newKafka(t, cfg)
	records := 0
	eventually.True(t, "slowed down", func() bool {
		for k.Status().Queued < 400 { // until the quota is effective
			m := sample(datasets[records%4], records)
			m.Value = fmt.Appendf(nil, "%q", strings.Repeat("x", 1000))
			k.Put(m)
			records++
		}
		s := k.Status() // the reason can be another one for a while, if a broker responded late
		return s.OK && s.Throttled > 0 && strings.Contains(s.Reason, "a quota slows this client down")
	}, k.Status, b.Log)
	t.Log(k.Status().Reason)
	b.Quota(cfg.ClientID, 0)
	eventually.True(t, "all is delivered", func() bool { return k.Status().Queued == 0 }, k.Status, b.Log)
	s := flush(t, k)
	ids, duplicates := distinct(b.readAll(cfg))
	t.Logf("put %d, arrived %d, duplicates %d, throttled for %v", records, len(ids), duplicates, s.Throttled)
	if len(ids) != records || duplicates != 0 || sum(s.Dropped) != 0 {
		t.Errorf("%+v", s)
	}
}

// testBootstrap lists unreachable brokers before a reachable one, and uses a broker that advertises an unreachable address.
func testBootstrap(t *testing.T, b *broker) {
	serveNames(t, "kafka.test")
	cfg := b.topics(t, "bootstrap")
	cfg.Brokers = []string{"127.0.0.1:1", "kafka.invalid:9092", b.Plain}
	k := newKafka(t, cfg)
	for n := range 40 {
		k.Put(sample(datasets[n%4], n))
	}
	flush(t, k)
	if ids, duplicates := distinct(b.readAll(cfg)); len(ids) != 40 || duplicates != 0 {
		t.Errorf("arrived %d, duplicates %d", len(ids), duplicates)
	}
	for i, want := range []string{
		"the brokers advertise kafka-0.kafka.invalid:9092, a name that cannot be resolved here",
		"no connection to an address that the brokers advertise, 127.0.0.1:1: connect: connection refused",
	} {
		cfg.Brokers = []string{b.Aliases[i]}
		k := newKafka(t, cfg)
		eventually.True(t, want, func() bool { return strings.Contains(k.Status().Reason, want) }, k.Status, b.Log)
		t.Log(k.Status().Reason)
	}
}

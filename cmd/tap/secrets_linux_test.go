package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// output is a part of what taps write.
type output struct {
	from  string // which tap, and where it wrote this
	level int    // fromStrict to fromNone; never for other output, which must not contain text from the wire
	text  string
}

// TestSecretsLive plants secrets in traffic, in environment variables and in files, and searches for them, in several
// encodings, in all that taps write: records, evidence, logs, /metrics, /readyz, /healthz, and the reports of `tap read`, at each level
// of redaction and of the log. As a control, the packets contain every secret, and names are found from their level on.
func TestSecretsLive(t *testing.T) {
	norace(t)
	undropped(t, secretsLive)
}

func secretsLive(t *testing.T) (dropped bool) {
	client, server := pods(t)
	file := filepath.Join(t.TempDir(), "secrets.pcap")
	server.serve(t, "MESHTLS_SECRETS=server", server.address)

	var taps []*listeningTap
	evidence := t.TempDir()
	for level, redact := range []string{"strict", "default", "none"} {
		for _, log := range []string{"debug", "info", "warn", "error"} {
			taps = append(taps, client.listening(t, len(taps), level, "TAP_REDACT="+redact, "TAP_LOG_LEVEL="+log, "TAP_EVIDENCE_FILES=1000", fmt.Sprintf("TAP_EVIDENCE_DIR=%s/%s-%s", evidence, redact, log)))
		}
		taps = append(taps, client.listening(t, len(taps), level, "TAP_REDACT="+redact, "TAP_LOG_LEVEL=debug", "TAP_FORMAT=ocsf"))
	}
	owned := environmentSecrets(t, server.address)
	for _, o := range owned {
		taps = append(taps, client.listening(t, len(taps), never, append([]string{"TAP_LOG_LEVEL=debug", "TAP_SINK=kafka", "TAP_KAFKA_TOPIC={namespace}"}, o.env...)...))
	}
	for _, x := range taps {
		eventually.True(t, "the capture has begun", func() bool {
			return strings.Contains(x.get(t, client, "/metrics"), `meshtls_tap_capturing{interface="eth0"} 1`)
		}, x.log)
	}
	dump := client.start(t, nil, "tcpdump", "-i", "eth0", "-B", "262144", "-s", "65535", "-U", "--immediate-mode", "-Z", "root", "-w", file)
	waitForFile(t, file)
	client.ask(t, "MESHTLS_SECRETS=client", server.address)

	var all []output
	traffic := newTraffic()
	for _, x := range taps {
		var records []string
		if x.level == never {
			eventually.True(t, "a reason in /readyz", func() bool { return strings.Contains(x.get(t, client, "/readyz"), "sink ") }, x.log)
		} else {
			records = x.line(t, func(l string) bool { return strings.Contains(l, "9444") })
		}
		for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
			all = append(all, output{x.name + " " + path, never, x.get(t, client, path)})
		}
		records = append(records, x.end(t)...)
		if ringDropped(t, records) {
			return true
		}
		all = append(all, output{x.name + " records", x.level, strings.Join(records, "")}, output{x.name + " log", never, x.log()})
	}
	dump.end(t)
	packets, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for level, redact := range []string{"strict", "default", "none"} {
		for _, form := range []string{"json", "json --format=ocsf", "text", "cbom"} {
			args := append(strings.Fields("read --local="+client.address+" --redact="+redact+" --output="+form), file)
			if strings.HasPrefix(form, "json") {
				args = append(args, "--emit=findings,posture,flows")
			}
			if form == "json" && redact != "strict" {
				args = append(args, fmt.Sprintf("--evidence=%s/read-%s", evidence, redact))
			}
			var out, log bytes.Buffer
			command(t.Context(), args, nil, streams{strings.NewReader(""), &out, &log})
			all = append(all, output{"tap read " + redact + " " + form, level, out.String()}, output{"tap read " + redact + " " + form + " log", never, log.String()})
		}
	}
	files, err := filepath.Glob(evidence + "/*/*.pcapng")
	if err != nil || len(files) < 100 || strings.Contains(strings.Join(files, ""), evidence+"/strict") {
		t.Errorf("%d files of evidence, %v", len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, output{name, fromDefault, string(b)}) // the message of the finding is in it, and no path at any level
	}
	for _, o := range owned {
		for _, s := range o.secrets {
			traffic.secrets = append(traffic.secrets, planted{place: s, level: never, encrypted: true})
		}
	}
	search(t, traffic.secrets, packets, all)
	return false
}

// search fails the test for each secret that is where it must not be, and for each control that fails.
func search(t *testing.T, secrets []planted, packets []byte, all []output) {
	t.Helper()
	size, evidence, found := 0, 0, map[string]map[int]bool{}
	for _, o := range all {
		size += len(o.text)
		if strings.HasSuffix(o.from, ".pcapng") {
			evidence++
		}
		if o.text == "" && o.level != never {
			t.Errorf("%s: nothing", o.from)
		}
		text := strings.ToLower(o.text)
		for _, s := range secrets {
			at := slices.IndexFunc(encodings(secret(s.place)), func(e string) bool { return strings.Contains(text, e) })
			switch {
			case at < 0:
			case o.level == never || o.level < s.level:
				t.Errorf("%s has the secret %q: %q", o.from, s.place, around(o.text, encodings(secret(s.place))[at]))
			case strings.HasSuffix(o.from, ".pcapng"):
			default:
				if found[s.place] == nil {
					found[s.place] = map[int]bool{}
				}
				found[s.place][o.level] = true
			}
		}
	}
	hidden := 0
	for _, s := range secrets {
		if !s.encrypted && !bytes.Contains(packets, []byte(s.wire)) {
			t.Errorf("the packets do not have the secret %q", s.place)
		}
		if s.level == never {
			hidden++
		}
		for level := s.level; level < never; level++ {
			if !found[s.place][level] {
				t.Errorf("the records of level %d do not have %q, which that level publishes", level, s.place)
			}
		}
	}
	t.Logf("%d secrets, %d of them never published, searched for in %d outputs, %d of them evidence, %d bytes", len(secrets), hidden, len(all), evidence, size)
	if len(secrets) < 80 || hidden < 50 {
		t.Error("too few secrets")
	}
}

// encodings returns the forms of a secret in which it is searched for, in lower case: as it is, in hex, percent-encoded, and the part of its
// base64 form that does not depend on the text around it, at each of the three offsets.
func encodings(secret string) []string {
	percent := ""
	for _, c := range []byte(secret) {
		percent += fmt.Sprintf("%%%02x", c)
	}
	out := []string{secret, hex.EncodeToString([]byte(secret)), percent}
	for offset := range 3 {
		coded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", offset) + secret))
		out = append(out, strings.ToLower(coded[(offset*8+5)/6:len(coded)-1]))
	}
	return out
}

// around returns the text around the first place of what.
func around(text, what string) string {
	at := strings.Index(strings.ToLower(text), what)
	return text[max(0, at-200):min(len(text), at+100)]
}

// listeningTap is a tap that listens on a port of its own.
type listeningTap struct {
	*process
	name  string
	port  int
	level int // of the records
}

// listening starts a tap in the pod. n is its number.
func (p pod) listening(t *testing.T, n, level int, env ...string) *listeningTap {
	t.Helper()
	x := &listeningTap{name: "tap " + strings.Join(env, " "), port: 9500 + n, level: level}
	x.process = p.start(t, append([]string{
		"TAP_EMIT=findings,posture,flows", "TAP_INTERFACES=eth0", "TAP_ANNOUNCEMENTS=1000", "TAP_MESH=istio", "TAP_MEMORY=48Mi", "TAP_SELF_TEST=false", "TAP_GRACE=1s", fmt.Sprint("TAP_LISTEN=127.0.0.1:", x.port),
		"POD_NAME=web-1", "POD_NAMESPACE=shop", "POD_UID=7e1a", "POD_IPS=" + p.address,
	}, env...), releasedTap(t), "run")
	return x
}

// get returns the body of a response of the tap, "" if there is none.
func (x *listeningTap) get(t *testing.T, p pod, path string) string {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DialContext: p.dial, DisableKeepAlives: true}, Timeout: time.Minute}
	r, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d%s", x.port, path))
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	return string(body)
}

// ownedSecrets are secrets in the environment and the files of a tap.
type ownedSecrets struct {
	env     []string
	secrets []string // places
}

// environmentSecrets returns settings of taps with secrets. None of these taps can deliver, so each reports why.
func environmentSecrets(t *testing.T, broker string) []ownedSecrets {
	t.Helper()
	in := func(name, text string) string { return writeTemp(t, name, []byte(text)) }
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(secret("key in PEM"))}))
	brokers := "TAP_KAFKA_BROKERS=" + broker + ":9099"
	withUser := url.URL{Scheme: "sasl", User: url.UserPassword("tap", secret("password in TAP_KAFKA_BROKERS")), Host: broker + ":9099"}
	return []ownedSecrets{
		{
			[]string{brokers, "TAP_KAFKA_SASL_MECHANISM=plain", "TAP_KAFKA_SASL_USERNAME=tap", "TAP_KAFKA_SASL_PASSWORD=" + secret("TAP_KAFKA_SASL_PASSWORD"), "TAP_KAFKA_PASSWORD=" + secret("TAP_KAFKA_PASSWORD"), "DB_PASSWORD=" + secret("DB_PASSWORD")},
			[]string{"TAP_KAFKA_SASL_PASSWORD", "TAP_KAFKA_PASSWORD", "DB_PASSWORD"},
		},
		{[]string{brokers, "TAP_KAFKA_SASL_PASSWORD=" + secret("password without mechanism")}, []string{"password without mechanism"}},
		{[]string{brokers, "TAP_KAFKA_SASL_MECHANISM=" + "scram-sha-512", "TAP_KAFKA_SASL_USERNAME=tap", "TAP_KAFKA_SASL_PASSWORD_FILE=" + in("password", secret("password file")+"\n")}, []string{"password file"}},
		{[]string{brokers, "TAP_KAFKA_SASL_MECHANISM=oauthbearer", "TAP_KAFKA_SASL_TOKEN_FILE=" + in("token", secret("token file"))}, []string{"token file"}},
		{[]string{brokers, "TAP_KAFKA_TLS_CERT_FILE=" + in("tls.crt", secret("certificate file")), "TAP_KAFKA_TLS_KEY_FILE=" + in("tls.key", key+secret("key file"))}, []string{"certificate file", "key in PEM", "key file"}},
		{[]string{"TAP_SINK=kafka://tap:" + secret("password in TAP_SINK") + "@" + broker + ":9099"}, []string{"password in TAP_SINK"}},
		{[]string{"TAP_KAFKA_BROKERS=" + withUser.String(), "TAP_KAFKA_TLS_CA_FILE=" + in("ca.crt", secret("CA file"))}, []string{"password in TAP_KAFKA_BROKERS", "CA file"}},
	}
}

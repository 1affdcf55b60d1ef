package schematest_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/schema"
)

// failures is a test that counts its failures instead of failing.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Helper() {}

func (f *failures) Errorf(format string, args ...any) { f.n++; _ = fmt.Sprintf(format, args...) }

// TestFaultsAreFound: the golden records are valid, and each change of one is found.
func TestFaultsAreFound(t *testing.T) {
	golden, err := os.ReadFile("../finding/testdata/finding.json")
	if err != nil {
		t.Fatal(err)
	}
	record, _, _ := strings.Cut(string(golden), "\n}\n")
	record = strings.Join(strings.Fields(record+"}"), " ")
	if schematest.Check(t, []byte(record)) == nil || schematest.Lines(t, []string{"", "level=INFO msg=started\n", record + "\n"}) != 1 {
		t.Error("the golden record is not read")
	}
	for _, c := range [][2]string{
		{`"verdict": "`, `"verdicts": "`},
		{`"verdict": "plaintext"`, `"verdict": "plain"`},
		{`"schema": 1`, `"schema": "1"`},
		{`"kind": "alert",`, ``},
		{`"@timestamp": "2026`, `"@timestamp": "in 2026`},
		{`}`, ``},
		{`{`, "{\n"},
	} {
		changed := strings.Replace(record, c[0], c[1], 1)
		f := &failures{TB: t}
		schematest.Check(f, []byte(changed))
		if changed == record || f.n == 0 {
			t.Errorf("%s for %s: not found", c[1], c[0])
		}
	}
}

// TestAlgorithms: the schema names each algorithm that crypto/x509 finds in a certificate.
func TestAlgorithms(t *testing.T) {
	var want, keys []string
	for a := x509.MD5WithRSA; a <= x509.PureEd25519; a++ {
		want = append(want, a.String())
	}
	for a := x509.RSA; a <= x509.Ed25519; a++ {
		keys = append(keys, a.String())
	}
	type names struct{ Examples []string }
	type member struct {
		Properties struct {
			X509 struct {
				Properties struct {
					Signature names `json:"signature_algorithm"`
					Key       names `json:"public_key_algorithm"`
				}
			}
		}
	}
	var s struct {
		Properties struct {
			TLS struct {
				Properties struct{ Client, Server member }
			}
		}
	}
	if err := json.Unmarshal(schema.JSON, &s); err != nil {
		t.Fatal(err)
	}
	for _, m := range []member{s.Properties.TLS.Properties.Client, s.Properties.TLS.Properties.Server} {
		x := m.Properties.X509.Properties
		for _, list := range [][2][]string{{x.Signature.Examples, want}, {x.Key.Examples, keys}} {
			slices.Sort(list[0])
			slices.Sort(list[1])
			if !slices.Equal(list[0], list[1]) {
				t.Errorf("the schema has %q, crypto/x509 %q", list[0], list[1])
			}
		}
	}
}

package schematest_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
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

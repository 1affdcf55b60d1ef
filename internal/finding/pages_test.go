package finding_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// pages returns the records for which siem/pages.py pages.
func pages(t *testing.T, records []finding.Record) []finding.Record {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		if os.Getenv("CI") != "" || os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
			t.Fatal(err)
		}
		t.Skipf("%v: on Debian or Ubuntu: apt-get install python3", err)
	}
	var in strings.Builder
	for _, x := range records {
		fmt.Fprintf(&in, "%s\n", x.Value)
	}
	cmd := exec.Command("python3", "../../siem/pages.py")
	cmd.Stdin, cmd.Stderr = strings.NewReader(in.String()), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var paged []finding.Record
	for line := range strings.Lines(string(out)) {
		i := slices.IndexFunc(records, func(x finding.Record) bool { return string(x.Value)+"\n" == line })
		if i < 0 {
			t.Fatalf("paged for something that is not a record: %s", line)
		}
		paged = append(paged, records[i])
	}
	return paged
}

// merged returns the records of several taps in the order of their times.
func merged(taps ...replica) []finding.Record {
	var all []finding.Record
	for _, tap := range taps {
		all = append(all, tap.records...)
	}
	slices.SortStableFunc(all, func(a, b finding.Record) int { return int(a.Time - b.Time) })
	return all
}

// TestPagesOnce: the recipe pages once when 20 clients speak plaintext to 20 servers at once, again when the
// problem has ended at all taps and comes back, and again when it becomes more severe.
func TestPagesOnce(t *testing.T) {
	clients, servers := replicas(t, 20)
	taps := append(slices.Clone(clients), servers...)
	tick := func(at int64) {
		for _, tap := range taps {
			tap.e.Tick(at)
		}
	}
	check := func(name string, want int) {
		t.Helper()
		if got := pages(t, merged(taps...)); len(got) != want {
			t.Errorf("%s: %d pages, want %d", name, len(got), want)
		}
	}
	exchange(clients, servers, noon+minute, mutual)
	exchange(clients, servers, noon+2*minute, plain)
	check("plaintext", 1)
	tick(noon + 10*minute)
	exchange(clients, servers, noon+11*minute, plain)
	tick(noon + 20*minute)
	check("more plaintext", 1)
	end := noon + 20*minute
	for range 6 { // a server has 20 ongoing findings, of which 5 are published in each window
		exchange(clients, servers, end+minute, mutual)
		end += 10 * minute
		tick(end)
	}
	check("mutual TLS again", 1)
	exchange(clients, servers, end+minute, plain)
	check("plaintext again", 2)

	all := merged(taps...)
	if twice := pages(t, append(slices.Clone(all[:len(all)/4]), all...)); len(twice) != 2 {
		t.Errorf("with repeated records: %d pages", len(twice))
	}
}

// TestPagesForWorse: the recipe pages again when a problem becomes more severe, and not for the records of the
// same severity.
func TestPagesForWorse(t *testing.T) {
	r := newRig(t, finding.Config{Expect: expects(t, "10.0.0.0/8=tls")})
	r.e.Add(plain(1, noon))
	r.e.Add(plain(2, noon+second))
	r.e.Expect(expects(t, "10.0.0.0/8=mtls"))
	r.e.Add(plain(3, noon+2*second))
	r.e.Add(plain(4, noon+3*second))
	r.e.Tick(noon + 10*minute)
	if got := pages(t, r.records); len(got) != 2 {
		t.Errorf("%d pages, want one for each severity", len(got))
	}
}

// TestPagesForFlood: the recipe pages at most 21 times in a window for a client that invents 100 names.
func TestPagesForFlood(t *testing.T) {
	r := newRig(t, finding.Config{Mesh: "istio"})
	for n := range uint64(100) {
		r.e.Add(invented(n, noon+int64(n)*second/10))
	}
	r.e.Tick(noon + 10*minute)
	if got := pages(t, r.records); len(got) != 21 {
		t.Errorf("%d pages", len(got))
	}
}

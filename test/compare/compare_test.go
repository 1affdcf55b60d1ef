package main

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// TestExample compares the output of both programs for the same connections with the table. There are five
// connections: one on which both programs agree, one of TLS 1.3 with a client certificate that only the tap infers,
// one about which they differ, one that only tshark reports, and one without TLS.
func TestExample(t *testing.T) {
	names := suites{0xc02b: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0x1301: "TLS_AES_128_GCM_SHA256"}
	ours, err := parseTap(read(t, "tap.jsonl"), names)
	if err != nil {
		t.Fatal(err)
	}
	// the file has semicolons, because tshark's separator is not printable
	theirs := parseTshark(string(bytes.ReplaceAll(read(t, "tshark.tsv"), []byte(";"), []byte(separator))), names)
	var got bytes.Buffer
	var total table
	for _, p := range join(ours, theirs) {
		for _, line := range total.add(p) {
			got.WriteString(p.name() + "\t" + line + "\n")
		}
	}
	total.print(&got)
	golden := filepath.Join("testdata", "table.txt")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, "table.txt"); !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got:\n%s\nwant:\n%s", &got, want)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestJoin(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:443")
	conn := func(transport string, from, to netip.AddrPort, start, end int64, says string) *connection {
		return &connection{transport: transport, from: from, to: to, start: time.Unix(start, 0), end: time.Unix(end, 0), values: [fields]string{version: says}}
	}
	for name, c := range map[string]struct {
		ours, theirs []*connection
		want         []int // for each of ours, the index of its partner, or -1 if it has none
	}{
		"one":               {[]*connection{conn("tcp", a, b, 1, 2, "")}, []*connection{conn("tcp", a, b, 1, 2, "")}, []int{0}},
		"ends exchanged":    {[]*connection{conn("tcp", a, b, 1, 2, "")}, []*connection{conn("tcp", b, a, 1, 2, "")}, []int{0}},
		"another transport": {[]*connection{conn("tcp", a, b, 1, 2, "")}, []*connection{conn("udp", a, b, 1, 2, "")}, []int{-1}},
		"ports used again": {
			[]*connection{conn("tcp", a, b, 1, 3, ""), conn("tcp", a, b, 5, 9, "")},
			[]*connection{conn("tcp", a, b, 5, 9, ""), conn("tcp", a, b, 1, 3, "")}, []int{1, 0},
		},
		"used again, and one of them missed": {
			[]*connection{conn("tcp", a, b, 1, 3, "1.2"), conn("tcp", a, b, 5, 9, "1.2")},
			[]*connection{conn("tcp", a, b, 4, 9, "1.2")}, []int{-1, 0},
		},
		"split by one": {
			[]*connection{conn("tcp", a, b, 1, 2, ""), conn("tcp", a, b, 2, 9, "1.2")},
			[]*connection{conn("tcp", a, b, 1, 9, "1.2")}, []int{-1, 0},
		},
		"a clock that jumps": {
			[]*connection{conn("tcp", a, b, 1, 1, ""), conn("tcp", a, b, 99, 99, "1.2")},
			[]*connection{conn("tcp", a, b, 1, 99, "1.2")}, []int{-1, 0},
		},
	} {
		pairs := join(c.ours, c.theirs)
		var got []int
		for _, p := range pairs[:len(c.ours)] {
			got = append(got, slices.Index(c.theirs, p.theirs))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: joined with %v, want %v", name, got, c.want)
		}
		seen := 0
		for _, p := range pairs {
			if p.theirs != nil {
				seen++
			}
		}
		if seen != len(c.theirs) {
			t.Errorf("%s: %d of tshark's %d connections are in a pair", name, seen, len(c.theirs))
		}
	}
}

// TestCompareValues checks that each kind of difference is detected. Otherwise an agreement of the programs would
// prove nothing.
func TestCompareValues(t *testing.T) {
	for _, c := range []struct {
		ours, theirs string
		want         outcome
	}{
		{"", "", neither}, {"1.2", "1.2", agree}, {"1.2", "", onlyTap}, {"", "1.2", onlyTshark}, {"1.2", "1.3", differ},
	} {
		if got := compareValues(c.ours, c.theirs); got != c.want {
			t.Errorf("compareValues(%q, %q) = %d, want %d", c.ours, c.theirs, got, c.want)
		}
	}
}

func TestVersionName(t *testing.T) {
	for number, want := range map[string]string{
		"0x0002": "ssl 2.0", "0x0300": "ssl 3.0", "0x0301": "1.0", "0x0303": "1.2", "0x0304": "1.3", "0x7f12": "1.3",
		"0xfeff": "dtls 1.0", "0xfefd": "dtls 1.2", "0x0505": "0x0505", "": "",
	} {
		if got := versionName(number); got != want {
			t.Errorf("%s is %q, want %q", number, got, want)
		}
	}
}

// TestTshark reads a capture of the lab with the installed tshark. It fails if that version lacks a field or names it
// differently.
func TestTshark(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip(err)
	}
	names, _, err := suiteNames("tshark")
	if err != nil {
		t.Fatal(err)
	}
	found, err := readTshark("tshark", filepath.Join("..", "tlslab", "testdata", "envoy", "old-mutual.pcap.gz"), names)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		t.Fatalf("%d connections, want 1", len(found))
	}
	got := found[0].values
	for _, f := range []field{ja3, ja3s} { // these values depend on the versions of the stacks in the lab
		if len(got[f]) != 32 {
			t.Errorf("%s is %q, want a digest", fieldNames[f], got[f])
		}
		got[f] = ""
	}
	want := [fields]string{
		version: "1.2", cipher: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", serverName: "httpbin.lab.test",
		serverCert: "yes", clientCert: "yes",
	}
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

package iana

import (
	"os/exec"
	"strings"
	"testing"
)

// TestRegistry checks that the tables are in order and complete: the counts were taken from the registry.
func TestRegistry(t *testing.T) {
	for name, c := range map[string]struct {
		table []named
		count int
	}{"cipher suites": {cipherSuites[:], 352}, "groups": {groups[:], 57}, "alerts": {alerts[:], 37}} {
		if len(c.table) != c.count {
			t.Errorf("%d %s, want %d", len(c.table), name, c.count)
		}
		for i := 1; i < len(c.table); i++ {
			if c.table[i-1].id >= c.table[i].id {
				t.Errorf("%s: %#04x comes after %#04x", name, c.table[i].id, c.table[i-1].id)
			}
		}
	}
	for id, want := range map[uint16]string{
		0x1301: "TLS_AES_128_GCM_SHA256", 0x1306: "TLS_AEGIS_256_SHA512", 0xc02f: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xc0b5: "TLS_SHA384_SHA384",
		0x00ff: "TLS_EMPTY_RENEGOTIATION_INFO_SCSV", 0x5600: "TLS_FALLBACK_SCSV", 0x0a0a: "0x0a0a", 0xcc13: "0xcc13", 0x0066: "0x0066",
	} {
		if got := CipherSuiteName(id); got != want {
			t.Errorf("suite %#04x is %s, want %s", id, got, want)
		}
	}
	for id, want := range map[uint16]string{29: "x25519", 4587: "SecP256r1MLKEM768", 4588: "X25519MLKEM768", 4589: "SecP384r1MLKEM1024", 4590: "curveSM2MLKEM768", 513: "MLKEM768", 25497: "X25519Kyber768Draft00", 0x2a2a: "0x2a2a"} {
		if got := GroupName(id); got != want {
			t.Errorf("group %d is %s, want %s", id, got, want)
		}
	}
	for id, want := range map[uint16]bool{0x001d: true, 0x11ec: true, 0x2a2a: false, 0xfe00: false, 0x0205: false} {
		if got := IsRegistered(GroupName(id)); got != want {
			t.Errorf("group %#04x is registered: %v, want %v", id, got, want)
		}
	}
	if IsRegistered("") {
		t.Error("no name is that of a registered group")
	}
	for id, want := range map[uint8]string{116: "certificate_required", 121: "ech_required", 42: "bad_certificate", 255: "0x00ff"} {
		if got := AlertName(id); got != want {
			t.Errorf("alert %d is %s, want %s", id, got, want)
		}
	}
}

// TestGenerator runs the generator on excerpts of the registry's own files.
func TestGenerator(t *testing.T) {
	out, err := exec.Command("go", "run", "names_gen.go", "-date", "test", "testdata/registry/suites.csv", "testdata/registry/groups.csv", "testdata/registry/alerts.csv").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, tables, _ := strings.Cut(string(out), "Date: test.\n")
	want := `
var cipherSuites = [...]named{
	{0x0000, "TLS_NULL_WITH_NULL_NULL"},
	{0x1301, "TLS_AES_128_GCM_SHA256"},
}

var groups = [...]named{
	{0x001d, "x25519"},
	{0x6399, "X25519Kyber768Draft00"},
}

var alerts = [...]named{
	{0x0000, "close_notify"},
	{0x0015, "decryption_failed"},
}
`
	if tables != want {
		t.Errorf("generated:\n%s\nwant:\n%s", tables, want)
	}
}

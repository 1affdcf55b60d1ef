// Package ocsf_test validates the tap's OCSF events by the strict schemas of the Python package ocsf-json-schema. It installs that
// package into .cache/ocsf. If it cannot, it skips and prints why, or fails if MESHTLS_REQUIRE_ALL is set.
package ocsf_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/ocsf"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

const (
	root        = "../.."
	environment = root + "/.cache/ocsf"
)

// skipOrFail skips the test because something is missing. If MESHTLS_REQUIRE_ALL is set, it fails the test instead.
func skipOrFail(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// python returns the Python of a virtual environment with the packages of requirements.txt.
func python(t *testing.T) string {
	t.Helper()
	want, err := os.ReadFile("requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	program, installed := filepath.Join(environment, "bin/python"), filepath.Join(environment, "requirements.txt")
	if have, err := os.ReadFile(installed); err == nil && bytes.Equal(have, want) {
		return program
	}
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", environment},
		{program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			skipOrFail(t, "%s: %v (on Debian or Ubuntu: apt-get install python3-venv)\n%s", strings.Join(args, " "), err, out)
		}
	}
	if err := os.WriteFile(installed, want, 0o644); err != nil {
		t.Fatal(err)
	}
	return program
}

// validate validates events, one a line, and returns the faults and their number, as validate.py prints them.
func validate(t *testing.T, events []byte) (out string, ok bool) {
	t.Helper()
	cmd := exec.Command(python(t), "validate.py")
	cmd.Stdin = bytes.NewReader(events)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if stderr.Len() > 0 {
		t.Fatalf("%v: %s", err, &stderr)
	}
	return string(b), err == nil
}

// TestGolden: the golden events, and the events of the golden records of internal/finding, are valid.
func TestGolden(t *testing.T) {
	var events bytes.Buffer
	decode(t, root+"/internal/ocsf/testdata/*.ocsf.json", func(v json.RawMessage) {
		if err := json.Compact(&events, v); err != nil {
			t.Fatal(err)
		}
		events.WriteByte('\n')
	})
	decode(t, root+"/internal/finding/testdata/*.json", func(r record.Record) {
		events.Write(append(ocsf.Append(nil, &r), '\n'))
	})
	if out, ok := validate(t, events.Bytes()); !ok {
		t.Error(out)
	} else if n := bytes.Count(events.Bytes(), []byte("\n")); n < 40 {
		t.Errorf("only %d events", n)
	}
}

// decode calls f for each document in files.
func decode[T any](t *testing.T, files string, f func(T)) {
	t.Helper()
	names, err := filepath.Glob(files)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %q, %v", files, names, err)
	}
	for _, name := range names {
		in, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		for d := json.NewDecoder(in); d.More(); {
			var v T
			if err := d.Decode(&v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			f(v)
		}
		in.Close()
	}
}

// TestCaptures: all events of `tap read --format=ocsf` for the repository's captures are valid, at each level of redaction. There are as many
// as records.
func TestCaptures(t *testing.T) {
	python(t)
	tap := filepath.Join(t.TempDir(), "tap")
	if out, err := exec.Command("go", "build", "-o", tap, root+"/cmd/tap").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	captures := captures(t)
	read := func(args ...string) []byte {
		cmd := exec.Command(tap, append(append([]string{"read", "--output=json", "--emit=findings,posture,flows", "--local=10.0.0.0/8,127.0.0.1"}, args...), captures...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if len(out) == 0 {
			t.Fatalf("%v: %s", err, &stderr)
		}
		return out
	}
	for _, redact := range []string{"strict", "none"} {
		events, records := read("--format=ocsf", "--redact="+redact), read("--redact="+redact)
		if a, b := bytes.Count(events, []byte("\n")), bytes.Count(records, []byte("\n")); a != b || a < 900 {
			t.Errorf("%d events, %d records", a, b)
		}
		if out, ok := validate(t, events); !ok {
			t.Error(out[:min(len(out), 4000)])
		}
	}
}

// captures returns the names of the repository's captures.
func captures(t *testing.T) (names []string) {
	t.Helper()
	for _, folder := range []string{"test/tlslab/testdata", "cmd/tap/testdata/captures", "test/ambient/testdata"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if name := strings.TrimSuffix(path, ".gz"); err == nil && (strings.HasSuffix(name, ".pcap") || strings.HasSuffix(name, ".pcapng")) {
				names = append(names, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// TestFaultsAreFound: the schemas are strict. validate.py finds an unknown attribute, a missing one, a wrong value, a deprecated one, and a profile's
// attribute without the profile.
func TestFaultsAreFound(t *testing.T) {
	var event []byte
	decode(t, root+"/internal/ocsf/testdata/finding.ocsf.json", func(v json.RawMessage) { event = v })
	var line bytes.Buffer
	if err := json.Compact(&line, event); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"count":`, `"counts":`, "counts"},
		{`"severity_id":\d+,`, ``, "'severity_id' is a required property"},
		{`"activity_id":\d+`, `"activity_id":9`, "$.activity_id: 9 is not one of"},
		{`"profiles":\["security_control"\],`, ``, "disposition_id"},
		{`"finding_info":\{`, `"finding_info":{"product_uid":"x",`, "$.finding_info.product_uid is deprecated"},
		{`"version":"1.6.0"`, `"version":"1.5.0"`, "metadata.version is 1.5.0"},
	} {
		changed := regexp.MustCompile(c.from).ReplaceAll(line.Bytes(), []byte(c.to))
		if bytes.Equal(changed, line.Bytes()) {
			t.Fatalf("%s: not found", c.from)
		}
		if out, ok := validate(t, changed); ok || !strings.Contains(out, c.want) {
			t.Errorf("%s: got %s, want %s", c.to, out, c.want)
		}
	}
	if out, ok := validate(t, line.Bytes()); !ok {
		t.Error(out)
	}
}

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

// TestEveryCaptureIsValid reads all captures of the repository. At each level of redaction, with and without expectations, every record conforms
// to the schema, and so does the CBOM of each capture to that of CycloneDX.
func TestEveryCaptureIsValid(t *testing.T) {
	if testing.Short() {
		t.Skip("it validates thousands of documents")
	}
	files := repositoryCaptures(t)
	run := func(args ...string) []byte {
		var out, log bytes.Buffer
		command(t.Context(), append([]string{"read"}, args...), nil, streams{strings.NewReader(""), &out, &log})
		if out.Len() == 0 {
			t.Fatalf("%q: %s", args, &log)
		}
		return out.Bytes()
	}
	records := 0
	for _, args := range [][]string{
		{"--redact=strict", "--local=10.0.0.0/8"},
		{"--redact=default", "--expect=0.0.0.0/0=mtls,::/0=mtls"},
		{"--redact=none", "--local=10.0.0.0/8", "--expect=0.0.0.0/0=mtls,::/0=mtls"},
	} {
		out := run(append(append(args, "--output=json", "--emit=findings,posture,flows"), files...)...)
		records += schematest.Lines(t, strings.SplitAfter(string(out), "\n"))
	}
	cyclonedx := cycloneDX(t)
	for _, file := range files {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(run("--output=cbom", file)))
		if err == nil {
			err = cyclonedx.Validate(doc)
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	t.Logf("%d records and %d CBOMs", records, len(files))
	if records < 2500 || len(files) < 500 {
		t.Error("too few")
	}
}

// repositoryCaptures returns the names of all captures in testdata folders of this repository.
func repositoryCaptures(t *testing.T) (names []string) {
	t.Helper()
	for _, folder := range []string{"testdata/captures", "../../test/tlslab/testdata", "../../test/ambient/testdata"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if name := strings.TrimSuffix(path, ".gz"); filepath.Base(name) != "huge.pcap" && (strings.HasSuffix(name, ".pcap") || strings.HasSuffix(name, ".pcapng")) { // huge.pcap is corrupt
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

// cycloneDX returns the schema of CycloneDX 1.6.
func cycloneDX(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema.json"} {
		f, err := os.Open(filepath.Join("..", "..", "internal", "cbom", "testdata", "schema", name))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(f)
		f.Close()
		if err == nil {
			err = c.AddResource("http://cyclonedx.org/schema/"+name, doc)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

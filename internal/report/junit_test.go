package report_test

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
)

// suites is a report as CI systems read it.
type suites struct {
	Suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
		Cases    []struct {
			Name     string `xml:"name,attr"`
			Failures []struct {
				Type    string `xml:"type,attr"`
				Message string `xml:"message,attr"`
			} `xml:"failure"`
			Error, Skipped *struct {
				Message string `xml:"message,attr"`
			}
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

func TestJUnit(t *testing.T) {
	s := everything()
	var b bytes.Buffer
	if err := report.JUnit(&b, &s, report.JUnitOptions{Fails: func(f *finding.Finding) bool { return f.Rule == "plaintext-edge" }}); err != nil {
		t.Fatal(err)
	}
	golden(t, "junit.xml", b.Bytes())

	b.Reset()
	if err := report.JUnit(&b, &s, report.JUnitOptions{Fails: func(*finding.Finding) bool { return false }, UnjudgedFails: true, Problem: "f.pcap: truncated"}); err != nil {
		t.Fatal(err)
	}
	var got suites
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if x := &got.Suite; x.Tests != len(s.Edges)+1 || x.Tests != len(x.Cases) || x.Failures != 1 || x.Errors != 1 || x.Skipped != 0 {
		t.Errorf("%d tests, %d cases, %d failures, %d errors, %d skipped", x.Tests, len(x.Cases), x.Failures, x.Errors, x.Skipped)
	}
}

// TestJUnitHostile: names from the wire cannot end an attribute, and the report is well-formed.
func TestJUnitHostile(t *testing.T) {
	const evil = "a\"/><failure>\x00\x1b[2J\ufffe\xff&lt;\n'"
	s := finding.Summary{
		Edges:    []finding.Edge{{Key: "k", From: evil, To: evil, Scope: evil, Class: evil, Verdict: "unknown", Seen: []finding.Seen{{Verdict: "unknown", Connections: 1}}}},
		Findings: []finding.Finding{{Rule: evil, Message: evil, Edge: evil, Severity: 1}},
	}
	var b bytes.Buffer
	if err := report.JUnit(&b, &s, report.JUnitOptions{Fails: func(*finding.Finding) bool { return true }, Problem: evil}); err != nil {
		t.Fatal(err)
	}
	var got suites
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, &b)
	}
	if c := got.Suite.Cases; len(c) != 3 || len(c[1].Failures) != 0 || len(c[2].Failures) != 1 || !strings.Contains(c[2].Failures[0].Message, `"/><failure>\x00`) {
		t.Errorf("%+v", c)
	}
	if err := report.JUnit(closed{}, &s, report.JUnitOptions{Fails: func(*finding.Finding) bool { return true }}); err == nil {
		t.Error("no error")
	}
}

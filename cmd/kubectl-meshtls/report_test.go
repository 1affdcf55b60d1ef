package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// TestReportHelp: the help is a golden file.
func TestReportHelp(t *testing.T) {
	out, errs, status := command(t, "report", "--help")
	if status != exitFine || errs != "" {
		t.Errorf("status %d: %s", status, errs)
	}
	golden(t, "report-help.txt", out)
}

// TestReport: the page of a capture, without a cluster, and the exit statuses.
func TestReport(t *testing.T) {
	file := capture(t, talk{client: "10.0.0.1", server: "10.0.0.2", port: 8080, plain: true, n: 2}, talk{client: "10.0.0.1", server: "10.0.0.3", port: 8443, auth: capturetest.Presented, n: 1, at: 10})
	empty := capture(t)
	page := filepath.Join(t.TempDir(), "report.html")
	for _, test := range []struct {
		args   []string
		status int
		want   string // in the error
	}{
		{[]string{"--from", file}, exitFine, "1 of 2 edges between workloads carried plaintext"},
		{[]string{"--from", file, "--fail-on=plaintext-edge"}, exitFinding, "plaintext-edge"},
		{[]string{"--from", file, "--fail-on=tls-not-mutual"}, exitFine, ""},
		{[]string{"--from", file, "--fail-on=nonsense"}, exitUsage, "expected unjudged"},
		{[]string{"--from", empty}, exitUnjudged, "so nothing is proven"},
		{[]string{"--from", empty, "--fail-on=unjudged"}, exitUnjudged, "no connection was judged"},
		{[]string{"--from", file, "-o", ""}, exitUsage, "such as -o report.html"},
		{[]string{"--from", file, "extra"}, exitUsage, "extra"},
		{[]string{"--from", file + ".missing"}, exitError, "no such file"},
		{[]string{"--from", file, "-o", filepath.Join(page, "no", "folder")}, exitError, "no"},
	} {
		os.Remove(page)
		out, errs, status := command(t, append([]string{"report", "-o", page, "--title", "A <title>"}, test.args...)...)
		if status != test.status || out != "" || !strings.Contains(errs, test.want) {
			t.Errorf("%v: status %d, want %d with %q: %s %s", test.args, status, test.status, test.want, out, errs)
		}
		b, err := os.ReadFile(page)
		if written := status == exitFine || status == exitFinding || status == exitUnjudged; written != (err == nil) {
			t.Errorf("%v: status %d, and the page: %v", test.args, status, err)
		} else if written && !strings.Contains(string(b), "<title>A &lt;title&gt;</title>") {
			t.Errorf("%v: the page has no title", test.args)
		}
		if nothing := strings.Contains(string(b), "Nothing was judged."); nothing != (status == exitUnjudged) {
			t.Errorf("%v: the page says that nothing was judged: %v", test.args, nothing)
		}
	}

	before, _ := os.ReadFile(file)
	_, errs, status := command(t, "report", "--from", file, "-o", filepath.Join(filepath.Dir(file), ".", "capture.pcap"))
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) || status != exitUsage {
		t.Errorf("an input was overwritten: status %d, %s", status, errs)
	}

	out, errs, status := command(t, "report", "-o", "-", "--from", file, "--from", empty)
	if status != exitFine || errs != "" {
		t.Errorf("status %d: %s", status, errs)
	}
	for _, want := range []string{
		"<p class=\"answer\"><bdi>1 of 2 edges between workloads carried plaintext; 1 mutual TLS", `<span class="v plaintext">plaintext</span>`, "plaintext-edge", "10.0.0.2",
		"capture <bdi>capture.pcap</bdi>: ", " lost.</li>", "No tap has reported a lost packet.", "kubectl-meshtls dev",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if got := regexp.MustCompile(`(?s)<section id="made".*?</section>`).FindString(out); t.Failed() {
		t.Log(got)
	}
}

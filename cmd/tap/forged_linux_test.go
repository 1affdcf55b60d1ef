package main

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// In a network namespace, the test binary sends the frames of a capture.
func init() {
	if os.Getenv("MESHTLS_LIVE") == "forge" {
		exitOn(forge(os.Getenv("MESHTLS_FRAMES")))
	}
}

func forge(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	c, err := openCapture(bytes.NewReader(b))
	if err != nil {
		return err
	}
	fd, err := player("eth0")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		var p flow.Packet
		if _, err := c.next(&p); err != nil {
			return nil // the end
		}
		if _, err := send(fd, &p); err != nil {
			return err
		}
	}
}

// TestForgedConversation: whoever shares the pod's network sends both sides of a mutual TLS handshake that never took place. The
// same packets are mutual TLS where their direction is not known; live what claims to come from the pod itself is refused.
func TestForgedConversation(t *testing.T) {
	a, b := pods(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	frames := mutualWith(t, netip.MustParseAddrPort("10.77.0.9:40000"), netip.MustParseAddrPort(a.address+":8443"))
	file := filepath.Join(t.TempDir(), "forged.pcap")
	var captured bytes.Buffer
	if err := errors.Join(capturetest.WritePcap(&captured, frames), os.WriteFile(file, captured.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	var said []string
	p := newPipeline(flow.Config{}, verdict.Config{}, finding.Config{Tap: "read", Window: time.Hour, Flows: true, Emit: func(r finding.Record) { said = append(said, string(r.Value)) }})
	play(p, frames...)
	p.table.Flush()
	if got := flowsBy(t, said); len(got) != 1 || !strings.HasSuffix(got[0], " mtls") {
		t.Fatalf("without a direction: %q", got)
	}
	tap := a.start(t, []string{"TAP_INTERFACES=eth0", "TAP_EMIT=flows,posture", "POD_IPS=" + a.address}, buildTap(t), "run")
	a.ready(t)
	b.run(t, "", "env", "MESHTLS_LIVE=forge", "MESHTLS_FRAMES="+file, self)
	got := flowsBy(t, tap.end(t))
	if len(got) != 1 || !strings.HasPrefix(got[0], "eth0 "+a.address+":8443 ") || strings.HasSuffix(got[0], " mtls") {
		t.Errorf("live: %q", got)
	}
	t.Logf("live: %q", got)
}

package pipeline_test

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

const inClear = "credentials-in-clear"

// TestCredentialsInClear: each login of each protocol raises a finding that names its kind, and each near miss raises none.
func TestCredentialsInClear(t *testing.T) {
	for _, l := range capturetest.Logins() {
		t.Run(l.Protocol+"/"+l.Name, func(t *testing.T) {
			got := judge(t, frames(l.Talk))
			for _, r := range got.records {
				if carriesSecret(capturetest.Frame{Data: r}) {
					t.Errorf("published: %s", r)
				}
			}
			if l.Kinds == nil {
				got.silent(t, inClear, false)
				return
			}
			got.fires(t, inClear, 73, "10.1.0.7 sent a credential in plaintext to ")
			if words := "(" + strings.Join(l.Kinds, ", ") + ")"; !strings.Contains(got.messages[inClear], words) {
				t.Errorf("message %q, want %q", got.messages[inClear], words)
			}
		})
	}
}

// TestLostCredentials: the rule is silent, and the posture says that it is blind, if the capture lost the client's request.
func TestLostCredentials(t *testing.T) {
	for _, l := range capturetest.Logins() {
		if l.Kinds == nil || l.Protocol != "http" && l.Protocol != "smtp" && l.Protocol != "postgresql" {
			continue
		}
		t.Run(l.Protocol+"/"+l.Name, func(t *testing.T) {
			all := frames(l.Talk)
			at := slices.IndexFunc(all, carriesSecret)
			if at < 0 {
				t.Skip("the secret is divided")
			}
			got := judge(t, slices.Delete(slices.Clone(all), at, at+1))
			got.silent(t, inClear, true)
		})
	}
}

// carriesSecret reports whether a frame has the secret of the logins, as it is or in base64.
func carriesSecret(f capturetest.Frame) bool {
	for _, text := range capturetest.Secrets() {
		if bytes.Contains(f.Data, []byte(text)) {
			return true
		}
	}
	return false
}

// TestCredentialsAlertOnce: plaintext with credentials raises one alert, of the more severe rule.
func TestCredentialsAlertOnce(t *testing.T) {
	basic, later := login(t, "http", "Basic"), login(t, "postgresql", "a plaintext password")
	for name, c := range map[string]struct {
		talk         *capturetest.Conversation
		expect, mute string
		want         []string
	}{
		"in the first packets":            {basic, "mtls", "", []string{"plaintext-edge event 73", "credentials-in-clear alert 73"}},
		"where TLS is expected":           {basic, "tls", "", []string{"plaintext-edge event 47", "credentials-in-clear alert 73"}},
		"later":                           {later, "mtls", "", []string{"plaintext-edge alert 73", "credentials-in-clear event 73"}},
		"later and more severe":           {later, "tls", "", []string{"plaintext-edge alert 47", "credentials-in-clear alert 73"}},
		"credentials-in-clear is muted":   {basic, "mtls", inClear, []string{"plaintext-edge alert 73"}},
		"plaintext-edge is muted":         {basic, "mtls", "plaintext-edge", []string{"credentials-in-clear alert 73"}},
		"any is expected, as of the peer": {basic, "any", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			expect, err := finding.ParseExpect("0.0.0.0/0=" + c.expect)
			if err != nil {
				t.Fatal(err)
			}
			if got := judgeWith(t, finding.Config{Expect: expect}, frames(c.talk), c.mute).kinds; !slices.Equal(got, c.want) {
				t.Errorf("findings %q, want %q", got, c.want)
			}
		})
	}
}

// TestCredentialsWithinThePod: what a proxy and its application send each other over loopback breaks no rule.
func TestCredentialsWithinThePod(t *testing.T) {
	talk := login(t, "http", "Basic")
	got := judge(t, talk.Packets(capturetest.Options{
		Client: netip.MustParseAddrPort("127.0.0.1:40000"), Server: netip.MustParseAddrPort("127.0.0.1:8080"), Start: captureStart,
	}))
	if of := got.rule(inClear); of != nil {
		t.Errorf("findings %q", of)
	}
}

func login(t *testing.T, protocol, name string) *capturetest.Conversation {
	t.Helper()
	for _, l := range capturetest.Logins() {
		if l.Protocol == protocol && l.Name == name {
			return l.Talk
		}
	}
	t.Fatal("no such login")
	return nil
}

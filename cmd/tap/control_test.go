package main

import (
	"bytes"
	"cmp"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOrders(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		files map[string]string
		until time.Time // TAP_UNTIL
		why   string
		fault string
		mute  string
		allow string // TAP_CONFIG_ALLOW, empty: everything
	}{
		"nothing":             {},
		"enabled":             {files: map[string]string{"enabled": "true\n"}},
		"disabled":            {files: map[string]string{"enabled": "false\n"}, why: "disabled"},
		"neither":             {files: map[string]string{"enabled": "no"}, fault: "enabled=no: expected true or false"},
		"over":                {files: map[string]string{"until": "2026-01-01T12:00:00Z"}, why: "until"},
		"not yet over":        {files: map[string]string{"until": "2026-01-01T12:00:01Z"}},
		"no time":             {files: map[string]string{"until": "noon"}, fault: "until=noon: expected an RFC 3339 time"},
		"sooner than TAP":     {files: map[string]string{"until": "2026-01-01T11:00:00Z"}, until: now.Add(time.Hour), why: "until"},
		"TAP sooner":          {files: map[string]string{"until": "2026-01-01T14:00:00Z"}, until: now, why: "until"},
		"muted":               {files: map[string]string{"mute": "plaintext-edge, tls-not-mutual"}, mute: "plaintext-edge tls-not-mutual"},
		"muted what is none":  {files: map[string]string{"mute": "all"}, fault: `mute=all: "all": expected rules, of plaintext-edge`},
		"expectation is none": {files: map[string]string{"expect": "10.0.0.0/8"}, fault: "expect=10.0.0.0/8: "},
		"too large":           {files: map[string]string{"mute": strings.Repeat("x", maxOrder+1)}, fault: "mute=: 65537 bytes, expected 65536 at most"},
		"not allowed":         {files: map[string]string{"mute": "plaintext-edge"}, allow: "enabled,until", fault: "mute=plaintext-edge: not allowed by TAP_CONFIG_ALLOW"},
		"no expectation":      {files: map[string]string{"expect": "0.0.0.0/0=any"}, allow: "enabled,until,mute", fault: "expect=0.0.0.0/0=any: not allowed"},
		"nothing allowed":     {files: map[string]string{"enabled": "false"}, allow: "none", fault: "enabled=false: not allowed"},
		"one fault of two":    {files: map[string]string{"enabled": "false", "until": "noon"}, why: "disabled", fault: "until=noon"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, value := range test.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			allow, err := parseAllow(cmp.Or(test.allow, strings.Join(orderKeys, ",")))
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			c := control{dir: dir, allow: allow, log: slog.New(slog.NewTextHandler(&log, nil))}
			c.read()
			o := c.read() // a fault is told of once
			if why := o.why(test.until, now); why != test.why {
				t.Errorf("why %q, want %q", why, test.why)
			}
			if mute := strings.Join(o.mute, " "); mute != test.mute {
				t.Errorf("mute %q, want %q", mute, test.mute)
			}
			said := strings.ReplaceAll(log.String(), `\"`, `"`)
			if told := strings.Join(c.faults(), "\n"); (told == "") != (test.fault == "") || !strings.Contains(told, test.fault) {
				t.Errorf("/readyz has %q, want %q", told, test.fault)
			}
			if test.fault == "" && said != "" || !strings.Contains(said, test.fault) || strings.Count(said, "\n") > 1 {
				t.Errorf("log %q, want one line with %q", said, test.fault)
			}
		})
	}
}

// TestOrdersOfNoFolder: a ConfigMap that is not there is no order and no fault.
func TestOrdersOfNoFolder(t *testing.T) {
	var log bytes.Buffer
	c := control{dir: filepath.Join(t.TempDir(), "none"), log: slog.New(slog.NewTextHandler(&log, nil))}
	if o := c.read(); o.off || !o.until.IsZero() || !slices.Equal(o.mute, nil) || log.Len() > 0 {
		t.Errorf("%+v, log %s", o, &log)
	}
}

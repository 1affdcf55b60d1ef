package main

import (
	"bytes"
	"cmp"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOrders: valid and allowed values are applied. Any other value is logged once and shown at
// /readyz.
func TestOrders(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	const narrow = "rule=plaintext-edge,peer=10.0.0.0/8,until=2026-12-31,reason=a, b"
	for name, test := range map[string]struct {
		files   map[string]string
		until   time.Time // TAP_UNTIL
		reason  string    // why the tap should not capture
		problem string
		mute    string
		allow   string // TAP_CONFIG_ALLOW, empty: everything
	}{
		"nothing":                {},
		"enabled":                {files: map[string]string{"enabled": "true\n"}},
		"disabled":               {files: map[string]string{"enabled": "false\n"}, reason: "disabled"},
		"not a boolean":          {files: map[string]string{"enabled": "no"}, problem: "enabled=no: expected true or false"},
		"over":                   {files: map[string]string{"until": "2026-01-01T12:00:00Z"}, reason: "until"},
		"not yet over":           {files: map[string]string{"until": "2026-01-01T12:00:01Z"}},
		"not a time":             {files: map[string]string{"until": "noon"}, problem: "until=noon: expected an RFC 3339 time"},
		"earlier than TAP_UNTIL": {files: map[string]string{"until": "2026-01-01T11:00:00Z"}, until: now.Add(time.Hour), reason: "until"},
		"later than TAP_UNTIL":   {files: map[string]string{"until": "2026-01-01T14:00:00Z"}, until: now},
		"no end any more":        {files: map[string]string{"until": ""}, until: now},
		"only TAP_UNTIL":         {files: map[string]string{"enabled": "true"}, until: now, reason: "until"},
		"invalid":                {files: map[string]string{"until": "later"}, until: now, reason: "until", problem: "until=later: expected"},
		"not to be extended":     {files: map[string]string{"until": "2026-01-01T14:00:00Z"}, until: now, allow: "enabled", reason: "until", problem: "not allowed"},
		"misspelled":             {files: map[string]string{"enable": "false", "..data": "", "Mute": ""}, problem: "Mute, enable: expected keys, of enabled, until, mute, expect"},
		"muted":                  {files: map[string]string{"mute": "plaintext-edge, tls-not-mutual"}, mute: "plaintext-edge tls-not-mutual"},
		"muted in part":          {files: map[string]string{"mute": narrow + "\nrule=plaintext-edge,port=x,until=2026-12-31,reason=x\n"}, mute: narrow, problem: "mute 2: \"port=x\": expected a port from 1 to 65535"},
		"narrowly muted":         {files: map[string]string{"mute": narrow + "\n"}, mute: narrow},
		"narrow, not allowed":    {files: map[string]string{"mute": narrow}, allow: "enabled,until,expect", problem: "mute=" + narrow + ": not allowed by TAP_CONFIG_ALLOW"},
		"unknown rule":           {files: map[string]string{"mute": "all"}, problem: `mute=all: mute 1: "all": expected rules, of plaintext-edge`},
		"invalid expectation":    {files: map[string]string{"expect": "10.0.0.0/8"}, problem: "expect=10.0.0.0/8: "},
		"too large":              {files: map[string]string{"mute": strings.Repeat("x", maxOrder+1)}, problem: "mute=: 65537 bytes, expected 65536 at most"},
		"not allowed":            {files: map[string]string{"mute": "plaintext-edge"}, allow: "enabled,until", problem: "mute=plaintext-edge: not allowed by TAP_CONFIG_ALLOW"},
		"no expectation":         {files: map[string]string{"expect": "0.0.0.0/0=any"}, allow: "enabled,until,mute", problem: "expect=0.0.0.0/0=any: not allowed"},
		"nothing allowed":        {files: map[string]string{"enabled": "false"}, allow: "none", problem: "enabled=false: not allowed"},
		"one of two is invalid":  {files: map[string]string{"enabled": "false", "until": "noon"}, reason: "disabled", problem: "until=noon"},
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
			c := configMap{dir: dir, allow: allow, log: slog.New(slog.NewTextHandler(&log, nil))}
			c.read()
			o := c.read() // the same errors are not logged again
			if reason := new(ending).update(&o, test.until, time.Time{}, now); reason != test.reason {
				t.Errorf("reason %q, want %q", reason, test.reason)
			}
			var muted []string
			for _, m := range o.mute {
				muted = append(muted, m.String())
				if !m.Namespace {
					t.Errorf("%s is not from the namespace", m.String())
				}
			}
			if mute := strings.Join(muted, " "); mute != test.mute {
				t.Errorf("mute %q, want %q", mute, test.mute)
			}
			logged := strings.ReplaceAll(log.String(), `\"`, `"`)
			if ignored := strings.Join(c.ignored(), "\n"); (ignored == "") != (test.problem == "") || !strings.Contains(ignored, test.problem) {
				t.Errorf("/readyz has %q, want %q", ignored, test.problem)
			}
			if test.problem == "" && logged != "" || !strings.Contains(logged, test.problem) || strings.Count(logged, "\n") > 1 {
				t.Errorf("log %q, want one line with %q", logged, test.problem)
			}
		})
	}
}

// TestOrdersWithoutFolder: without a ConfigMap there are no orders and no errors.
func TestOrdersWithoutFolder(t *testing.T) {
	var log bytes.Buffer
	c := configMap{dir: filepath.Join(t.TempDir(), "none"), log: slog.New(slog.NewTextHandler(&log, nil))}
	if o := c.read(); o.off || !o.until.IsZero() || o.mute != nil || log.Len() > 0 {
		t.Errorf("%+v, log %s", o, &log)
	}
}

// TestEnding changes the configuration of a running tap step by step. Once capturing has ended, only a value in the
// configuration can start it again.
func TestEnding(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 12, minute, 0, 0, time.UTC) }
	var e ending
	none, end := orders{}, func(minute int) orders { return orders{hasUntil: true, until: at(minute)} }
	for k, step := range []struct {
		minute int
		orders orders
		want   string
	}{
		{0, end(10), ""},
		{5, end(20), ""}, // the end is moved to a later time while the tap runs
		{15, end(20), ""},
		{16, end(12), "until"}, // the end was moved to an earlier time
		{17, none, "until"},    // TAP_UNTIL is over too
		{18, orders{hasUntil: true}, "until"},
		{19, end(30), ""}, // the end is moved to a later time again
		{20, orders{off: true, hasUntil: true, until: at(30)}, "disabled"},
		{21, end(30), "disabled"}, // the ConfigMap no longer has the key
		{22, none, "disabled"},
		{23, orders{on: true, hasUntil: true, until: at(30)}, ""},
		{30, orders{on: true, hasUntil: true, until: at(30)}, "until"},
		{31, orders{on: true}, "until"}, // enabled: true does not extend the time
	} {
		if got := e.update(&step.orders, at(10), time.Time{}, at(step.minute)); got != step.want {
			t.Errorf("step %d, minute %d: %q, want %q", k, step.minute, got, step.want)
		}
	}
	own, later := ending{}, end(50)
	if got := own.update(&later, time.Time{}, at(10), at(11)); got != "until" {
		t.Errorf("past the pod's own end, which the ConfigMap cannot extend: %q", got)
	}
}

// TestUnknownKeysAreBounded: many unknown keys are reported in one short line, once.
func TestUnknownKeysAreBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 300 {
		if err := os.WriteFile(filepath.Join(dir, strings.Repeat("k", 200)+string(rune('a'+i%26))+strings.Repeat("x", i/26)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	c := configMap{dir: dir, log: slog.New(slog.NewTextHandler(&log, nil))}
	c.read()
	c.read()
	if logged := log.String(); strings.Count(logged, "\n") != 1 || len(logged) > 2000 || !strings.Contains(logged, "and 292 more") {
		t.Errorf("%d lines, %d bytes", strings.Count(logged, "\n"), len(logged))
	}
}

package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// TestMutesAreLogged: a mute without an end and a reason is logged once, as is the end of a mute.
func TestMutesAreLogged(t *testing.T) {
	list, err := finding.ParseMutes("tap-blind;rule=plaintext-edge,until=2026-01-01,reason=x;rule=cipher-weak,until=2026-01-02,reason=y")
	if err != nil {
		t.Fatal(err)
	}
	list[2].Namespace = true
	var log bytes.Buffer
	made := &tap{log: slog.New(slog.NewTextHandler(&log, nil)), muted: list}
	for k, step := range []struct {
		hours int
		want  []string // parts of the lines that are logged
	}{
		{0, []string{`"a mute has no end and no reason; see tap run --help" mute=tap-blind from=TAP_MUTE`}},
		{1, nil},
		{24, []string{`"a mute has ended; its findings are published again" mute="rule=plaintext-edge,until=2026-01-01,reason=x" from=TAP_MUTE`}},
		{25, nil},
		{48, []string{`mute="rule=cipher-weak,until=2026-01-02,reason=y" from="the namespace's ConfigMap"`}},
	} {
		log.Reset()
		made.logMutes(time.Date(2026, 1, 1, step.hours, 0, 0, 0, time.UTC))
		if n := strings.Count(log.String(), "\n"); n != len(step.want) {
			t.Errorf("step %d: %d lines: %s", k, n, &log)
		}
		for _, part := range step.want {
			if !strings.Contains(log.String(), part) {
				t.Errorf("step %d: log %s, want %s", k, &log, part)
			}
		}
	}
}

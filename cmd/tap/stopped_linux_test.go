package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// TestStoppedBeforeCapture: a tap whose time is over before it captures, or that must not capture at its start, publishes why, and nothing else.
func TestStoppedBeforeCapture(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "enabled"), []byte("false"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		environ []string
		reason  string
	}{
		"TAP_FOR":       {[]string{"TAP_FOR=1ns"}, "for"},
		"TAP_OWN_UNTIL": {[]string{"TAP_OWN_UNTIL=2026-01-01T00:00:00Z"}, "until"},
		"both":          {[]string{"TAP_FOR=2s", "TAP_UNTIL=2026-01-01T00:00:00Z"}, "until"},
		"disabled":      {[]string{"TAP_CONFIG_DIR=" + folder, "TAP_CONFIG_ALLOW=enabled"}, "disabled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var errs bytes.Buffer
			out := &eventually.Output{}
			cmd := exec.Command(buildTap(t), "run")
			cmd.Env = append(os.Environ(), append(c.environ, "TAP_SELF_TEST=false", "TAP_INTERFACES=nosuch0")...)
			cmd.Stdout, cmd.Stderr = out, &errs
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			eventually.True(t, "the record", func() bool { return strings.Contains(out.String(), `"action":"stopped"`) }, out.String)
			if !strings.Contains(strings.Join(c.environ, " "), "TAP_FOR") {
				cmd.Process.Signal(syscall.SIGTERM)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %s", err, &errs)
			}
			records := validated(t, strings.SplitAfter(out.String(), "\n"))
			last := records[len(records)-1]
			if last.at("event.action") != "stopped" || last.at("event.reason") != c.reason || c.reason != "for" && len(records) != 1 {
				t.Errorf("%s", out.String())
			}
		})
	}
}

// TestScreenKilled: a second signal, or Ctrl-C for the second time, ends the process at once, also while records are still being delivered. The terminal is
// restored before.
func TestScreenKilled(t *testing.T) {
	t.Parallel()
	mute := listen(t, func(net.Conn) {}) // a broker that never answers, so that the delivery takes long
	for name, end := range map[string]func(*session){
		"signals": func(s *session) {
			s.Process.Signal(syscall.SIGTERM)
			time.Sleep(100 * time.Millisecond)
			s.Process.Signal(os.Interrupt)
		},
		"keys": func(s *session) { s.keyboard.WriteString("\x03x\x03") },
		"a key, a signal": func(s *session) {
			s.keyboard.WriteString("q")
			s.Process.Signal(syscall.SIGTERM)
			s.Process.Signal(os.Interrupt)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, terminal := screenRun(t, []string{"TAP_SINK=kafka", "TAP_KAFKA_BROKERS=" + mute.Addr().String(), "TAP_GRACE=1h"}, "--output=screen")
			eventually.True(t, "the view", func() bool { return strings.Contains(s.screen.String(), "nosuch0") }, s.screen.String)
			end(s)
			err := s.Wait()
			sane(t, terminal)
			terminal.Close()
			<-s.shown
			if shown := s.screen.String(); s.ProcessState.ExitCode() != exitError || !strings.HasSuffix(strings.TrimSuffix(shown, "q"), leaveScreen) { // a key that is not read any more is shown
				t.Errorf("%v, exit status %d: %q", err, s.ProcessState.ExitCode(), shown)
			}
		})
	}
}

// TestCreatePrivate: a file that exists, and that others may read, is readable only for its owner afterwards.
func TestCreatePrivate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "old")
	if err := os.WriteFile(file, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := createPrivate(file)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if info, err := os.Stat(file); err != nil || info.Size() != 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	before, _ := os.Stat(os.DevNull)
	if f, err = createPrivate(os.DevNull); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if after, err := os.Stat(os.DevNull); err != nil || after.Mode() != before.Mode() {
		t.Errorf("the mode of %s is %v now", os.DevNull, after.Mode())
	}
}

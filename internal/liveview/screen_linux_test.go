package liveview

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/confine"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestMain runs the view itself if the variable VIEW is set, so that tests can run it in a terminal.
func TestMain(m *testing.M) {
	if file := os.Getenv("VIEW"); file != "" {
		view(file)
		return
	}
	os.Exit(confine.Main(m.Run, confine.Options{}))
}

// view shows shop until the user quits, or until file exists: then the taps have ended.
func view(file string) {
	source := func() State {
		s := shop()
		if os.Getenv("EDGES") != "" {
			s = many(1000)
		}
		if _, err := os.Stat(file); err == nil {
			if os.Getenv("PANIC") != "" {
				panic("a fault of the source")
			}
			s.Ended = "the time of the taps (10m) was over"
		}
		return s
	}
	o := Options{In: os.Stdin, Out: os.Stdout, Env: os.Environ(), clock: func() time.Time { return noon }}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	quit, err := Run(ctx, "Tapping shop, 4 pods", source, o)
	if err == nil {
		err = Summary(os.Stdout, source(), map[bool]string{true: "q was pressed", false: ""}[quit], o)
	}
	fmt.Println("status:", err)
	io.Copy(io.Discard, os.Stdin) // the screen stays until the session ends
}

// screen is the view in a terminal of tmux.
type screen struct {
	t      *testing.T
	socket string
	file   string // ends the taps
}

// open runs the view in a terminal of a size, with more variables.
func open(t *testing.T, columns, lines int, environ ...string) *screen {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is missing (apt-get install tmux)")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &screen{t: t, socket: filepath.Join(dir, "tmux"), file: filepath.Join(dir, "end")}
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, []byte("set -g status off\nset -g default-terminal tmux-256color\nset -g remain-on-exit on\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-u", "-S", s.socket, "-f", conf, "new-session", "-d", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(lines)}
	args = append(append(args, "env", "VIEW="+s.file), environ...)
	if out, err := exec.Command("tmux", append(args, self)...).CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("tmux", "-S", s.socket, "kill-server").Run() })
	return s
}

// shown returns the screen.
func (s *screen) shown() string {
	out, err := exec.Command("tmux", "-u", "-S", s.socket, "capture-pane", "-p").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return string(out)
}

// format returns a format of tmux about the terminal.
func (s *screen) format(format string) string {
	s.t.Helper()
	out, err := exec.Command("tmux", "-S", s.socket, "display-message", "-p", format).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// wait waits until the screen has a text.
func (s *screen) wait(text string) string {
	s.t.Helper()
	var shown string
	eventually.True(s.t, "the screen has "+text, func() bool { shown = s.shown(); return strings.Contains(shown, text) }, func() string { return shown })
	return shown
}

func (s *screen) press(keys ...string) {
	s.t.Helper()
	if out, err := exec.Command("tmux", append([]string{"-S", s.socket, "send-keys"}, keys...)...).CombinedOutput(); err != nil {
		s.t.Fatalf("tmux: %v %s", err, out)
	}
}

// golden compares a screen with its golden file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != got {
		t.Errorf("%s differs; with -update it is rewritten. %v Now:\n%s", file, err, got)
	}
}

// TestScreens compares the table, the details of an edge and the summary at three widths with golden files. Hostile names are in all of
// them as text.
func TestScreens(t *testing.T) {
	for _, columns := range []int{60, 80, 200} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			s := open(t, columns, 26)
			golden(t, fmt.Sprintf("table-%d", columns), s.wait("q quit"))
			s.press("Enter")
			golden(t, fmt.Sprintf("why-%d", columns), s.wait("esc back"))
			s.press("Escape")
			s.wait("/ filter")
			s.press("/")
			s.press("-l", "mtls shop")
			golden(t, fmt.Sprintf("filter-%d", columns), s.wait("/mtls shop"))
			s.press("Enter")
			s.wait(`filter "mtls shop"`)
			s.press("q")
			s.wait("status:")
			golden(t, fmt.Sprintf("summary-%d", columns), s.shown())
		})
	}
}

// TestEnd: when the taps end, the view ends by itself and the normal screen has the reason.
func TestEnd(t *testing.T) {
	s := open(t, 80, 40)
	s.wait("q quit")
	if err := os.WriteFile(s.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if shown := s.wait("status: <nil>"); !strings.Contains(shown, "Ended: the time of the taps (10m) was over") {
		t.Errorf("the normal screen has no reason:\n%s", shown)
	}
}

// TestRestored: after SIGTERM, and after a panic, the terminal has its normal screen, a cursor, and shows what is typed; a panic is reported.
func TestRestored(t *testing.T) {
	for name, c := range map[string]struct {
		environ, status string
		end             func(*screen)
	}{
		"SIGTERM": {"PANIC=", "status: <nil>", func(s *screen) {
			pid, err := strconv.Atoi(s.format("#{pane_pid}"))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}},
		"a panic": {"PANIC=1", "status: program was killed: program experienced a panic", func(s *screen) {
			if err := os.WriteFile(s.file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, 80, 40, c.environ)
			s.wait("q quit")
			c.end(s)
			s.wait(c.status)
			if got := s.format("#{alternate_on} #{cursor_flag} #{mouse_any_flag}"); got != "0 1 0" {
				t.Errorf("alternate screen, cursor, mouse: %s", got)
			}
			s.press("-l", "what is typed")
			s.wait("what is typed")
		})
	}
}

// TestScroll: the keys move the selection through 1,000 edges, and Ctrl-C quits.
func TestScroll(t *testing.T) {
	s := open(t, 80, 24, "EDGES=1000")
	s.wait("rows 1-")
	s.press("End")
	s.wait("Within the pod")
	s.press("Home")
	s.wait("rows 1-")
	s.press("NPage", "NPage")
	s.wait("rows 9-17 of 1002")
	s.press("Down")
	s.wait("rows 10-18")
	s.press("Up", "PPage", "PPage")
	s.wait("rows 1-9")
	s.press("/")
	s.press("-l", "no such workload")
	s.wait("the filter hides 1000 edges")
	s.press("Escape")
	s.wait("rows 1-")
	s.press("C-c")
	s.wait("status: <nil>")
}

// TestPlain: without colors nothing is colored, and a dumb terminal has plain lines.
func TestPlain(t *testing.T) {
	s := open(t, 80, 24, "NO_COLOR=1")
	s.wait("q quit")
	out, err := exec.Command("tmux", "-S", s.socket, "capture-pane", "-p", "-e").Output()
	if err != nil || strings.Contains(string(out), "\x1b[3") {
		t.Errorf("%v %q", err, out)
	}
	dumb := open(t, 200, 30, "TERM=dumb")
	shown := dumb.wait("plaintext: shop/cart to shop/redis:6379, Redis (observed)")
	if strings.Contains(shown, "q quit") {
		t.Errorf("a dumb terminal has a table:\n%s", shown)
	}
}

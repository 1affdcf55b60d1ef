package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// screenRun starts `tap run` whose input, output and error are a terminal.
func screenRun(t *testing.T, environ []string, args ...string) (s *session, terminal *os.File) {
	t.Helper()
	keyboard, terminal := openTerminal(t, 80)
	t.Cleanup(func() { terminal.Close() })
	s = &session{Cmd: exec.Command(buildTap(t), append([]string{"run"}, args...)...), keyboard: keyboard, shown: make(chan error, 1)}
	s.Env = append(append(os.Environ(), "TERM=xterm", "NO_COLOR=", "TAP_SELF_TEST=false", "TAP_INTERFACES=nosuch0"), environ...)
	s.Stdin, s.Stdout, s.Stderr = terminal, terminal, terminal
	s.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := io.Copy(&s.screen, keyboard)
		s.shown <- err
	}()
	return s, terminal
}

// TestScreenEnds: each end of the live view restores the terminal, and prints the report, the log and the reason on the normal screen.
func TestScreenEnds(t *testing.T) {
	t.Parallel()
	key := func(text string) func(*session) {
		return func(s *session) { s.keyboard.WriteString(text) }
	}
	for name, c := range map[string]struct {
		args   []string
		end    func(*session)
		reason string
	}{
		"q":       {nil, key("q"), "q or Ctrl-C was pressed"},
		"Ctrl-C":  {nil, key("\x03"), "q or Ctrl-C was pressed"},
		"SIGTERM": {nil, func(s *session) { s.Process.Signal(syscall.SIGTERM) }, "it was interrupted"},
		"time":    {[]string{"--for=2s"}, func(*session) {}, "the time is up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, terminal := screenRun(t, nil, c.args...)
			eventually.True(t, "the view", func() bool {
				shown := s.screen.String()
				return strings.HasPrefix(shown, enterScreen+clearScreen) && strings.Contains(shown, "capture on nosuch0: ") && strings.Contains(shown, "No edges between workloads on the wire so far.")
			}, s.screen.String)
			c.end(s)
			err := s.Wait()
			sane(t, terminal)
			terminal.Close()
			<-s.shown
			view, normal, left := strings.Cut(s.screen.String(), leaveScreen)
			if err != nil || !left || strings.Contains(normal, "\x1b[?") || strings.Contains(view, `level=`) && !strings.Contains(view, "\x1b[24;1H") {
				t.Errorf("%v: %q", err, s.screen.String())
			}
			for _, want := range []string{"No edges: no connection with payload was seen.", "level=ERROR msg=\"not capturing; still trying\"", ": " + c.reason + "\r\n"} {
				if !strings.Contains(normal, want) {
					t.Errorf("%q is missing on the normal screen: %q", want, normal)
				}
			}
			if want := regexp.MustCompile(`tap run: ended after \d+s: [^\r]+\r\n$`); !want.MatchString(normal) {
				t.Errorf("the reason is not last: %q", normal)
			}
		})
	}
}

// TestScreenEndsAtOnce: while the last records wait for a broker, the terminal is as before, and two presses of Ctrl-C, as two signals, end
// the process.
func TestScreenEndsAtOnce(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts, so that requests are not answered
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s, terminal := screenRun(t, []string{"TAP_SINK=kafka", "TAP_KAFKA_BROKERS=" + silent.Addr().String(), "TAP_GRACE=10m"}, "--output=screen")
	eventually.True(t, "the view", func() bool { return strings.Contains(s.screen.String(), "capture on nosuch0: ") }, s.screen.String)
	s.keyboard.WriteString("q")
	eventually.True(t, "the normal screen", func() bool { return strings.Contains(s.screen.String(), leaveScreen) }, s.screen.String)
	eventually.True(t, "keys that are signals", func() bool {
		state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		return err == nil && state.Lflag&unix.ISIG != 0
	}, s.screen.String)
	sane(t, terminal)
	s.keyboard.WriteString("\x03")
	eventually.True(t, "^C is shown", func() bool { return strings.Contains(s.screen.String(), leaveScreen+"^C") }, s.screen.String)
	s.keyboard.WriteString("\x03")
	if err := s.Wait(); err == nil || s.ProcessState.ExitCode() != exitError {
		t.Errorf("%v: %q", err, s.screen.String())
	}
	sane(t, terminal)
	terminal.Close()
	<-s.shown
}

// TestScreenPanic: a panic while the screen is drawn restores the terminal.
func TestScreenPanic(t *testing.T) {
	keyboard, terminal := openTerminal(t, 80)
	state, err := term.MakeRaw(int(terminal.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{tap: nil, in: terminal, state: state, out: terminal, done: make(chan struct{})}
	s.entered = true
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		s.run(t.Context())
	}()
	sane(t, terminal)
	terminal.Close() // so that reading ends if nothing was written
	shown := make([]byte, len(leaveScreen))
	if _, err := io.ReadFull(keyboard, shown); err != nil || string(shown) != leaveScreen {
		t.Errorf("%v: %q", err, shown)
	}
}

// TestScreenLeave: whoever leaves the screen finds the terminal restored afterwards, also while another goroutine is still leaving, and the
// terminal accepts no output.
func TestScreenLeave(t *testing.T) {
	_, terminal := openTerminal(t, 80)
	defer terminal.Close()
	state, err := term.MakeRaw(int(terminal.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	in, stuck, err := os.Pipe() // stands for a terminal that accepts no output
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	defer in.Close() // ends the write
	stuck.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	stuck.Write(make([]byte, 1<<20))
	stuck.SetWriteDeadline(time.Time{})
	s := &screen{in: terminal, state: state, out: stuck, entered: true}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			s.leave()
			sane(t, terminal)
		})
	}
	all.Wait()
}

// sane fails the test if a terminal is not as a shell needs it: with echo, lines and signals.
func sane(t *testing.T, terminal *os.File) {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil || state.Lflag&unix.ECHO == 0 || state.Lflag&unix.ICANON == 0 || state.Lflag&unix.ISIG == 0 || state.Oflag&unix.OPOST == 0 {
		t.Errorf("%v: %+v", err, state)
	}
}

// TestScreenChoice: records are printed in place of the view if the terminal interprets no escapes, or they were asked for; NO_COLOR turns colors off.
func TestScreenChoice(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		environ, args []string
		view, colors  bool
	}{
		"terminal":      {nil, nil, true, true},
		"NO_COLOR":      {[]string{"NO_COLOR=1"}, nil, true, false},
		"dumb":          {[]string{"TERM=dumb"}, nil, false, false},
		"json":          {nil, []string{"--output=json"}, false, false},
		"Kafka":         {[]string{"TAP_SINK=kafka", "TAP_KAFKA_BROKERS=127.0.0.1:9"}, nil, false, false},
		"Kafka, screen": {[]string{"TAP_SINK=kafka", "TAP_KAFKA_BROKERS=127.0.0.1:9", "TAP_GRACE=0s"}, []string{"--output=screen"}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, terminal := screenRun(t, c.environ, c.args...)
			eventually.True(t, "output about the interface", func() bool { return strings.Contains(s.screen.String(), "nosuch0") }, s.screen.String)
			s.Process.Signal(syscall.SIGTERM)
			err := s.Wait()
			sane(t, terminal)
			terminal.Close()
			<-s.shown
			shown := s.screen.String()
			if view := strings.Contains(shown, enterScreen); err != nil || view != c.view || strings.Contains(shown, leaveScreen) != c.view {
				t.Errorf("%v: %q", err, shown)
			}
			if colors := strings.Contains(shown, "\x1b[31m"); colors != c.colors {
				t.Errorf("colors: %v in %q", colors, shown)
			}
			if name == "json" || name == "dumb" {
				if n := schematest.Lines(t, strings.SplitAfter(strings.ReplaceAll(shown, "\r\n", "\n"), "\n")); n == 0 {
					t.Errorf("no record: %q", shown)
				}
			}
		})
	}
	var out, errs bytes.Buffer
	for args, want := range map[string]string{
		"--output=screen": `tap run: --output=screen: standard output is not a terminal that interprets escapes; see "tap run --help"`,
		"--output=text":   `tap run: --output=text: expected json or screen; see "tap run --help"`,
	} {
		if status := command(t.Context(), []string{"run", args}, nil, streams{strings.NewReader(""), &out, &errs}); status != exitUsage || errs.String() != want+"\n" {
			t.Errorf("%s: exit status %d: %s", args, status, &errs)
		}
		errs.Reset()
	}
}

// TestScreenLive: in a terminal of tmux with 60, 80 and 200 columns the view shows the edges of real connections with their verdicts, and the
// report is on the normal screen after q. On a busy machine the taps may lose packets, so the numbers of connections are not compared.
func TestScreenLive(t *testing.T) {
	norace(t)
	client, server := pods(t)
	needs(t, "tmux", "tmux")
	server.serve(t, "MESHTLS_LIVE=server", server.address)
	folder := t.TempDir()
	tmux := func(args ...string) string {
		cmd := exec.Command("tmux", append([]string{"-S", filepath.Join(folder, "tmux"), "-f", "/dev/null"}, args...)...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TMUX=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	widths := []int{60, 80, 200}
	for _, width := range widths {
		run := []string{"env", "TAP_INTERFACES=eth0", "TAP_SELF_TEST=false", "POD_NAMESPACE=shop", "POD_NAME=web-1", "POD_IPS=" + client.address, "TAP_EXPECT=10.77.0.0/24=mtls"}
		run = append(append(run, client.within()...), releasedTap(t), "run", "--for=1h")
		tmux(append([]string{"new-session", "-d", "-s", strconv.Itoa(width), "-x", strconv.Itoa(width), "-y", "40", "--"}, append(run, ";", "set-option", "remain-on-exit", "on")...)...)
	}
	defer exec.Command("tmux", "-S", filepath.Join(folder, "tmux"), "kill-server").Run()
	shown := func(width int) string { return tmux("capture-pane", "-p", "-t", strconv.Itoa(width)) }
	for _, width := range widths {
		eventually.True(t, "the capture has begun", func() bool { return strings.Contains(shown(width), "msg=capturing") }, func() string { return shown(width) })
	}
	client.ask(t, "MESHTLS_LIVE=client", server.address)
	rows := []*regexp.Regexp{
		regexp.MustCompile(`(?m)^  plaintext +shop/web-1 +10\.77\.0\.2:7001 +HTTP/1\.1 .* \d+$`),
		regexp.MustCompile(`(?m)^  TLS one-way +shop/web-1 +10\.77\.0\.2:7002 +TLS 1\.3 .* \d+$`),
		regexp.MustCompile(`(?m)^  mutual TLS +shop/web-1 +10\.77\.0\.2:7003 +TLS 1\.3 .* \d+$`),
		regexp.MustCompile(`(?m)^  mutual TLS +shop/web-1 +spiffe:\S*art:7004 +TLS 1\.2 .* \d+$`),
		regexp.MustCompile(`(?m)^5 edges: 2 mutual TLS, 1 TLS, 2 plaintext$`),
		regexp.MustCompile(`(?m)^tap run, shop/web-1, .* left \(q quits\)$`),
		regexp.MustCompile(`(?m)^  \d\d:\d\d:\d\d +\d+  plaintext-edge `),
	}
	for _, width := range widths {
		for _, row := range rows {
			eventually.True(t, row.String(), func() bool { return row.MatchString(shown(width)) }, func() string { return shown(width) })
		}
		screen := shown(width)
		for line := range strings.Lines(screen) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d columns: %s", n, line)
			}
		}
		t.Logf("%d columns:\n%s", width, screen)
		tmux("send-keys", "-t", strconv.Itoa(width), "q")
		eventually.True(t, "the reason", func() bool { return strings.Contains(shown(width), ": q or Ctrl-C was pressed") }, func() string { return shown(width) })
		if report := tmux("capture-pane", "-p", "-S", "-", "-t", strconv.Itoa(width)); !strings.Contains(report, "5 edges: 2 mutual TLS, 1 TLS, 2 plaintext") || !strings.Contains(report, "\nWhy\n") {
			t.Errorf("%s", report)
		}
	}
}

// BenchmarkScreen measures one second of a live view: 1,000 edges, of which 200 get a connection, and one redraw. A result of 20 ms would be 2% of a core.
func BenchmarkScreen(b *testing.B) {
	s, err := readEnvironment([]string{"TAP_INTERFACES=nosuch0", "POD_IPS=10.0.0.1", "TAP_FOR=1h"})
	if err != nil {
		b.Fatal(err)
	}
	x, err := newTap(s, streams{strings.NewReader(""), io.Discard, io.Discard})
	if err != nil {
		b.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	view := &screen{tap: x, out: null, log: &screenLog{}}
	id := uint64(0)
	connect := func(n int) {
		id++
		v := verdict.MTLS
		if n%10 == 0 {
			v = verdict.Plaintext
		}
		now := time.Now().UnixNano()
		j := &verdict.Judged{
			ID: id, Interface: "eth0", Start: now, Last: now, Ended: true, Settled: true, Transport: "tcp", Direction: verdict.DirectionEgress,
			Source:      verdict.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Port: 40000, Bytes: 100, Packets: 6},
			Destination: verdict.Endpoint{Addr: netip.MustParseAddr("10.0.0.2"), Port: uint16(1000 + n), Bytes: 1000, Packets: 5},
			Scope:       verdict.ScopeWire, Class: "workload", Verdict: v, Protocol: "tls", PeerName: fmt.Sprintf("service-%d.shop.svc.cluster.local", n), PeerNameBasis: "dns",
		}
		x.pipeline.Do(func(p *pipeline.Locked) { p.Engine.Add(j) })
	}
	for n := range 1000 {
		connect(n)
	}
	if summary := x.summary(); len(summary.Edges) < 1000 {
		b.Fatalf("%d edges", len(summary.Edges))
	}
	for b.Loop() {
		for range 200 {
			connect(int(id) % 1000)
		}
		view.draw(time.Now())
	}
}

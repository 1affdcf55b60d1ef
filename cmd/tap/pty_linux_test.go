package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// session is a tap on a terminal of its own, whose input is a pipe: producer | tap read -
type session struct {
	*exec.Cmd
	keyboard *os.File          // the other end of the terminal
	screen   eventually.Output // output of the tap on the terminal
	in       *os.File          // input of the tap
	shown    chan error        // the end of screen
}

// openTerminal opens a terminal with 24 lines and a number of columns. It returns the end of the user, and the end of programs.
func openTerminal(t *testing.T, columns int) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { keyboard.Close() })
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(keyboard.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(columns)})
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	return keyboard, terminal
}

// openSession starts a tap on a terminal with a number of columns.
func openSession(t *testing.T, columns int, environ []string, args ...string) *session {
	t.Helper()
	keyboard, terminal := openTerminal(t, columns)
	in, producer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { producer.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &session{Cmd: exec.Command(self), keyboard: keyboard, in: producer, shown: make(chan error, 1)}
	s.Args = append([]string{"tap", "read"}, args...) // by this name TestMain runs the tap
	s.Env = append(os.Environ(), environ...)
	s.Stdin, s.Stdout, s.Stderr = in, terminal, terminal
	s.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 1, Pdeathsig: syscall.SIGKILL}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	in.Close()
	go func() {
		_, err := io.Copy(&s.screen, keyboard) // ends with EIO when nobody has the terminal open any more
		s.shown <- err
	}()
	return s
}

// end waits for the tap and returns its output and its exit status.
func (s *session) end(t *testing.T) (string, int) {
	t.Helper()
	_ = s.Wait()
	<-s.shown
	return strings.ReplaceAll(s.screen.String(), "\r\n", "\n"), s.ProcessState.ExitCode()
}

// TestReadOnTerminal: Ctrl-C on the terminal, while the producer still has the pipe open, is followed by the report of the packets so far. The
// report has colors and the width of the terminal, unless the environment or a flag is against it.
func TestReadOnTerminal(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "captures", "mixed.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		environ, args []string
		columns       int
		colored       bool
	}{
		"80 columns": {[]string{"TERM=xterm", "NO_COLOR="}, nil, 80, true},
		"no color":   {[]string{"TERM=xterm", "NO_COLOR=1"}, nil, 120, false},
		"dumb":       {[]string{"TERM=dumb", "NO_COLOR="}, nil, 120, false},
		"never":      {[]string{"TERM=xterm", "NO_COLOR="}, []string{"--color=never"}, 120, false},
		"always":     {[]string{"TERM=dumb", "NO_COLOR=1"}, []string{"--color=always"}, 120, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openSession(t, c.columns, c.environ, append(c.args, "-")...)
			if _, err := s.in.Write(data); err != nil {
				t.Fatal(err)
			}
			eventually.True(t, "the tap reads its input", func() bool {
				n, err := unix.IoctlGetInt(int(s.in.Fd()), unix.TIOCINQ) // bytes in the pipe
				return err == nil && n == 0
			})
			if _, err := s.keyboard.Write([]byte{3}); err != nil { // Ctrl-C
				t.Fatal(err)
			}
			got, status := s.end(t)
			if status != exitFine || !strings.Contains(got, "4 edges: 2 mutual TLS, 1 TLS, 1 plaintext\n") || !strings.Contains(got, "5 of 5 connections judged") {
				t.Errorf("exit status %d: %s", status, got)
			}
			if has := strings.Contains(got, "\x1b["); has != c.colored {
				t.Errorf("colors: %v, want %v", has, c.colored)
			}
			if most := widest(got); most > c.columns || most < c.columns-20 {
				t.Errorf("%d columns, of %d:\n%s", most, c.columns, got)
			}
		})
	}
}

// widest returns the number of characters of the longest line, without escapes.
func widest(text string) (most int) {
	for line := range strings.Lines(text) {
		n := 0
		for i, part := range strings.Split(strings.TrimSuffix(line, "\n"), "\x1b[") {
			if i > 0 {
				_, part, _ = strings.Cut(part, "m")
			}
			n += len([]rune(part))
		}
		most = max(most, n)
	}
	return most
}

// TestReadTerminated: SIGTERM ends with the closing records.
func TestReadTerminated(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "captures", "mixed.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	s := openSession(t, 80, nil, "--output=json", "-")
	if _, err := s.in.Write(data); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the first record", func() bool { return bytes.Contains([]byte(s.screen.String()), []byte("\n")) })
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	got, status := s.end(t)
	if status != exitFine || strings.Count(got, `"action":"snapshot"`) != 4 {
		t.Errorf("exit status %d, %d snapshots: %s", status, strings.Count(got, `"action":"snapshot"`), got)
	}
}

//go:build linux

package confine

import (
	"fmt"
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

// TestMain confines the tests only in the process that the function mess starts.
func TestMain(m *testing.M) {
	if os.Getenv("MESHTLS_MESS") == "" {
		os.Exit(m.Run())
	}
	os.Exit(Main(m.Run, Options{Network: true}))
}

// TestMess runs in the process that the function mess starts. It leaves a directory and processes, and ends in the
// manner that the variable MESHTLS_MESS names.
func TestMess(t *testing.T) {
	how := os.Getenv("MESHTLS_MESS")
	if how == "" {
		t.Skip("a part of TestConfined")
	}
	dir, err := os.MkdirTemp("", "left")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			t.Log(err) // in some containers not even root may mount
		}
	}
	if Network() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			_, err = net.Dial("tcp", l.Addr().String())
		}
		if err != nil {
			t.Fatalf("loopback: %v", err)
		}
	}
	// One of the processes is stopped, in another session, and its parent has ended.
	out, err := exec.Command("sh", "-c", "setsid sh -c 'echo $$; exec >/dev/null; kill -STOP $$' 2>/dev/null & sleep 1000 >/dev/null 2>&1 &").Output()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("made %s %s", dir, out)
	switch how {
	case "fails":
		t.Error("as it should")
	case "panics":
		panic("as it should")
	case "waits":
		time.Sleep(time.Hour) // the process is killed before this time
	}
}

// TestConfined: however the tests end, they leave no process and no directory.
func TestConfined(t *testing.T) {
	for _, c := range []struct {
		name, how string
		stop      func(pid int) error
		status    int
	}{
		{"passes", "passes", nil, 0},
		{"fails", "fails", nil, 1},
		{"panics", "panics", nil, 2},
		{"Ctrl-C", "waits", func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) }, 130},
		{"SIGTERM of the parent", "waits", func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }, 143},
	} {
		t.Run(c.name, func(t *testing.T) {
			tmp := t.TempDir()
			cmd, made := mess(t, tmp, c.how)
			if c.stop != nil {
				if err := c.stop(cmd.Process.Pid); err != nil {
					t.Fatal(err)
				}
			}
			cmd.Wait()
			if status := cmd.ProcessState.ExitCode(); status != c.status {
				t.Errorf("exit status %d, want %d", status, c.status)
			}
			gone(t, made)
			if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestStale: after a parent was ended by SIGKILL, the next start removes everything that it left, and nothing of a
// parent that still runs.
func TestStale(t *testing.T) {
	tmp := t.TempDir()
	alive, made := mess(t, tmp, "waits")
	killed, orphan := mess(t, tmp, "waits")
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) != 2 {
		t.Fatalf("directories: %v", left)
	}
	killed.Process.Kill()
	killed.Wait()
	third, _ := mess(t, tmp, "passes")
	third.Wait()
	left, _ := filepath.Glob(filepath.Join(tmp, "*"))
	if len(left) != 1 || !strings.HasPrefix(made[0], left[0]+"/") {
		t.Errorf("directories: %v, want that of %s alone", left, made[0])
	}
	eventually.True(t, "the orphan ends", func() bool { return !running(orphan[1]) })
	if !running(made[1]) {
		t.Error("a process of the living one was killed")
	}
	alive.Process.Signal(syscall.SIGTERM)
	alive.Wait()
	gone(t, made)
}

// mess starts TestMess in a new process group. It returns the directory that TestMess created and the id of the
// process that it started.
func mess(t *testing.T, tmp, how string) (cmd *exec.Cmd, made []string) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^TestMess$", "-test.v")
	cmd.Env = append(os.Environ(), "MESHTLS_MESS="+how, "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	file := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	read := func() string { text, _ := os.ReadFile(file); return string(text) }
	eventually.True(t, "the process has made its mess", func() bool {
		_, after, ok := strings.Cut(read(), "made ")
		line, _, whole := strings.Cut(after, "\n")
		made = strings.Fields(line)
		return ok && whole && len(made) == 2
	}, read)
	return cmd, made
}

// gone fails the test if the directory or the process that mess returned still exists.
func gone(t *testing.T, made []string) {
	t.Helper()
	if running(made[1]) {
		t.Errorf("process %s is still there", made[1])
	}
	if _, err := os.Stat(made[0]); err == nil {
		t.Errorf("%s is still there", made[0])
	}
}

// running reports whether a process with that id exists and is not a zombie.
func running(pid string) bool {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	return err == nil && len(text) > 0
}

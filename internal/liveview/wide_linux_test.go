package liveview

import (
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSummaryWide: on a narrow terminal the summary leaves columns out and shortens names, except with Wide.
func TestSummaryWide(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	defer master.Close()
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 60})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, wide := range []bool{false, true} {
		terminal, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
		if err != nil {
			t.Skipf("no pseudo-terminal: %v", err)
		}
		shown := make(chan string)
		go func() {
			b, _ := io.ReadAll(master) // ends with EIO when the terminal is closed
			shown <- string(b)
		}()
		o := Options{Out: terminal, Env: []string{"TERM=xterm", "NO_COLOR=1"}, Wide: wide, clock: func() time.Time { return noon }}
		if err := Summary(terminal, shop(), "", o); err != nil {
			t.Error(err)
		}
		terminal.Close()
		text := <-shown
		full := strings.Contains(text, "production-eu-west/payments-authorization-service-canary:8443") && strings.Contains(text, "BASIS")
		if full != wide {
			t.Errorf("wide %v:\n%s", wide, text)
		}
	}
}

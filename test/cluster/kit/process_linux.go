package kit

import (
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// Start starts a program that ends with the test process, however that ends, and with the test at the latest. The function
// returned ends it by a signal and waits.
func Start(t testing.TB, cmd *exec.Cmd) (stop func(syscall.Signal) error) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	var result error
	go func() {
		runtime.LockOSThread() // the death signal comes when the thread that forked ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			result = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	return func(s syscall.Signal) error {
		select {
		case <-ended:
			return result
		default:
		}
		cmd.Process.Signal(s)
		<-ended
		return result
	}
}

package kit

import (
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// Start starts a program. The program ends at the end of the test, or when the test process dies. stop sends the
// program a signal and waits until it has ended.
func Start(t testing.TB, cmd *exec.Cmd) (stop func(syscall.Signal) error) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	var result error
	go func() {
		runtime.LockOSThread() // the kernel sends the death signal when the thread that started the program ends
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

//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process took until it was waited for.
type usage struct {
	cpu  time.Duration // user and system, of all its threads (wait4(2))
	rss  int64         // the most, bytes, of the program itself (peak)
	wall time.Duration
}

// peak follows the most resident memory of a process (VmHWM of proc_pid_status(5)) while
// it runs. getrusage(2) does not tell it: ru_maxrss outlives exec, so that a child has at
// least what its parent had when it was forked. VmHWM begins anew with each program. What
// is taken in the last sampleEvery before the end may be missed.
type peak struct {
	pid  int
	most atomic.Int64
	end  chan struct{}
	over sync.WaitGroup
}

const sampleEvery = 5 * time.Millisecond

func follow(pid int) *peak {
	m := &peak{pid: pid, end: make(chan struct{})}
	m.over.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			m.see()
			select {
			case <-m.end:
				return
			case <-tick.C:
			}
		}
	})
	return m
}

// see takes a sample. The last one counts: a wrapper that executes the program itself has
// a peak of its own before. A process that has ended has none.
func (m *peak) see() {
	if n := status(m.pid, "VmHWM"); n > 0 {
		m.most.Store(n)
	}
}

func (m *peak) stop() int64 {
	close(m.end)
	m.over.Wait()
	return m.most.Load()
}

// process is one that was started, and is ended by its own process id.
type process struct {
	cmd   *exec.Cmd
	err   fmt.Stringer // what it wrote to standard error
	begun time.Time

	memory *peak
}

// start starts a program in a network namespace (empty: this one) and, where limits are
// given, in a control group.
func start(ns string, limits *group, stdout io.Writer, stderr io.Writer, environ []string, args ...string) (*process, error) {
	return startReading(nil, ns, limits, stdout, stderr, environ, args...)
}

// startReading is start with a standard input.
func startReading(stdin io.Reader, ns string, limits *group, stdout io.Writer, stderr io.Writer, environ []string, args ...string) (*process, error) {
	if ns != "" {
		args = append([]string{"nsenter", "--net=/run/netns/" + ns}, args...) // "ip netns exec" hides /sys/fs/cgroup
	}
	if limits != nil {
		args = append([]string{"sh", "-c", limits.enter() + `exec "$@"`, "sh"}, args...)
	}
	p := &process{cmd: exec.Command(args[0], args[1:]...), begun: time.Now()}
	if stderr == nil {
		stderr = &bytes.Buffer{}
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, stdout, stderr
	p.err, _ = stderr.(fmt.Stringer)
	if environ != nil {
		p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, environ...)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.memory = follow(p.cmd.Process.Pid)
	return p, nil
}

// wait waits for the end and returns what it took. Exit statuses in fine are no error.
func (p *process) wait(fine ...int) (usage, error) {
	err := p.cmd.Wait()
	u := usage{wall: time.Since(p.begun)}
	if s := p.cmd.ProcessState; s != nil {
		u.cpu = s.UserTime() + s.SystemTime()
		u.rss = p.memory.stop()
		if slices.Contains(fine, s.ExitCode()) {
			err = nil
		}
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(p.cmd.Args, " "), err, lastLine(p.err.String()))
	}
	return u, err
}

// stop ends the process by a signal and waits for it.
func (p *process) stop(s os.Signal) (usage, error) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return usage{}, err
	}
	kill := time.AfterFunc(20*time.Second, func() { p.cmd.Process.Kill() }) // Wait tells
	defer kill.Stop()
	u, err := p.wait(0, -1)
	return u, err
}

// cpu is what the process has taken so far, of all its threads, those that ended too.
func (p *process) cpu() time.Duration {
	var t unix.Timespec
	clock := int32(^p.cmd.Process.Pid)<<3 | 2 // clock_getcpuclockid(3)
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// status returns a line of proc_pid_status(5) that is in kB, as bytes.
func (p *process) status(field string) int64 { return status(p.cmd.Process.Pid, field) }

func status(pid int, field string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == field+":" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// run runs a command to its end and returns its output.
func run(ns string, args ...string) (string, error) {
	var out bytes.Buffer
	p, err := start(ns, nil, &out, nil, nil, args...)
	if err != nil {
		return "", err
	}
	_, err = p.wait()
	return out.String(), err
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

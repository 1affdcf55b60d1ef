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

// usage is the CPU time, the memory and the duration of a process from its start to its end.
type usage struct {
	cpu  time.Duration // user and system time of all its threads (wait4(2))
	rss  int64         // largest resident memory of the program itself, in bytes (see peak)
	wall time.Duration
}

// peak samples the largest resident memory of a process (VmHWM, proc_pid_status(5)) until the process ends. The kernel
// resets VmHWM when a process executes another program. ru_maxrss of getrusage(2) cannot be used: it survives exec, so
// a child's value is at least the memory that its parent had at the fork. Growth in the last sampleEvery before the end
// may be missed.
type peak struct {
	pid  int
	most atomic.Int64
	end  chan struct{}
	over sync.WaitGroup
}

const sampleEvery = 5 * time.Millisecond

// follow starts to sample the process pid. The caller calls stop.
func follow(pid int) *peak {
	m := &peak{pid: pid, end: make(chan struct{})}
	m.over.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			m.update()
			select {
			case <-m.end:
				return
			case <-tick.C:
			}
		}
	})
	return m
}

// update takes a sample. Only the newest sample counts, not the largest: a wrapper such as sh has its own peak before
// it executes the program. A process that has ended gives no sample.
func (m *peak) update() {
	if n := status(m.pid, "VmHWM"); n > 0 {
		m.most.Store(n)
	}
}

// stop ends the sampling and returns the last sample in bytes.
func (m *peak) stop() int64 {
	close(m.end)
	m.over.Wait()
	return m.most.Load()
}

// process is a program that this one has started.
type process struct {
	cmd   *exec.Cmd
	err   fmt.Stringer // its standard error
	begun time.Time

	memory *peak
}

// start starts a program in the network namespace ns (empty: the current one) and in the control group limits (nil:
// the current one). environ has its environment variables in addition to PATH (nil: it gets this program's
// environment). The caller calls wait or stop.
func start(ns string, limits *group, stdout io.Writer, stderr io.Writer, environ []string, args ...string) (*process, error) {
	return startReading(nil, ns, limits, stdout, stderr, environ, args...)
}

// startReading is like start, with a standard input.
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

// wait waits until the process ends and returns its usage. An exit status other than 0 is an error, unless fine lists
// it.
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

// stop sends the process a signal, waits until it ends, and returns its usage. If it does not end within 20 seconds,
// stop kills it.
func (p *process) stop(s os.Signal) (usage, error) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return usage{}, err
	}
	kill := time.AfterFunc(20*time.Second, func() { p.cmd.Process.Kill() }) // wait then returns an error
	defer kill.Stop()
	u, err := p.wait(0, -1)
	return u, err
}

// cpu returns the CPU time that all threads of the process have used so far, including threads that have ended.
func (p *process) cpu() time.Duration {
	var t unix.Timespec
	clock := int32(^p.cmd.Process.Pid)<<3 | 2 // clock_getcpuclockid(3)
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// status returns a field of proc_pid_status(5) in bytes. The field must be in kB.
func (p *process) status(field string) int64 { return status(p.cmd.Process.Pid, field) }

// status returns a field of the process pid in bytes. It returns 0 if there is no such field or the process has
// ended.
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

// run runs a command in the network namespace ns until it ends, and returns its standard output.
func run(ns string, args ...string) (string, error) {
	var out bytes.Buffer
	p, err := start(ns, nil, &out, nil, nil, args...)
	if err != nil {
		return "", err
	}
	_, err = p.wait()
	return out.String(), err
}

// lastLine returns the last line of s.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

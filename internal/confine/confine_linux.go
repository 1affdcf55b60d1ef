package confine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// prefix is the first part of each directory's name; the id of the process that created it
// follows.
const prefix = "meshtls-test-"

// Main runs tests, usually testing.M.Run, in a child process, and returns the exit status. TestMain calls it and
// exits with its result. Parent and child both execute the code of TestMain that precedes the call.
func Main(tests func() int, o Options) (status int) {
	if os.Getenv(environment) != "" {
		if Network() {
			if err := loopbackUp(); err != nil {
				fmt.Fprintln(os.Stderr, "confine: set loopback up:", err)
				return 1
			}
		}
		return tests()
	}
	runtime.LockOSThread() // the kernel sends Pdeathsig when the thread ends that started the child
	status, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "confine:", err)
		return max(1, status)
	}
	return status
}

// Network reports whether the tests have a network namespace of their own.
func Network() bool { return os.Getenv(environment) == "network" }

// loopbackUp sets lo up, which is down in a new network namespace: netdevice(7).
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

func run(o Options) (status int, err error) {
	removeStale(os.TempDir())
	dir, err := newDirectory(os.TempDir())
	if err != nil {
		return 1, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, fmt.Errorf("become the subreaper: %w", err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	child, err := start(dir.Name(), o)
	if err != nil {
		return 1, errors.Join(err, remove(dir))
	}
	go func() {
		for s := range signals {
			_ = child.Signal(s) // the error is ignored: a terminal sends the signal to the child as well, so the child may have ended
		}
	}()
	status = wait(child.Pid)
	return status, errors.Join(killAll(), remove(dir))
}

// start starts the child in the namespaces that this user may create.
func start(dir string, o Options) (*os.Process, error) {
	flags := uintptr(0)
	if os.Getuid() == 0 {
		flags = syscall.CLONE_NEWNS // the child's mounts are private because of Unshareflags
	}
	if o.Network {
		child, err := startIn(dir, "network", flags|syscall.CLONE_NEWNET)
		if err == nil {
			return child, nil
		}
	}
	child, err := startIn(dir, "mounts", flags)
	if err != nil && flags != 0 {
		child, err = startIn(dir, "processes", 0)
	}
	return child, err
}

func startIn(dir, confined string, flags uintptr) (*os.Process, error) {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), environment+"="+confined, "TMPDIR="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: flags, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the tests: %w", err)
	}
	return cmd.Process, nil
}

// wait reaps children until the one with the given id has ended, and returns its exit status.
func wait(pid int) (status int) {
	for {
		var s syscall.WaitStatus
		got, err := syscall.Wait4(-1, &s, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1
		case got == pid && s.Signaled():
			fmt.Fprintln(os.Stderr, "confine: the tests ended by signal:", s.Signal())
			return 128 + int(s.Signal())
		case got == pid:
			return s.ExitStatus()
		}
	}
}

// killAll kills and reaps all descendants. The children of a killed process become children of
// this process, so killAll repeats until no process is left.
func killAll() error {
	var all []int
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		all = children()
		for _, pid := range all {
			_ = syscall.Kill(pid, syscall.SIGKILL) // fails if the process has already ended
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.ECHILD) {
				return nil
			}
			if pid <= 0 && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	}
	return fmt.Errorf("processes that do not end: %v", all)
}

// children returns the ids of this process's children, from proc_pid_stat(5).
func children() (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ") // fields of proc_pid_stat(5): state, parent, ...
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// newDirectory creates a directory and locks it by flock(2). The lock lasts as long as the directory is open.
func newDirectory(in string) (*os.File, error) {
	name, err := os.MkdirTemp(in, prefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return dir, nil
}

func remove(dir *os.File) error {
	defer dir.Close()
	return os.RemoveAll(dir.Name())
}

// removeStale removes the directories whose process was killed, and kills the processes that it started. A directory
// is stale if no process has the id in its name and no process holds its lock. The id alone is not enough: the
// process may run in another container.
func removeStale(in string) {
	names, _ := filepath.Glob(filepath.Join(in, prefix+"[0-9]*-*"))
	for _, name := range names {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(name), prefix), "-")
		pid, err := strconv.Atoi(text)
		if err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		dir, err := os.Open(name)
		if err != nil {
			continue
		}
		if unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			killUsers(name)
			os.RemoveAll(name)
		}
		dir.Close()
	}
}

// killUsers kills the processes that were started with a directory as their TMPDIR.
func killUsers(dir string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !slices.Contains(strings.Split(string(text), "\x00"), "TMPDIR="+dir) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		_ = syscall.Kill(pid, syscall.SIGKILL) // the process may have ended
	}
}

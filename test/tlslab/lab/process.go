package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startWait = 15 * time.Second // bounds the time until a server listens
	talkWait  = 6 * time.Second  // bounds the time until a client has finished
	stopWait  = 3 * time.Second
	maxLog    = 1 << 20 // bounds the bytes of a peer's output that are kept
)

// process is a running peer, with its output.
type process struct {
	cmd  *exec.Cmd
	in   interface{ Close() error }
	wr   func(string) error
	done chan struct{}
	mu   sync.Mutex
	said bytes.Buffer
}

// start runs argv in a namespace. Its standard input stays open until talk or stop closes it.
func start(ns string, argv []string) (*process, error) {
	p := &process{cmd: inside(ns, argv), done: make(chan struct{})}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.in = in
	p.wr = func(s string) error { _, err := in.Write([]byte(s)); return err }
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.WaitDelay = stopWait
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Write stores output of the process.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said.Len() < maxLog { // tstclnt repeats its polling message forever
		p.said.Write(b)
	}
	return len(b), nil
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop ends the process and waits for it.
func (p *process) stop(s os.Signal) {
	_ = p.in.Close()
	if !p.over() {
		_ = p.cmd.Process.Signal(s)
	}
	if !until(stopWait, p.over) {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// until waits until ok returns true, but not longer than limit. It returns ok's last result.
func until(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}

// listening reports whether a port of a namespace is open, without a connection to the port.
func listening(ns, port string) bool {
	out, _ := inside(ns, []string{"ss", "-Hltn", "sport", "=", ":" + port}).Output()
	return len(bytes.TrimSpace(out)) > 0
}

// answered matches the beginning of every server's response, which is a page, an echo, or an echo with its bytes
// reversed.
var answered = regexp.MustCompile(`HTTP/1\.|\.1/PTTH|lab-pong`)

// talk runs a client until it has its response, or has ended.
func talk(argv []string, server *process, script script) (string, error) {
	p, err := start(clientNS, argv)
	if err != nil {
		return "", err
	}
	defer p.stop(syscall.SIGTERM)

	if script.client == nil && script.server == nil {
		script.client = []string{request}
	}
	_ = p.wr(strings.Join(script.client, ""))
	for _, line := range script.server {
		if !until(talkWait, func() bool { return script.ready.MatchString(server.log()) || p.over() }) {
			break
		}
		time.Sleep(200 * time.Millisecond)
		_ = server.wr(line)
		time.Sleep(200 * time.Millisecond)
		_ = p.wr(request)
	}

	if !until(talkWait, func() bool { return p.over() || answered.MatchString(p.log()) }) {
		return p.log(), nil
	}
	until(300*time.Millisecond, p.over) // leaves time for tickets and for the end of the server's data
	_ = p.in.Close()
	until(700*time.Millisecond, p.over)
	return p.log(), nil
}

// script has the lines that are typed into a client and into an interactive server.
type script struct {
	client []string
	server []string
	ready  *regexp.Regexp // matches the server's log when the server accepts input
}

// capture is a running tcpdump.
type capture struct {
	p    *process
	path string
}

func startCapture(path string) (*capture, error) {
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), ignoreMissing(os.Remove(path))); err != nil {
		return nil, err
	}
	p, err := start(serverNS, []string{"tcpdump", "-i", "eth0", "-Z", "root", "-s", "0", "--immediate-mode", "-U", "-n", "-w", path, "tcp port " + port})
	if err != nil {
		return nil, err
	}
	c := &capture{p, path}
	if !until(startWait, func() bool { return c.size() >= 24 && strings.Contains(p.log(), "listening on") }) {
		p.stop(os.Interrupt)
		return nil, fmt.Errorf("tcpdump did not start: %s", p.log())
	}
	return c, nil
}

func (c *capture) size() int64 {
	info, err := os.Stat(c.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// stop stops the capture once its file no longer grows.
func (c *capture) stop() {
	for last := int64(-1); c.size() != last; time.Sleep(150 * time.Millisecond) {
		last = c.size()
	}
	c.p.stop(os.Interrupt)
}

// ending is the file name extension of captures.
const ending = ".pcap.gz"

// compress compresses a capture with gzip and leaves out its first connections; without is their number.
func compress(from, to string, without int) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if b, err = cutOlder(b, without); err != nil {
		return err
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}

	if _, err := z.Write(b); err != nil {
		return err
	}
	if err := errors.Join(z.Close(), os.MkdirAll(filepath.Dir(to), 0o755)); err != nil {
		return err
	}
	return os.WriteFile(to, out.Bytes(), 0o644)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// runCase runs a case and returns its rows, or nil if a stack is missing.
func (l *lab) runCase(stacks map[string]*stack, c testCase) ([]row, error) {
	l.which = c.file()
	server, client := stacks[c.server], stacks[c.client]
	for _, s := range []*stack{server, client} {
		if why := s.missing(l); why != "" {
			fmt.Printf("skip %s: %s\n", c.file(), why)
			return nil, nil
		}
	}

	log, both, err := l.record(server, client, c)
	if err != nil {
		return nil, err
	}
	seen := server.said(log)
	if !regexp.MustCompile(c.played).MatchString(both) {
		return nil, fmt.Errorf("not played: no log matches %q: %.1500s", c.played, both)
	}

	rows, err := l.truth(c, server, client, seen)
	if err != nil {
		return nil, fmt.Errorf("%w; the server's log: %.1500s", err, log)
	}
	return rows, nil
}

// record runs both ends of a case. It returns the server's log, and the logs of both ends together.
func (l *lab) record(server, client *stack, c testCase) (log, both string, err error) {
	if listening(serverNS, port) {
		return "", "", errors.New("a server of an earlier case still runs")
	}
	tcpdump, err := startCapture(filepath.Join(l.work, "capture.pcap"))
	if err != nil {
		return "", "", err
	}
	defer tcpdump.p.stop(os.Interrupt)

	s, err := start(serverNS, server.server(l, c.srv))
	if err != nil {
		return "", "", err
	}
	defer s.stop(syscall.SIGTERM)
	if !until(startWait, func() bool { return listening(serverNS, port) || s.over() }) || s.over() {
		return "", "", fmt.Errorf("the server did not start: %.1500s", s.log())
	}

	if client.proxy != nil {
		p, err := start(clientNS, client.proxy(l, c.cli))
		if err != nil {
			return "", "", err
		}
		defer p.stop(syscall.SIGTERM)
		if !until(startWait, func() bool { return listening(clientNS, plainPort) || p.over() }) || p.over() {
			return "", "", fmt.Errorf("the client's proxy did not start: %.1500s", p.log())
		}
	}

	var clients strings.Builder
	for _, argv := range client.client(l, c.cli) {
		said, err := talk(argv, s, c.script)
		if err != nil {
			return "", "", err
		}
		clients.WriteString(said)
	}

	if server.file == "" {
		until(stopWait, func() bool { return s.over() || len(server.said(s.log())) >= c.connections() })
	}
	tcpdump.stop()

	asked := ""
	if server.ask != nil {
		out, _ := inside(serverNS, server.ask).Output()
		asked = string(out)
	}
	s.stop(syscall.SIGTERM)

	name := filepath.Join(l.work, "log", c.file()+".log")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return "", "", err
	}
	log = s.log() + server.files(l) + asked
	both = "=== server\n" + log + "\n=== client\n" + clients.String()
	if err := compress(tcpdump.path, filepath.Join(l.out, c.file()+ending), c.older); err != nil {
		return "", "", err
	}
	return log, both, os.WriteFile(name, []byte(both), 0o644)
}

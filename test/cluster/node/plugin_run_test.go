package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// A workstation runs the plugin as a user does, outside of the cluster. Its connections to the API server go through a
// proxy, which a test can interrupt.
type workstation struct {
	c          *kit.Cluster
	kubeconfig string
	home       string
	listener   net.Listener

	mu    sync.Mutex
	conns map[net.Conn]bool
	down  bool // new connections are refused
}

// newWorkstation returns the workstation of a test.
func newWorkstation(t *testing.T, c *kit.Cluster) *workstation {
	t.Helper()
	w := &workstation{c: c, home: t.TempDir(), conns: map[net.Conn]bool{}}
	var err error
	if w.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	admin, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	w.kubeconfig = filepath.Join(w.home, "kubeconfig")
	through := strings.ReplaceAll(string(admin), c.Config.Host, "https://"+w.listener.Addr().String())
	if err := os.WriteFile(w.kubeconfig, []byte(through), 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := w.listener.Accept()
			if err != nil {
				return
			}
			go w.forward(conn)
		}
	}()
	t.Cleanup(func() {
		w.listener.Close()
		w.disconnect(true)
	})
	return w
}

// forward forwards a connection to the API server.
func (w *workstation) forward(client net.Conn) {
	defer client.Close()
	server, err := w.c.Config.Dial(context.Background(), "tcp", strings.TrimPrefix(w.c.Config.Host, "https://"))
	if err != nil {
		return
	}
	defer server.Close()
	w.mu.Lock()
	if w.down {
		w.mu.Unlock()
		return
	}
	w.conns[client], w.conns[server] = true, true
	w.mu.Unlock()
	ended := make(chan struct{}, 2)
	for _, p := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			io.Copy(p[0], p[1])
			ended <- struct{}{}
		}()
	}
	<-ended
	w.mu.Lock()
	delete(w.conns, client)
	delete(w.conns, server)
	w.mu.Unlock()
}

// disconnect ends all connections to the API server. If forever is set, later ones are ended at once.
func (w *workstation) disconnect(forever bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = forever
	for c := range w.conns {
		c.Close()
	}
}

// program returns the path of the plugin.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(os.Getenv("PRODUCT"), "kubectl-meshtls")
	if _, err := os.Stat(path); err != nil {
		t.Skip("PRODUCT has no kubectl-meshtls: run `make test-cluster`")
	}
	return path
}

// tapImage are the flags that select the tap's image of these tests. It is on the node already.
var tapImage = []string{"--image", registry + "/meshtls-tap:" + version}

// command returns a command that runs on the workstation.
func (w *workstation) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.kubeconfig, "HOME="+w.home)
	return cmd
}

// An invocation is a run of the plugin.
type invocation struct {
	line     string // its command line
	out, err output // its standard output and standard error
	begin    time.Time
	signal   func(syscall.Signal) error // sends a signal and waits for the end
}

// start starts the plugin. It is killed at the end of the test.
func (w *workstation) start(t *testing.T, args ...string) *invocation {
	t.Helper()
	cmd := w.command(program(t), args...)
	i := &invocation{line: "kubectl meshtls " + strings.Join(args, " "), begin: time.Now()}
	cmd.Stdout, cmd.Stderr = &i.out, &i.err
	i.signal = kit.Start(t, cmd)
	t.Cleanup(func() { i.signal(syscall.SIGKILL) })
	return i
}

// tap starts the command tap with the image of these tests.
func (w *workstation) tap(t *testing.T, args ...string) *invocation {
	t.Helper()
	return w.start(t, slices.Concat([]string{"tap"}, args, tapImage)...)
}

// end sends the plugin a signal, unless that is 0, and waits until it has ended. It returns the exit status, which is -1
// after SIGKILL.
func (i *invocation) end(t *testing.T, s syscall.Signal) int {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- i.signal(s) }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		switch {
		case err == nil:
			return 0
		case errors.As(err, &exit):
			return exit.ExitCode()
		}
		t.Fatal(err)
	case <-time.After(kit.Limit):
		t.Fatalf("%s has not ended within %v\n%s", i.line, kit.Limit, i)
	}
	return 0
}

// String returns all output.
func (i *invocation) String() string {
	return "standard output:\n" + i.out.String() + "standard error:\n" + i.err.String()
}

// says waits until the output of a running command contains a text, and returns how long that took since its start.
func (i *invocation) says(t *testing.T, text string) time.Duration {
	t.Helper()
	kit.Eventually(t, kit.Limit, fmt.Sprintf("%q in the output of %s", text, i.line), func() error {
		if all := i.String(); !strings.Contains(all, text) {
			return errors.New(all)
		}
		return nil
	})
	return time.Since(i.begin)
}

// expect fails the test if the plugin did not exit with a status, or its output lacks one of the texts.
func (i *invocation) expect(t *testing.T, status int, texts ...string) {
	t.Helper()
	if got := i.end(t, 0); got != status {
		t.Errorf("%s: status %d, want %d\n%s", i.line, got, status, i)
	}
	for _, text := range texts {
		if all := i.String(); !strings.Contains(all, text) {
			t.Errorf("%s: no %q in\n%s", i.line, text, all)
		}
	}
}

// output collects what a program writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

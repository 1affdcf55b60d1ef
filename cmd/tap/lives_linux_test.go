package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
)

// exitOn ends the test binary when it runs as one of the programs that init functions select. The exit status is 0 if err is nil,
// else 1.
func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// untilInputEnds prints that a server is ready and waits for the end of standard input.
func untilInputEnds() error {
	fmt.Println("serving")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// serveEach accepts connections until the listener fails. Each connection is served in its own goroutine and
// then closed.
func serveEach(l net.Listener, serve func(net.Conn) error) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { _ = errors.Join(serve(c), c.Close()) }()
	}
}

// live starts the test binary in a pod as another program. life is the environment variable NAME=value that selects the program.
// address is the server's address, or empty.
func (p pod) live(t *testing.T, life, address string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return p.start(t, []string{life, "MESHTLS_ADDRESS=" + address}, self)
}

// serve starts a server in the same way as live, and waits until the server is ready.
func (p pod) serve(t *testing.T, life, address string) *process {
	t.Helper()
	x := p.live(t, life, address)
	x.line(t, func(l string) bool { return l == "serving\n" })
	return x
}

// ask starts a client in the same way as live, and waits until the client has ended without an
// error.
func (p pod) ask(t *testing.T, life, address string) {
	t.Helper()
	x := p.live(t, life, address)
	if err := x.gone(t); err != nil {
		t.Fatalf("%s: %v: %s", life, err, x.log())
	}
}

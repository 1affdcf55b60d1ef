package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
)

// exitOn ends a program of the test binary: see the init functions of the tests that run in network namespaces.
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

// serveEach calls serve for each connection in a goroutine of its own and closes the connection after it, until the listener fails.
func serveEach(l net.Listener, serve func(net.Conn) error) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { _ = errors.Join(serve(c), c.Close()) }()
	}
}

// live starts the test binary in a pod as another program: life is the variable that selects it, as NAME=value; address, if not
// empty, is the server's.
func (p pod) live(t *testing.T, life, address string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return p.start(t, []string{life, "MESHTLS_ADDRESS=" + address}, self)
}

// serve is live for a server: it waits until the server is ready.
func (p pod) serve(t *testing.T, life, address string) *process {
	t.Helper()
	x := p.live(t, life, address)
	x.line(t, func(l string) bool { return l == "serving\n" })
	return x
}

// ask is live for a client: it waits until the client has ended without an error.
func (p pod) ask(t *testing.T, life, address string) {
	t.Helper()
	x := p.live(t, life, address)
	if err := x.gone(t); err != nil {
		t.Fatalf("%s: %v: %s", life, err, x.log())
	}
}

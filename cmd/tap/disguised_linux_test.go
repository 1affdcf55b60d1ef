package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// The test binary can also run as the server and as the client of this test. In each connection, one end disguises its plaintext and
// the other end does not.
func init() {
	switch os.Getenv("MESHTLS_HIDDEN") {
	case "server":
		exitOn(hiddenServer(os.Getenv("MESHTLS_ADDRESS")))
	case "client":
		exitOn(hiddenClient(os.Getenv("MESHTLS_ADDRESS")))
	}
}

const (
	portLines  = 7100 // a server of a line protocol, without a disguise
	portGreets = 7101 // a server that first sends the first disguise; those on the next ports first send the other disguises
	disguised  = 5    // connections of each kind
)

// disguises returns several byte strings that look encrypted. In each connection only one end sends such bytes. None
// of the strings has a line feed before its last byte.
func disguises() [][]byte {
	record := func(typ byte, body []byte) []byte { return append([]byte{typ, 3, 3, 0, byte(len(body))}, body...) }
	noise := bytes.Repeat([]byte{0xa7}, 200)
	hello := append([]byte{2, 0, 0, 38, 3, 3}, noise[:32]...)
	hello = append(hello, 0, 0xc0, 0x2f, 0)
	flight := slices.Concat(record(22, hello), record(22, []byte{14, 0, 0, 0}), record(20, []byte{1}), record(22, noise[:40]), record(23, noise), record(23, noise))
	return [][]byte{
		bytes.Repeat(record(23, nil), 3),
		bytes.Repeat(record(23, noise), 4),
		[]byte(capturetest.SSHBanner),
		append([]byte(capturetest.SSHBanner), capturetest.SSHKexInit()...),
		flight,
	}
}

// hiddenServer serves until its standard input ends.
func hiddenServer(address string) error {
	serve := func(port int, f func(net.Conn) error) error {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, port))
		if err != nil {
			return err
		}
		go serveEach(l, f)
		return nil
	}
	err := serve(portLines, answerLines)
	for i, greeting := range disguises() {
		err = errors.Join(err, serve(portGreets+i, func(c net.Conn) error {
			if _, err := c.Write(greeting); err != nil {
				return err
			}
			return capturetest.AnswerOver(c)
		}))
	}
	if err != nil {
		return err
	}
	return untilInputEnds()
}

// answerLines serves a line protocol like that of memcached: it answers an unknown line with an error and reads on.
func answerLines(c net.Conn) error {
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		answer := "ERROR\r\n"
		if strings.HasPrefix(line, "set ") {
			if line, err = in.ReadString('\n'); err != nil {
				return err
			}
			answer = fmt.Sprintf("STORED %d\r\n", len(line))
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return err
		}
	}
}

// hiddenClient sends plaintext to servers with a disguise, and a disguise to the server without one.
func hiddenClient(address string) error {
	for i, disguise := range disguises() {
		for range disguised {
			if err := askGreeter(fmt.Sprintf("%s:%d", address, portGreets+i), len(disguise)); err != nil {
				return err
			}
			if err := hideFromLines(fmt.Sprintf("%s:%d", address, portLines), disguise); err != nil {
				return err
			}
		}
	}
	return nil
}

// askGreeter sends a plaintext request after the greeting has arrived. Connection pools that connect before they have a
// request do the same.
func askGreeter(address string, greeting int) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, greeting))
	if err == nil {
		err = capturetest.RequestOver(c)
	}
	return errors.Join(err, c.Close())
}

// hideFromLines sends a disguise and then plaintext.
func hideFromLines(address string, disguise []byte) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	in := bufio.NewReader(c)
	for _, say := range append([]string{string(disguise) + "\r\n"}, slices.Repeat([]string{"set k 0 0 6\r\nsecret\r\n"}, 8)...) {
		if _, err := io.WriteString(c, say); err != nil {
			return errors.Join(err, c.Close())
		}
		for answer := ""; !strings.HasPrefix(answer, "STORED") && (answer == "" || in.Buffered() > 0); {
			if answer, err = in.ReadString('\n'); err != nil {
				return errors.Join(err, c.Close())
			}
		}
	}
	return c.Close()
}

// TestHiddenPlaintextLive: if only one end sends bytes that look encrypted, the other end's plaintext is found. Later
// plaintext of the disguised end is also found if the server answers it.
func TestHiddenPlaintextLive(t *testing.T) { undropped(t, hiddenPlaintextLive) }

func hiddenPlaintextLive(t *testing.T) (dropped bool) {
	server, client := pods(t)
	server.serve(t, "MESHTLS_HIDDEN=server", server.address)
	tap := server.start(t, []string{"TAP_INTERFACES=eth0,lo", "TAP_EMIT=findings,flows", "TAP_ANNOUNCEMENTS=1000", "POD_IPS=" + server.address}, buildTap(t), "run")
	server.ready(t)
	client.ask(t, "MESHTLS_HIDDEN=client", server.address)
	lines := tap.end(t)
	if ringDropped(t, lines) {
		return true
	}
	got, found := map[string]int{}, map[string]bool{}
	for _, r := range validated(t, lines) {
		port := strings.TrimSuffix(r.at("destination.port"), ".0")
		switch {
		case r.at("event.dataset") == "meshtls.flow" && r.at("meshtls.class") == "workload":
			got[port+" "+r.at("meshtls.verdict")]++
		case r.at("rule.id") == "plaintext-edge", r.at("rule.id") == "mtls-downgrade" && r.at("meshtls.verdict") == "plaintext":
			found[port] = true
		}
	}
	n := len(disguises())
	for i := range n + 1 {
		port, want := fmt.Sprint(portLines+i), disguised
		if i == 0 {
			want = n * disguised
		}
		if got[port+" plaintext"] != want || !found[port] {
			t.Errorf("port %s: %v, want %d plaintext; found %v", port, got, want, found)
		}
	}
	if len(got) != n+1 {
		t.Errorf("%v", got)
	}
	return false
}

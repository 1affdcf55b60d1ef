package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A peer program of the lab is called as
//
//	PEER server|client ADDRESS CERT KEY CA none|optional|required 1.2|1.3 CONNECTIONS OPTION,...
//
// with "-" for no file. A server prints for each connection
//
//	truth certs=1 resumed=0 early=0 error=
//
// goPeer is the peer that uses crypto/tls.
func goPeer(args []string) int {
	if len(args) != 9 {
		fmt.Fprintln(os.Stderr, "peer: want nine arguments")
		return 2
	}
	role, addr, cert, key, ca, auth, version, options := args[0], args[1], args[2], args[3], args[4], args[5], args[6], strings.Split(args[8], ",")
	n, _ := strconv.Atoi(args[7])

	pool := x509.NewCertPool()
	b, err := os.ReadFile(ca)
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		return 1
	}
	pool.AppendCertsFromPEM(b)

	v := map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[version]
	cfg := &tls.Config{MinVersion: v, MaxVersion: v, RootCAs: pool, ClientCAs: pool, ServerName: serverName, SessionTicketsDisabled: slices.Contains(options, "noticket")}
	if slices.Contains(options, "nosni") {
		cfg.ServerName, cfg.InsecureSkipVerify = "", true
	}
	if slices.Contains(options, "hrr-client") {
		cfg.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}
	}
	if slices.Contains(options, "hrr-server") {
		cfg.CurvePreferences = []tls.CurveID{tls.CurveP384}
	}
	if slices.Contains(options, "x25519") {
		cfg.CurvePreferences = []tls.CurveID{tls.X25519}
	}

	if cert != "-" {
		c, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			fmt.Fprintln(os.Stderr, "peer:", err)
			return 1
		}
		if slices.Contains(options, "always") { // the client then sends the certificate even if the server trusts only other authorities
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
		}
		cfg.Certificates = []tls.Certificate{c}
	}

	if role == "server" {
		cfg.ClientAuth = map[string]tls.ClientAuthType{"none": tls.NoClientCert, "optional": tls.VerifyClientCertIfGiven, "required": tls.RequireAndVerifyClientCert}[auth]
		err = goServe(addr, cfg, n, options)
	} else {
		err = goCall(addr, cfg, n, options)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		return 1
	}
	return 0
}

func goServe(addr string, cfg *tls.Config, n int, options []string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}

	sink, silent := number(options, "sink")
	for range n {
		raw, err := l.Accept()
		if err != nil {
			return err
		}
		c := tls.Server(raw, cfg)
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		var got int64
		if silent {
			got, err = swallow(c, sink)
		} else {
			_, err = c.Read(make([]byte, 4096))
		}
		st, certs := c.ConnectionState(), -1
		if err == nil {
			certs = len(st.PeerCertificates)
		}
		switch {
		case silent:
			fmt.Println("played sink", got)
		case err == nil:
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nlab-pong")
		}
		fmt.Println(truthLine(certs, st.DidResume, err))
		_ = c.Close()
	}
	return nil
}

// number returns the value of an option of the form NAME=NUMBER. found reports whether the option is present.
func number(options []string, name string) (n int64, found bool) {
	for _, o := range options {
		if word, value, _ := strings.Cut(o, "="); word == name {
			n, _ = strconv.ParseInt(value, 10, 64)
			return n, true
		}
	}
	return 0, false
}

// swallow reads to the end, or at most the given number of bytes if most is not 0. It sends nothing.
func swallow(c *tls.Conn, most int64) (int64, error) {
	if most > 0 {
		return io.CopyN(io.Discard, c, most)
	}
	return io.Copy(io.Discard, c)
}

func truthLine(certs int, resumed bool, err error) string {
	why := ""
	if err != nil {
		why = err.Error()
	}
	n := 0
	if resumed {
		n = 1
	}
	return fmt.Sprintf("truth certs=%d resumed=%d early=0 error=%s", certs, n, why)
}

// goCall opens n connections, one after the other. With the option "shared" there are two clients: one with a
// certificate opens the connections with an even index, and one without a certificate opens the others. With "older",
// only the second connection has a certificate.
func goCall(addr string, cfg *tls.Config, n int, options []string) error {
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)

	other := cfg.Clone()
	other.ClientSessionCache, other.Certificates = tls.NewLRUClientSessionCache(4), nil
	shared, older := slices.Contains(options, "shared"), slices.Contains(options, "older")
	var all error
	for i := range n {
		use := cfg
		if shared && i%2 == 1 || older && i != 1 {
			use = other
		}
		all = errors.Join(all, goRequest(addr, use, options))
	}
	return all
}

func goRequest(addr string, cfg *tls.Config, options []string) error {
	c, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := goSend(c, options); err != nil {
		return err
	}
	if slices.Contains(options, "once") { // this option is for servers that keep the connection open
		_, err = c.Read(make([]byte, 4096))
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

// goSend sends N lines like a log shipper (option lines=N), or N bytes and the end of the data (upload=N). Without
// these options it sends a request.
func goSend(c *tls.Conn, options []string) error {
	lines, isLog := number(options, "lines")
	upload, isUpload := number(options, "upload")
	for i := range lines {
		if _, err := fmt.Fprintf(c, "<14>1 2026-11-29T12:00:00Z lab tap - - - line %d\n", i); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond) // the pause makes the lines travel in separate packets
	}

	if isUpload {
		if _, err := c.Write(make([]byte, upload)); err != nil {
			return err
		}
	}
	if isLog || isUpload {
		return c.CloseWrite()
	}
	_, err := io.WriteString(c, request)
	return err
}

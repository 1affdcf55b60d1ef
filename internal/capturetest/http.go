package capturetest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// HTTPClient returns a client that sends two POST requests with size bytes each and reads the responses, over TLS if
// cfg is not nil.
func HTTPClient(cfg *tls.Config, size int) func(net.Conn) error {
	return func(c net.Conn) error {
		if cfg != nil {
			c = tls.Client(c, cfg)
		}
		in := bufio.NewReader(c)
		for range 2 {
			var b bytes.Buffer
			fmt.Fprintf(&b, "POST /items HTTP/1.1\r\nHost: cart:8080\r\nContent-Length: %d\r\n\r\n", size)
			io.CopyN(&b, rand.Reader, int64(size))
			if _, err := c.Write(b.Bytes()); err != nil {
				return err
			}
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				return err
			}
			io.Copy(io.Discard, r.Body)
		}
		return c.Close()
	}
}

// HTTPServer returns a server that reads requests and responds to each with size bytes, over TLS if cfg is not nil.
func HTTPServer(cfg *tls.Config, size int) func(net.Conn) error {
	return func(c net.Conn) error {
		if cfg != nil {
			c = tls.Server(c, cfg)
		}
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				return err
			}
			io.Copy(io.Discard, r.Body)
			var b bytes.Buffer
			fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			io.CopyN(&b, rand.Reader, int64(size))
			if _, err := c.Write(b.Bytes()); err != nil {
				return err
			}
		}
	}
}

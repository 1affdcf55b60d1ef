package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/names"
)

const requestHelp = `Usage: tap request [FLAGS] HOST:PORT|http://HOST[:PORT][/PATH]

Sends one plain HTTP/1.1 GET from this pod, through the mesh's proxy if there is one, so that a tap sees its connection. Prints one
line of JSON: when the request began, both ends, how long it took, and the first line of the response or the error. The request has
the User-Agent meshtls-tap-verify. Redirects are not followed. Names are looked up with the pod's own resolver settings. The exit
status is 0 if there was a response: a complete status line of HTTP/1 (with --raw, if the bytes were sent), and otherwise 1.

Flags:
  --raw               connect and send the line "meshtls-tap-verify" instead of a request, for servers without HTTP; waits for a
                      response until the timeout, but needs none
  --timeout=DURATION  the time limit for everything together (default 5s)

Examples:
  tap request checkout.shop:8080
  tap request --timeout=2s http://checkout.shop:8080/healthz
  tap request --raw redis.shop:6379
`

// verifyAgent identifies the connections of `tap request`.
const verifyAgent = "meshtls-tap-verify"

// errNoResponse reports that the message was sent, and the connection ended, or the time was up, without a response.
var errNoResponse = errors.New("no response")

// maxFirstLine bounds the bytes of a response that are read.
const maxFirstLine = 1 << 10

// requested is what `tap request` prints.
type requested struct {
	Time     time.Time `json:"time"`     // when it began
	Target   string    `json:"target"`   // HOST:PORT
	Local    string    `json:"local"`    // this pod's address and port; empty: not connected
	Peer     string    `json:"peer"`     // the address and port that was connected to, before a mesh redirects it
	Seconds  float64   `json:"seconds"`  // until the first line of the response, or the error
	Response string    `json:"response"` // the first line
	Error    string    `json:"error"`    // empty if the request succeeded
}

// request is the command `tap request`.
func request(ctx context.Context, args []string, std streams) (status int, err error) {
	f := newFlags("request", requestHelp)
	raw := f.Bool("raw", false, "")
	timeout := f.Duration("timeout", 5*time.Second, "")
	rest, err := f.parse(args, std.out)
	if err != nil {
		return 0, err
	}
	if len(rest) != 1 {
		return 0, f.wrong("%d targets: expected one such as checkout.shop:8080", len(rest))
	}
	if *timeout <= 0 {
		return 0, f.wrong("--timeout=%v: expected a duration such as 5s", *timeout)
	}
	target, message, err := requestTo(rest[0])
	if err != nil {
		return 0, f.wrong("%s: %v", rest[0], err)
	}
	if *raw {
		message = verifyAgent + "\r\n"
	}

	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	r := requested{Time: time.Now(), Target: target}
	err = r.send(ctx, message, *raw)
	r.Seconds = time.Since(r.Time).Seconds()
	if err != nil && (!*raw || !errors.Is(err, errNoResponse)) {
		r.Error, status = err.Error(), exitError
	}
	line, err := json.Marshal(r)
	if err == nil {
		_, err = std.out.Write(append(names.EscapeJSON(line), '\n'))
	}
	return status, err
}

// requestTo parses a target into HOST:PORT and the text of a request.
func requestTo(text string) (target, message string, err error) {
	u := &url.URL{Host: text}
	if strings.Contains(text, "://") {
		if u, err = url.Parse(text); err != nil {
			return "", "", err
		}
		if u.Scheme != "http" {
			return "", "", errors.New("expected http://, since a request with TLS of its own would hide what the mesh does")
		}
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), "80")
		}
	}
	if host, port, err := net.SplitHostPort(u.Host); err != nil || host == "" || port == "" || strings.ContainsAny(text, " \r\n") {
		return "", "", errors.New("expected a host and a port, such as checkout.shop:8080, or http://checkout.shop:8080/path")
	}
	return u.Host, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: */*\r\nConnection: close\r\n\r\n", u.RequestURI(), u.Host, verifyAgent), nil
}

// send connects to the target, sends a message and reads the first line of the response. Unless raw is set, it must be a status line.
func (r *requested) send(ctx context.Context, message string, raw bool) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Target)
	if err != nil {
		return err
	}
	defer c.Close()
	r.Local, r.Peer = c.LocalAddr().String(), c.RemoteAddr().String()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := io.WriteString(c, message); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(c, maxFirstLine)).ReadString('\n')
	r.Response = strings.TrimRight(line, "\r\n")
	switch {
	case line == "":
		return fmt.Errorf("%w: %w", errNoResponse, err)
	case raw:
		return nil
	case err != nil:
		return fmt.Errorf("%w: only a part of its first line: %w", errNoResponse, err)
	case !isStatusLine(r.Response):
		return errors.New("the response is not HTTP/1")
	}
	return nil
}

// isStatusLine reports whether a line is a status line of HTTP/1 (RFC 9112 section 4). The space after the code may be missing, as many servers send it.
func isStatusLine(line string) bool {
	const code = len("HTTP/1.1 ")
	line += " "
	return len(line) > code+3 && line[:code-2] == "HTTP/1." && line[code-2]|1 == '1' && line[code-1] == ' ' && line[code+3] == ' ' &&
		strings.Trim(line[code:code+3], "0123456789") == "" && line[code] != '0'
}

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestRequest: what `tap request` sends and prints, for servers of several kinds.
func TestRequest(t *testing.T) {
	t.Parallel()
	var path, agent, host string
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, agent, host = r.URL.RequestURI(), r.UserAgent(), r.Host
		w.WriteHeader(http.StatusTeapot)
	}))
	defer web.Close()
	at := web.Listener.Addr().String()
	mute := listen(t, func(net.Conn) {})
	closes := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096)) // what it sent does not matter
		c.Close()
	})
	var sent bytes.Buffer
	line := listen(t, func(c net.Conn) {
		_, _ = io.CopyN(&sent, c, int64(len(verifyAgent)+2)) // checked below
		_, _ = io.WriteString(c, "-ERR \x1b[31munknown\r\nmore")
		c.Close()
	})
	part := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1") })
	long := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 "+strings.Repeat("x", 2*maxFirstLine)) })
	other := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-\u202e\u009b\r\n") })
	gone := listen(t, func(net.Conn) {})
	gone.Close()

	for name, c := range map[string]struct {
		args     []string
		status   int
		response string
		err      string
	}{
		"HOST:PORT":               {[]string{at}, exitFine, "HTTP/1.1 418 I'm a teapot", ""},
		"URL":                     {[]string{"http://" + at + "/a/b?c=d"}, exitFine, "HTTP/1.1 418 I'm a teapot", ""},
		"refused":                 {[]string{gone.Addr().String()}, exitError, "", "connection refused"},
		"closed":                  {[]string{closes.Addr().String()}, exitError, "", "no response: EOF"},
		"a part of a line":        {[]string{"--timeout=200ms", part.Addr().String()}, exitError, "HTTP/1", "no response: only a part of its first line: "},
		"a long line":             {[]string{long.Addr().String()}, exitError, "HTTP/1.1 200 " + strings.Repeat("x", maxFirstLine-13), "no response: only a part of its first line: "},
		"another protocol":        {[]string{other.Addr().String()}, exitError, "SSH-2.0-\u202e\u009b", "the response is not HTTP/1"},
		"raw, another protocol":   {[]string{"--raw", other.Addr().String()}, exitFine, "SSH-2.0-\u202e\u009b", ""},
		"raw, a part of a line":   {[]string{"--raw", "--timeout=200ms", part.Addr().String()}, exitFine, "HTTP/1", ""},
		"no response":             {[]string{"--timeout=50ms", mute.Addr().String()}, exitError, "", "i/o timeout"},
		"raw":                     {[]string{"--raw", line.Addr().String()}, exitFine, "-ERR \x1b[31munknown", ""},
		"raw, without a response": {[]string{"--raw", "--timeout=50ms", mute.Addr().String()}, exitFine, "", ""},
		"raw, refused":            {[]string{"--raw", gone.Addr().String()}, exitError, "", "connection refused"},
		"unknown name":            {[]string{"no.such.name.invalid:80"}, exitError, "", "no.such.name.invalid"},
	} {
		var out, errs bytes.Buffer
		status := command(t.Context(), append([]string{"request"}, c.args...), nil, streams{strings.NewReader(""), &out, &errs})
		var r requested
		if err := json.Unmarshal(out.Bytes(), &r); err != nil || strings.Count(out.String(), "\n") != 1 || strings.ContainsAny(out.String(), "\x1b\u202e\u009b") {
			t.Errorf("%s: %v: %s%s", name, err, &out, &errs)
		}
		if status != c.status || r.Response != c.response || (r.Error == "") != (c.err == "") || !strings.Contains(r.Error, c.err) {
			t.Errorf("%s: exit status %d: %s", name, status, &out)
		}
		connected := c.err == "" || strings.Contains(c.err, "response") || strings.Contains(c.err, "timeout")
		if (r.Local != "") != connected || (r.Peer != "") != connected || time.Since(r.Time).Abs() > time.Hour || r.Seconds <= 0 {
			t.Errorf("%s: %s", name, &out)
		}
		if name == "URL" && (path != "/a/b?c=d" || agent != "meshtls-tap-verify" || host != at) {
			t.Errorf("the server got %s, %s, %s", path, agent, host)
		}
	}
	if sent.String() != "meshtls-tap-verify\r\n" {
		t.Errorf("sent %q", &sent)
	}
}

// listen accepts connections on loopback and calls serve for each.
func listen(t *testing.T, serve func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go serve(c)
		}
	}()
	return l
}

func TestIsStatusLine(t *testing.T) {
	for line, want := range map[string]bool{
		"HTTP/1.1 200 OK": true, "HTTP/1.0 404 ": true, "HTTP/1.1 503": true, "HTTP/1": false, "HTTP/1.1": false, "HTTP/1.1 ": false, "HTTP/1.1 20": false,
		"HTTP/1.1 2000 OK": false, "HTTP/1.1 +20 OK": false, "HTTP/1.1 099 OK": false, "HTTP/2 200": false, "http/1.1 200 OK": false, "": false,
	} {
		if isStatusLine(line) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
}

// TestRequestUsage: invalid targets, each with what was expected.
func TestRequestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"":                 "0 targets: expected one such as checkout.shop:8080",
		"a:1 b:2":          "2 targets: expected one such as checkout.shop:8080",
		"checkout":         "checkout: expected a host and a port",
		":80":              ":80: expected a host and a port",
		"https://a:443/":   "https://a:443/: expected http://, since a request with TLS of its own would hide what the mesh does",
		"http://a:b:c/":    "http://a:b:c/: ",
		"--timeout=0s a:1": "--timeout=0s: expected a duration such as 5s",
	} {
		var out, errs bytes.Buffer
		status := command(t.Context(), append([]string{"request"}, strings.Fields(args)...), nil, streams{strings.NewReader(""), &out, &errs})
		if status != exitUsage || !strings.HasPrefix(errs.String(), "tap request: "+want) || out.Len() > 0 {
			t.Errorf("%q: exit status %d: %s%s", args, status, &out, &errs)
		}
	}
	for text, want := range map[string][2]string{
		"web.shop:80":       {"web.shop:80", "GET / HTTP/1.1\r\nHost: web.shop:80\r\n"},
		"http://web.shop/x": {"web.shop:80", "GET /x HTTP/1.1\r\nHost: web.shop:80\r\n"},
		"http://[fd00::1]/": {"[fd00::1]:80", "GET / HTTP/1.1\r\nHost: [fd00::1]:80\r\n"},
		"[fd00::1]:8080":    {"[fd00::1]:8080", "GET / HTTP/1.1\r\nHost: [fd00::1]:8080\r\n"},
	} {
		if target, message, err := requestTo(text); err != nil || target != want[0] || !strings.HasPrefix(message, want[1]) || !strings.HasSuffix(message, "\r\n\r\n") {
			t.Errorf("%s: %s, %q, %v", text, target, message, err)
		}
	}
	if _, _, err := requestTo("a\r\nX-Header: 1\r\n:80"); err == nil {
		t.Error("a line break in the target")
	}
}

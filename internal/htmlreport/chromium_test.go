package htmlreport

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// skipOrFail skips the test because something is missing. If MESHTLS_REQUIRE_ALL is set, it fails the test instead.
func skipOrFail(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// chromium is a headless browser that is controlled through pipes, by the Chrome DevTools Protocol.
type chromium struct {
	t  *testing.T
	in io.Writer

	mu      sync.Mutex
	next    int
	waiting map[int]chan message
	events  []message
	arrived *sync.Cond // an event arrived, or the browser ended
	ended   bool
}

// message is a response or an event.
type message struct {
	ID        int             `json:"id"`
	Session   string          `json:"sessionId"`
	Method    string          `json:"method"`
	Params    json.RawMessage `json:"params"`
	Result    json.RawMessage `json:"result"`
	Exception json.RawMessage `json:"error"`
}

// startChromium starts a browser, which ends with the test.
func startChromium(t *testing.T) *chromium {
	t.Helper()
	program, err := exec.LookPath("chromium")
	for _, other := range []string{"chromium-browser", "google-chrome"} {
		if err != nil {
			program, err = exec.LookPath(other)
		}
	}
	if err != nil {
		skipOrFail(t, "no chromium: %v (on Debian: apt-get install chromium, or tools/setup.sh test)", err)
	}
	commandsR, commandsW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	messagesR, messagesW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
		"--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-sync", "--user-data-dir="+t.TempDir())
	cmd.ExtraFiles = []*os.File{commandsR, messagesW} // descriptors 3 and 4
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	commandsR.Close()
	messagesW.Close()
	c := &chromium{t: t, in: commandsW, waiting: map[int]chan message{}}
	c.arrived = sync.NewCond(&c.mu)
	var reader sync.WaitGroup
	reader.Go(func() { c.read(messagesR) })
	t.Cleanup(func() {
		c.mu.Lock()
		early := c.ended
		c.mu.Unlock()
		commandsW.Close() // the browser ends
		timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		_ = cmd.Wait()
		reader.Wait()
		messagesR.Close()
		if early {
			t.Logf("chromium ended early: %s", &log)
		}
	})
	return c
}

// read passes messages on until the browser ends. Each message ends with a zero byte.
func (c *chromium) read(r io.Reader) {
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadBytes(0)
		c.mu.Lock()
		if err != nil {
			c.ended = true
			for _, w := range c.waiting {
				close(w)
			}
			c.waiting = map[int]chan message{}
			c.arrived.Broadcast()
			c.mu.Unlock()
			return
		}
		var m message
		_ = json.Unmarshal(line[:len(line)-1], &m)
		if w := c.waiting[m.ID]; w != nil && m.ID != 0 {
			delete(c.waiting, m.ID)
			w <- m
		} else {
			c.events = append(c.events, m)
			c.arrived.Broadcast()
		}
		c.mu.Unlock()
	}
}

// call calls a method and stores its result in out, unless that is nil.
func (c *chromium) call(session, method string, params, out any) {
	c.t.Helper()
	w := make(chan message, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.waiting[id] = w
	ended := c.ended
	c.mu.Unlock()
	if ended {
		c.t.Fatal("chromium has ended")
	}
	b, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params, "sessionId": session})
	if session == "" {
		b, err = json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	}
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.in.Write(append(b, 0)); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
	m, ok := <-w
	if !ok || m.Exception != nil {
		c.t.Fatalf("%s: %s", method, m.Exception)
	}
	if out != nil {
		if err := json.Unmarshal(m.Result, out); err != nil {
			c.t.Fatalf("%s: %v", method, err)
		}
	}
}

// tab is an open page.
type tab struct {
	*chromium
	session string
}

// view is how a page is shown.
type view struct {
	width, height int
	dark          bool
	noScript      bool
}

// open writes a report to a file and opens it.
func (c *chromium) open(r *Report, v view) *tab {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "report.html")
	var b bytes.Buffer
	if err := Write(&b, r); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		c.t.Fatal(err)
	}
	var target struct{ TargetID, SessionID string }
	c.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	c.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	p := &tab{c, target.SessionID}
	for _, domain := range []string{"Page", "Runtime", "Log", "Network", "Audits"} {
		p.call(p.session, domain+".enable", nil, nil)
	}
	p.resize(v)
	if v.noScript {
		p.call(p.session, "Emulation.setScriptExecutionDisabled", map[string]any{"value": true}, nil)
	}
	p.call(p.session, "Page.navigate", map[string]any{"url": "file://" + file}, nil)
	p.wait("Page.loadEventFired")
	return p
}

func (p *tab) resize(v view) {
	p.t.Helper()
	scheme := "light"
	if v.dark {
		scheme = "dark"
	}
	p.call(p.session, "Emulation.setDeviceMetricsOverride", map[string]any{"width": v.width, "height": v.height, "deviceScaleFactor": 1, "mobile": false}, nil)
	p.call(p.session, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// wait waits for an event of the page.
func (p *tab) wait(method string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ended {
		for _, e := range p.events {
			if e.Session == p.session && e.Method == method {
				return
			}
		}
		p.arrived.Wait()
	}
}

// eval evaluates an expression, waits for its promise, and stores the value in out, unless that is nil.
func (p *tab) eval(expression string, out any) {
	p.t.Helper()
	var r struct {
		Result struct{ Value json.RawMessage }
		Thrown *struct {
			Exception struct{ Description string }
		} `json:"exceptionDetails"`
	}
	p.call(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r)
	if r.Thrown != nil {
		p.t.Fatalf("%.200s: %s", expression, r.Thrown.Exception.Description)
	}
	if out != nil {
		if err := json.Unmarshal(r.Result.Value, out); err != nil {
			p.t.Fatalf("%.200s: %v", expression, err)
		}
	}
}

// press presses a key.
func (p *tab) press(key, code string, virtual int, text string) {
	p.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		params := map[string]any{"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": virtual}
		if kind == "keyDown" && text != "" {
			params["text"] = text
		}
		p.call(p.session, "Input.dispatchKeyEvent", params, nil)
	}
}

// complaints returns what the page should never cause: requests other than that for the file, errors, messages in the console,
// violations of the policy and dialogs.
func (p *tab) complaints() (list []string) {
	p.eval("new Promise(done => requestAnimationFrame(() => setTimeout(done)))", nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	requests := 0
	for _, e := range p.events {
		if e.Session != p.session {
			continue
		}
		switch e.Method {
		case "Network.requestWillBeSent":
			if requests++; requests == 1 {
				continue
			}
		case "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Page.javascriptDialogOpening", "Audits.issueAdded", "Page.windowOpen":
		default:
			continue
		}
		list = append(list, fmt.Sprintf("%s: %.400s", e.Method, e.Params))
	}
	return list
}

// screenshot returns a PNG of the page: of the whole page, or of the part that an expression returns as {x, y, width, height}.
func (p *tab) screenshot(clip string) []byte {
	p.t.Helper()
	params := map[string]any{"format": "png", "captureBeyondViewport": true}
	if clip != "" {
		var area map[string]float64
		p.eval(clip, &area)
		area["scale"] = 1
		params["clip"] = area
	}
	var shot struct{ Data string }
	p.call(p.session, "Page.captureScreenshot", params, &shot)
	b, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

package node_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// An event is a line of the agent's log. It describes one end of a connection.
type event struct {
	Pod, Kind, Peer string
	Client, Server  string
}

// startAgent builds the agent and starts it in the node's namespaces, until the end of the test.
func (w *ambient) startAgent(t *testing.T) {
	t.Helper()
	program := filepath.Join(w.c.Work, "state", "cni-bin", "ambient")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./test/ambient/agent")
	build.Dir = kit.Repository()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.log = filepath.Join(w.c.Work, "logs", "ambient.jsonl")
	file, err := os.Create(w.log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stdin, control, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	var errs bytes.Buffer
	cmd := exec.Command(filepath.Join(kit.Folder(), "cluster.sh"), "enter", w.c.Work, program, "-namespace", w.ns)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, file, &errs
	wait := kit.Start(t, cmd)
	t.Cleanup(func() {
		control.Close() // the agent ends when its standard input is closed
		if err := wait(syscall.Signal(0)); err != nil {
			t.Errorf("the agent: %v\n%s", err, &errs)
		}
	})
	kit.Eventually(t, kit.Limit, "the agent to be ready", func() error {
		if !w.happened(t, func(e *event) bool { return e.Kind == "ready" }) {
			return errors.New("it is not")
		}
		return nil
	})
}

// chain appends the agent to the node's chain of CNI plugins, as istio-cni does. At the end of the test it removes
// the agent.
func (w *ambient) chain(t *testing.T) {
	t.Helper()
	file := filepath.Join(w.c.Work, "state", "cni", "10-pods.conflist")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list map[string]any
	if err := json.Unmarshal(before, &list); err != nil {
		t.Fatal(err)
	}
	list["plugins"] = append(list["plugins"].([]any), map[string]any{"type": "ambient"})
	after, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) { // when a file in the folder is renamed, the runtime reads the folder again
		if err := os.WriteFile(file+".new", content, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(after)
	t.Cleanup(func() { write(before) })
}

// events returns the events that the agent has logged so far.
func (w *ambient) events(t *testing.T) (all []event) {
	t.Helper()
	b, err := os.ReadFile(w.log)
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		var e event
		switch err := d.Decode(&e); err {
		case nil:
			all = append(all, e)
		case io.EOF, io.ErrUnexpectedEOF: // the last line is still being written
			return all
		default:
			t.Fatalf("%s: %v", w.log, err)
		}
	}
}

// happened reports whether the agent has logged an event for which such returns true.
func (w *ambient) happened(t *testing.T, such func(*event) bool) bool {
	t.Helper()
	all := w.events(t)
	for i := range all {
		if such(&all[i]) {
			return true
		}
	}
	return false
}

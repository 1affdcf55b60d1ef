package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// nouns are the things that the plugin counts.
const nouns = `address|bit|byte|capture|certificate|check|client|connection|container|edge|endpoint|file|finding|interface|kubelet|limit|line|log|message|namespace|node|` +
	`packet|partition|pod|port|record|replica|rule|run|second|service|sidecar|stream|tap|time|topic|warning|workload`

// numbered matches a number that precedes a noun in the plural, as in "%d pods", "%d of its %d pods" and "%d attached taps".
var numbered = regexp.MustCompile(`%[dv] (?:[a-z']+ )?(?:` + nouns + `)(?:s|es)\b`)

// TestPluralsAreChosen: no text of the plugin has a number before a fixed plural, which would read "1 pods". The form is chosen: by choose, or in a function
// that compares the number with 1.
func TestPluralsAreChosen(t *testing.T) {
	texts := 0
	for _, dir := range []string{".", "../../internal/attach", "../../internal/dump", "../../internal/liveview", "../../internal/manifest", "../../internal/offline", "../../internal/topology", "../../internal/verify"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", dir, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			var path []ast.Node
			ast.Inspect(file, func(n ast.Node) bool {
				if n == nil {
					path = path[:len(path)-1]
					return true
				}
				path = append(path, n)
				if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
					texts++
					if numbered.MatchString(text.Value) && !isChosen(path) {
						t.Errorf("%s: %s has a fixed plural: use plural or choose", set.Position(text.Pos()), text.Value)
					}
				}
				return true
			})
		}
	}
	if texts < 1000 {
		t.Errorf("only %d texts were read", texts)
	}
}

// isChosen reports whether the last node of a path is one of two forms: an argument of choose, or in a function that compares something with 1.
func isChosen(path []ast.Node) bool {
	for _, n := range path {
		switch x := n.(type) {
		case *ast.CallExpr:
			if f, ok := x.Fun.(*ast.Ident); ok && f.Name == "choose" {
				return true
			}
		case *ast.FuncDecl:
			found := false
			ast.Inspect(x, func(n ast.Node) bool {
				if b, ok := n.(*ast.BinaryExpr); ok && b.Op == token.EQL {
					one, ok := b.Y.(*ast.BasicLit)
					found = found || ok && one.Value == "1"
				}
				return true
			})
			if found {
				return true
			}
		}
	}
	return false
}

// TestNumbersInText: sentences with a number are right for 0, 1, 2 and 3.
func TestNumbersInText(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	pods := func(n int) *survey { return &survey{pods: n, namespaces: []string{"shop"}} }
	ports := func(states ...string) (list []topology.Readiness) {
		for _, s := range states {
			list = append(list, topology.Readiness{State: s})
		}
		return list
	}
	lost := func(n int) string {
		var s survey
		var all []corev1.Pod
		for i := range n {
			p := corev1.Pod{Status: corev1.PodStatus{Reason: "NodeLost"}}
			p.Namespace, p.Name = "shop", "p"+strconv.Itoa(i)
			all = append(all, p)
		}
		s.add(all)
		return strings.Join(s.unproven, " ")
	}
	client := func(weak, all uint64) string {
		return cutOff(&topology.Client{From: topology.Workload{Name: "a"}, Why: "plaintext", Weak: weak, Connections: all, Last: at})
	}
	restarted := func(n int32) string {
		return stateOf(&attach.Tap{Container: "c", State: attach.Running, Started: at, Restarts: n})
	}
	const off, short, ready = topology.CutOff, topology.NotEnough, topology.Ready
	for _, test := range []struct{ got, want string }{
		{plural(0, "pod"), "0 pods"},
		{plural(1, "pod"), "1 pod"},
		{plural(uint64(2), "pod"), "2 pods"},

		{portion(0, 1), "0 of 1 connection"},
		{portion(1, 1), "1 connection"},
		{portion(1, 2), "1 of 2 connections"},
		{portion(2, 2), "both connections"},
		{portion(3, 3), "all 3 connections"},

		{notListed(0, 1), "Only listed with -o wide: 1 edge within pods."},
		{notListed(1, 0), "Only listed with -o wide: 1 edge of other traffic."},
		{notListed(2, 2), "Only listed with -o wide: 2 edges of other traffic, 2 edges within pods."},

		{unjudgedHint(0), "none was seen in this time; watch for longer"},
		{unjudgedHint(1), "1 was seen, and a verdict may need a new connection, whose handshake the tap sees"},
		{unjudgedHint(2), "2 were seen, and a verdict may need a new connection, whose handshake the tap sees"},

		{verdictText(&counts{attached: 0, sidecars: 0}, &survey{}), "No running pods were found."},
		{verdictText(&counts{attached: 0, sidecars: 0}, pods(1)), "Read 1 pod in namespace shop. No tap runs in it."},
		{verdictText(&counts{attached: 0, sidecars: 1}, pods(2)), "Read 2 pods in namespace shop. No attached tap runs there, but 1 sidecar of the webhook runs."},
		{verdictText(&counts{attached: 0, sidecars: 2}, pods(2)), "Read 2 pods in namespace shop. No attached tap runs there, but 2 sidecars of the webhook run."},
		{verdictText(&counts{attached: 1, sidecars: 0}, pods(2)), "Read 2 pods in namespace shop. 1 attached tap runs. To end attached taps: kubectl meshtls stop."},
		{verdictText(&counts{waiting: [2]int{1, 0}, reasons: [2][]string{{"ErrImagePull"}}}, pods(1)), "Read 1 pod in namespace shop. No tap runs in it. 1 attached tap (ErrImagePull) does not run, captures nothing and may still start."},
		{verdictText(&counts{waiting: [2]int{0, 2}, reasons: [2][]string{1: {"a", "b"}}}, pods(1)), "Read 1 pod in namespace shop. No tap runs in it. 2 sidecars (a, b) do not run, capture nothing and may still start."},
		{lost(0), ""},
		{lost(1), "the node of 1 pod does not respond, so what is shown may be old: shop/p0."},
		{lost(2), "the nodes of 2 pods do not respond, so what is shown may be old: shop/p0, shop/p1."},

		{strictAnswer(nil), "There are no pods, so nothing is known."},
		{strictAnswer(ports(ready)), "Ready: every client that was seen at 1 port speaks mutual TLS. Clients that did not connect in that time are not known."},
		{strictAnswer(ports(short)), "The only port is not ready: not enough was seen of it."},
		{strictAnswer(ports(off, short)), "0 of 2 ports are ready; 1 has clients that would be cut off; not enough was seen of 1."},
		{strictAnswer(ports(ready, off, off)), "1 of 3 ports is ready; 2 have clients that would be cut off."},
		{client(1, 1), "a would be cut off: plaintext (1 connection, last seen 2026-11-30 12:00:00Z)"},
		{client(1, 2), "a would be cut off: plaintext (1 of 2 connections, last seen 2026-11-30 12:00:00Z)"},

		{notRestarted(1, "without a tap", []string{"job/a"}), "1 running pod without a tap is not restarted; --restart would restart job/a"},
		{notRestarted(2, "without a tap", []string{"job/a", "job/b"}), "2 running pods without a tap are not restarted; --restart would restart job/a, job/b"},
		{restarted(0), "c has been running since 2026-11-30T12:00:00Z"},
		{restarted(1), "c has been running since 2026-11-30T12:00:00Z, restarted once"},
		{restarted(2), "c has been running since 2026-11-30T12:00:00Z, restarted 2 times"},

		{describe(&topology.Tap{}), "0 packets; 0 lost."},
		{describe(&topology.Tap{Packets: 1, Older: 1}), "1 packet; 0 lost; 1 connection older than it."},
		{describe(&topology.Tap{Packets: 2, Older: 2}), "2 packets; 0 lost; 2 connections older than it."},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

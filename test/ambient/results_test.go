// Package ambient_test compares the records of taps in an ambient mesh with the logs of the mesh's proxies and
// applications: see README.md.
package ambient_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

var update = flag.Bool("update", false, "rewrite the lab's tables, captures and their truth")

// Possible truths about a connection. The truth comes from the logs of the processes that owned the connection's
// sockets.
const (
	truthMutual  = "mutual TLS" // followed by the peer's account
	truthPod     = "plaintext in the pod"
	truthWire    = "plaintext on the wire"
	truthProbe   = "plaintext probe"
	truthRefused = "handshake refused"
	truthOneWay  = "TLS without a client certificate"
	truthOwnTLS  = truthOneWay + ", in the pod"
)

// connection is one connection in one pod's log, with the results of that pod's tap: live, and from captures.
type connection struct {
	scenario, pod, kind, truth string
	client, server             netip.AddrPort
	live, read                 tapResult
}

// tapResult is a tap's result for a connection.
type tapResult struct {
	verdict, scope, mesh, auth, class string
	resumed                           bool
	findings                          []string // rules and severities; "+words" if the message mentions the ambient mesh
}

func (s *tapResult) String() string {
	parts := []string{s.verdict, s.scope}
	for _, x := range []string{s.mesh, s.auth} {
		if x != "" {
			parts = append(parts, x)
		}
	}
	if s.resumed {
		parts = append(parts, "resumed")
	}
	if s.class != "workload" && s.class != "" {
		parts = append(parts, "class "+s.class)
	}
	return strings.Join(append([]string{strings.Join(parts, " ")}, s.findings...), ", ")
}

// column returns the text of the table's column for s. For refused handshakes the text lists only wrong results,
// because whether a refusal is visible depends on timing.
func (c *connection) column(s *tapResult) string {
	if c.truth == truthRefused && s.verdict != "mtls" && s.verdict != "plaintext" && len(s.findings) == 0 {
		return "neither mtls nor plaintext"
	}
	return s.String()
}

func (s *tapResult) has(rule string) bool {
	return slices.ContainsFunc(s.findings, func(f string) bool { return strings.HasPrefix(f, rule+" ") })
}

// record has the fields of a tap's record that the tests use.
type record struct {
	Event struct {
		Dataset  string
		Severity int
	}
	Rule                struct{ ID string }
	Message             string
	Source, Destination struct {
		IP   netip.Addr
		Port uint16
	}
	Network struct{ Transport string }
	TLS     struct{ Resumed bool }
	Meshtls struct {
		Verdict, Scope, Class, Mesh string
		Claimed                     string `json:"class_claimed"`
		TLS                         struct {
			ClientAuth string `json:"client_auth"`
		}
	}
}

// healthPort is the port of the tap itself in each pod. The tests connect to it.
const healthPort = 9469

// counts reports whether a record belongs to one of the lab's connections.
func (r *record) counts() bool {
	return r.Event.Dataset == "meshtls.flow" && r.Network.Transport == "tcp" && r.Destination.Port != healthPort && r.Source.Port != healthPort
}

func (r *record) edge() string {
	return fmt.Sprintf("%s > %s:%d", r.Source.IP, r.Destination.IP, r.Destination.Port)
}

type tuple struct{ client, server netip.AddrPort }

// ambientWords matches the message of a finding about plaintext of an enrolled pod.
var ambientWords = regexp.MustCompile(`; the pod (is enrolled in ambient|speaks HBONE of an ambient mesh), but this connection (left|arrived) in plaintext`)

// resultsOf groups the records of a tap by connection. Each connection must have exactly one flow record.
func resultsOf(t *testing.T, name string, lines []string) map[tuple]tapResult {
	t.Helper()
	findings := map[string][]string{}
	out := map[tuple]tapResult{}
	var flows []record
	schematest.Lines(t, lines)
	for _, line := range lines {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.counts() {
			flows = append(flows, r)
		}
		if r.Event.Dataset == "meshtls.finding" && r.Event.Severity > 0 { // 0: it has ended
			f := fmt.Sprint(r.Rule.ID, " ", r.Event.Severity)
			if ambientWords.MatchString(r.Message) {
				f += " +words"
			}
			if at := findings[r.edge()]; !slices.Contains(at, f) {
				findings[r.edge()] = append(at, f)
			}
		}
	}
	for _, r := range flows {
		key := tuple{netip.AddrPortFrom(r.Source.IP, r.Source.Port), netip.AddrPortFrom(r.Destination.IP, r.Destination.Port)}
		if _, ok := out[key]; ok {
			t.Errorf("%s: two flow records of %v", name, key)
		}
		m := &r.Meshtls
		s := tapResult{verdict: m.Verdict, scope: m.Scope, mesh: m.Mesh, auth: m.TLS.ClientAuth, class: m.Class, resumed: r.TLS.Resumed}
		if m.Scope == "wire" {
			s.findings = findings[r.edge()]
		}
		out[key] = s
	}
	return out
}

// wrong returns the expected result if s is wrong, otherwise "". declared reports whether the tap's settings name the
// mesh; the tap then expects mutual TLS.
func (c *connection) wrong(s *tapResult, declared bool) string {
	unknown := s.verdict == "unknown" || s.verdict == "tls" && s.auth == "unknown"
	switch {
	case strings.HasPrefix(c.truth, truthMutual):
		if s.verdict != "mtls" && !unknown || s.scope != "wire" || len(s.findings) > 0 || s.mesh != "istio_ambient" {
			return "HBONE on the wire, mutual TLS, without a finding"
		}
	case c.truth == truthPod || c.truth == truthOwnTLS:
		if s.verdict != "plaintext" && c.truth == truthPod || s.verdict == "mtls" || s.scope != "pod" || len(s.findings) > 0 {
			return c.truth + ", without a finding"
		}
	case c.truth == truthWire:
		if s.verdict != "plaintext" || s.scope != "wire" || !s.has("plaintext-edge") || s.mesh != "" {
			return "plaintext on the wire, with a finding"
		}
		if declared && !slices.ContainsFunc(s.findings, func(f string) bool { return strings.HasSuffix(f, "+words") }) {
			return "a finding that mentions ambient"
		}
	case c.truth == truthProbe:
		if s.verdict != "plaintext" || s.scope != "wire" || declared && (s.class != "probe" || len(s.findings) > 0) {
			return "a probe"
		}
	case c.truth == truthRefused:
		if s.verdict == "mtls" || s.verdict == "plaintext" || s.has("plaintext-edge") {
			return "neither mutual TLS nor plaintext"
		}
	case c.truth == truthOneWay:
		if s.verdict != "tls" || s.mesh != "" || declared && !s.has("tls-not-mutual") {
			return "TLS that is not mutual, without a mesh"
		}
	default:
		return "a truth that this test knows"
	}
	return ""
}

// compareTruth compares a tap's results for a pod's connections with the truth, and stores the results with set. It
// fails the test for results that belong to no connection.
func compareTruth(t *testing.T, list []connection, pod string, from map[tuple]tapResult, declared bool, set func(*connection, tapResult)) {
	t.Helper()
	for i := range list {
		c := &list[i]
		if c.pod != pod {
			continue
		}
		key := tuple{c.client, c.server}
		s, ok := from[key]
		if !ok {
			t.Errorf("%s, %s, %s: the tap has no record of %s", c.scenario, pod, c.kind, key)
			continue
		}
		delete(from, key)
		set(c, s)
		if want := c.wrong(&s, declared); want != "" {
			t.Errorf("%s, %s, %s %s: %s, want %s", c.scenario, pod, c.kind, key, s.String(), want)
		}
	}
	for key, s := range from {
		t.Errorf("%s: no log has %s, which the tap reports as %s", pod, key, s.String())
	}
}

func (k tuple) String() string { return k.client.String() + " > " + k.server.String() }

// podNames are the pods of the lab, in the order of their addresses.
var podNames = []string{"a", "b", "c", "broken", "waypoint", "gateway"}

func addressOf(pod string) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 88, 0, byte(slices.Index(podNames, pod) + 1)})
}

// buildTap builds the tap as it is released.
func buildTap(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tap.exe") // every system can run a file with this extension
	cmd := exec.Command("go", "build", "-o", file, "../../cmd/tap")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return file
}

// readCaptures runs `tap read` on a pod's captures, with the settings for that pod's point of view.
func readCaptures(t *testing.T, tap, pod string, files ...string) map[tuple]tapResult {
	t.Helper()
	args := append([]string{"read", "--output=json", "--emit=findings,flows", "--local=" + addressOf(pod).String()}, files...)
	cmd := exec.Command(tap, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tap read: %v: %s", err, &stderr)
	}
	return resultsOf(t, pod+", read", strings.Split(strings.TrimSpace(string(out)), "\n"))
}

// table formats connections and their results as a table.
func table(list []connection) []byte {
	var b bytes.Buffer
	out := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "scenario\t| pod\t| by its log\t| truth\t| live\t| tap read --local")
	for i := range list {
		c := &list[i]
		fmt.Fprintf(out, "%s\t| %s\t| %s\t| %s\t| %s\t| %s\n", c.scenario, c.pod, c.kind, c.truth, c.column(&c.live), c.column(&c.read))
	}
	out.Flush()
	return b.Bytes()
}

// golden compares got with a file.
func golden(t *testing.T, name string, got []byte, write bool) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if write {
		if err := os.WriteFile(file, got, 0o644); err != nil { //nolint:gosec // testdata is for everybody
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs: rewrite it with -update and read the difference. Got:\n%s", file, got)
	}
}

// truthFile is the name of the file with the truth. It has a line for each connection; tabs separate the fields.
const truthFile = "truth.tsv"

func appendTruth(b []byte, list []connection) []byte {
	for i := range list {
		c := &list[i]
		b = fmt.Appendf(b, "%s\t%s\t%s\t%s\t%s\t%s\n", c.scenario, c.pod, c.kind, c.truth, c.client, c.server)
	}
	return b
}

func readTruth(t *testing.T, folder string) (list []connection) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", folder, truthFile))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 6 {
			t.Fatalf("%s: %q", truthFile, line)
		}
		list = append(list, connection{scenario: f[0], pod: f[1], kind: f[2], truth: f[3], client: netip.MustParseAddrPort(f[4]), server: netip.MustParseAddrPort(f[5])})
	}
	return list
}

// TestCaptures reads the captures of earlier runs of the lab, each from the point of view of its pod. It needs
// neither root nor Linux. The expected results are in the last column of the lab's tables.
func TestCaptures(t *testing.T) {
	tap := buildTap(t)
	for folder, pods := range map[string][]string{"standin": podNames, "envoy": {"a", "b"}, "rustls": {"a", "b"}} {
		t.Run(folder, func(t *testing.T) {
			list := readTruth(t, folder)
			for _, pod := range pods {
				files, err := filepath.Glob(filepath.Join("testdata", folder, pod+"-*.pcap.gz"))
				if err != nil || len(files) != 2 {
					t.Fatalf("%s: %d captures, %v", pod, len(files), err)
				}
				compareTruth(t, list, pod, readCaptures(t, tap, pod, files...), false, func(c *connection, s tapResult) { c.read = s })
			}
			compareColumn(t, folder, list)
		})
	}
}

// compareColumn compares results from captures with the last column of their table.
func compareColumn(t *testing.T, folder string, list []connection) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", folder, "table.txt"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")[1:]
	if len(lines) != len(list) {
		t.Fatalf("%d connections in the table, %d in the captures", len(lines), len(list))
	}
	for i := range list {
		c := &list[i]
		columns := strings.Split(lines[i], " | ")
		if got := c.column(&c.read); got != strings.TrimSpace(columns[len(columns)-1]) {
			t.Errorf("%s, %s: %s\nthe table has\n%s", c.scenario, c.pod, got, lines[i])
		}
	}
}

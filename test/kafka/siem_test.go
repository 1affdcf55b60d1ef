package kafka_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// script runs a script of siem/ and returns its output. lines are its standard input.
func script(t *testing.T, name string, lines []string) string {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		unavailable(t, "%v: on Debian or Ubuntu: apt-get install python3", err)
	}
	cmd := exec.Command("python3", filepath.Join(kafkatest.Root(t), "siem", name))
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && stderr.Len() > 0 {
		t.Fatalf("%s: %v: %s", name, err, &stderr)
	}
	return string(out)
}

// TestGaps removes some records, duplicates others and shuffles all. siem/gaps.py must find each missing record, and
// siem/dedup.py must print each remaining record once.
func TestGaps(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var lines []string
	gone, twice, all := map[string]int{}, 0, 0
	for _, run := range []string{"run1", "run2"} {
		for n := range 2000 {
			dataset := datasets[n%4]
			line := fmt.Sprintf(`{"event":{"id":"%s-%d","sequence":%d,"dataset":%q,"action":"%s"},"kubernetes":{"pod":{"uid":"7e1a"}},"meshtls":{"run":%q}}`,
				run, n, n/4+1, dataset, map[bool]string{true: "stopped"}[run == "run1" && n == 1998], run)
			if r.IntN(50) == 0 && n < 1990 {
				gone[run+" "+dataset]++
				continue
			}
			all++
			lines = append(lines, line)
			if r.IntN(40) == 0 {
				twice++
				lines = append(lines, line)
			}
		}
	}
	r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	out := script(t, "gaps.py", lines)
	missing := 0
	for _, key := range slices.Sorted(maps.Keys(gone)) {
		missing += gone[key]
		if want := fmt.Sprintf("7e1a %s: 1-500, %d missing", key, gone[key]); !strings.Contains(out, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if want := fmt.Sprintf("%d records, %d missing, %d came again, 0 not understood", all, missing, twice); !strings.Contains(out, want) {
		t.Errorf("it does not say %q:\n%s", want, out)
	}
	if strings.Count(out, "; stopped\n") != 4 || strings.Count(out, "or was killed") != 4 {
		t.Errorf("which run ended how:\n%s", out)
	}
	if once := script(t, "dedup.py", lines); len(strings.Split(strings.TrimSpace(once), "\n")) != all {
		t.Error("dedup.py does not pass on each record once")
	}
}

// TestScriptsRefuse runs the scripts of siem/ with arguments and inputs that they cannot use. None ends in a traceback, and gaps.py never
// reports that nothing is missing when it understood nothing.
func TestScriptsRefuse(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		unavailable(t, "%v: on Debian or Ubuntu: apt-get install python3", err)
	}
	const offline = `{"event":{"id":"1","sequence":1,"dataset":"meshtls.posture"},"meshtls":{}}` + "\n" // as of tap read
	const odd = `{"event":{"id":["1"],"sequence":1,"dataset":"meshtls.finding","kind":"alert","severity":"x"},"meshtls":{"run":["r"],"finding":{"state":"open","group_id":["g"]}},"@timestamp":"2026-01-01T00:00:00Z"}` + "\n[]\n1\n"
	for _, c := range []struct {
		args, stdin string
		status      int
	}{
		{"gaps.py", "", 2},
		{"gaps.py", offline, 2},
		{"gaps.py", odd, 2},
		{"gaps.py records.jsonl", "", 2},
		{"gaps.py --help", "", 0},
		{"dedup.py", odd, 0},
		{"dedup.py x", "", 2},
		{"dedup.py -1", "", 2},
		{"dedup.py 5 5", "", 2},
		{"dedup.py --help", "", 0},
		{"dedup.py 5", offline, 0},
		{"pages.py", odd, 0},
		{"pages.py x", "", 2},
		{"pages.py nan", "", 2},
		{"pages.py 1 2", "", 2},
		{"pages.py --help", "", 0},
		{"pages.py 1.5", offline, 0},
	} {
		args := strings.Fields(c.args)
		args[0] = filepath.Join(kafkatest.Root(t), "siem", args[0])
		cmd := exec.Command("python3", args...)
		cmd.Stdin = strings.NewReader(c.stdin)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != c.status || strings.Contains(string(out), "Traceback") || len(out) == 0 && c.status != 0 {
			t.Errorf("%s: status %d, want %d: %s", c.args, got, c.status, out)
		}
	}
}

// TestScriptsWithoutReader: if the reader of its output ends, a script ends too, without a word.
func TestScriptsWithoutReader(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		unavailable(t, "%v: on Debian or Ubuntu: apt-get install python3", err)
	}
	for _, name := range []string{"dedup.py", "pages.py", "gaps.py"} {
		var lines strings.Builder
		for n := range 5000 { // more than a pipe takes
			fmt.Fprintf(&lines, `{"@timestamp":"2026-01-01T00:00:00Z","event":{"id":"%d","sequence":1,"dataset":"meshtls.finding","kind":"alert","severity":73},"meshtls":{"run":"%d","finding":{"state":"open","group_id":"%d"}}}`+"\n", n, n, n)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		var stderr strings.Builder
		cmd := exec.Command("python3", filepath.Join(kafkatest.Root(t), "siem", name))
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(lines.String()), w, &stderr
		err = cmd.Run()
		w.Close()
		if err == nil || stderr.Len() > 0 {
			t.Errorf("%s: %v: %s", name, err, &stderr)
		}
	}
}

// TestReplay kills a tap while its broker is down, and starts another tap with the same spool. gaps.py must not find
// a missing record of either run.
func TestReplay(t *testing.T) {
	kafkatest.Require(t)
	p := pod(t)
	b := kafkatest.Start(t, "plain", []string{"ADDRESS=" + hostAddress}, nil)
	topics := []string{"replay.findings", "replay.posture", "replay.flows"}
	b.Create(topics...)
	environ := []string{"TAP_KAFKA_BROKERS=" + b.Plain, "TAP_SPOOL_DIR=" + t.TempDir(), "POD_UID="} // without a seed the tap reconnects at once
	first := startTap(t, p, "replay", environ...)
	eventually.True(t, "the tap delivers", func() bool { return first.metric(`sink_delivered_records_total\{dataset="meshtls.flow"\}`) > 20 }, first.state, b.Log)
	b.Kill()
	eventually.True(t, "the tap spools", func() bool { return first.metric("sink_down") == 1 && first.metric("sink_spooled_records") > 50 }, first.state)
	first.cmd.Process.Kill()
	first.cmd.Wait()
	first.traffic.Process.Kill()
	first.server.Close()
	second := startTap(t, p, "replay", environ...)
	eventually.True(t, "it finds what the first left", func() bool { return second.metric("sink_recovered_records_total") > 50 }, second.state)
	b.Start()
	eventually.True(t, "all is delivered", func() bool {
		q := second.metric("sink_queued_records")
		return second.metric("sink_ok") == 1 && q >= 0 && q < 20
	}, second.state, b.Log)
	second.end()
	var lines []string
	for _, r := range b.Read(topics...) {
		lines = append(lines, r.Value)
	}
	out := script(t, "gaps.py", lines)
	t.Logf("\n%s", out)
	if !strings.Contains(out, ", 0 missing, ") || strings.Count(out, "; stopped\n") < 3 || strings.Count(out, "or was killed") < 3 {
		t.Error("something is missing")
	}
	if !regexp.MustCompile(`records, 0 missing, \d+ came again, 0 not understood`).MatchString(out) {
		t.Error("not all was understood")
	}
}

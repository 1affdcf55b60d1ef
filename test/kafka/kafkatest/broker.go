// Package kafkatest runs a real Apache Kafka for tests, with test/kafka/kafka.sh, and reads records with kcat (librdkafka).
//
// Order of use: [Require] skips a test that cannot run a broker; [Start] starts one; methods of [Broker] create topics, change rights, stop
// and restart it; [Broker.Read] returns the records.
package kafkatest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/exclusive"
)

// Broker is one broker. Its methods fail the test that it was started for.
type Broker struct {
	Plain   string   // host:port of the listener without TLS and login
	TLS     string   // host:port of the listener with TLS and login; see kafka.sh
	Aliases []string // host:port of further listeners, which advertise the addresses in the variable ALIASES
	CA      string   // path of a PEM file with the authority
	Dir     string
	PID     int
	Env     []string // the script's variables, as NAME=value; a change takes effect at the next start

	// Dial connects to the broker from another network namespace. If it is nil, connections come from this one.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	t      testing.TB
	script string
	mode   string
	within []string // prefix of the broker's command lines
}

// Password of the user "tap".
const Password = "tap-secret"

// Require skips a test that cannot run a broker here. If CI or MESHTLS_REQUIRE_ALL is set, all tests must run, so
// Require fails the test instead. Require returns the path of the script that runs a broker; the variable KAFKA_SH may
// name another script.
func Require(t testing.TB) (script string) {
	t.Helper()
	if testing.Short() {
		t.Skip("a real broker takes a minute: not with -short")
	}
	absent := t.Skipf
	if os.Getenv("CI") != "" || os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		absent = t.Fatalf
	}
	for _, program := range []string{"java", "kcat"} {
		if _, err := exec.LookPath(program); err != nil {
			absent("%v: on Debian or Ubuntu: apt-get install default-jre-headless kcat", err)
		}
	}
	script = os.Getenv("KAFKA_SH")
	if script == "" {
		script = filepath.Join(Root(t), "test", "kafka", "kafka.sh")
	}
	if out, err := exec.Command(script, "resolved").CombinedOutput(); err != nil {
		absent("%v: %s", err, out)
	}
	return script
}

// Root returns the root folder of the repository.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		break
	}
	t.Fatalf("no go.mod above the test: %v", err)
	return ""
}

// Start starts a broker that runs until the end of the test, and locks the machine for that time (see
// internal/exclusive). mode is plain or tls. env has the script's variables (NAME=value). within is a prefix of the
// broker's command lines, such as ip netns exec NAME.
func Start(t testing.TB, mode string, env, within []string) *Broker {
	t.Helper()
	b := New(t, mode, env, within)
	b.Start()
	return b
}

// New returns a broker like Start, but does not start it.
func New(t testing.TB, mode string, env, within []string) *Broker {
	t.Helper()
	b := &Broker{t: t, script: Require(t), mode: mode, Env: env, within: within}
	exclusive.Machine(t)
	b.Dir = t.TempDir()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.Log())
		}
		b.do("kill")
	})
	return b
}

// Log returns the end of the broker's log, for the message of a failing test.
func (b *Broker) Log() string {
	log, err := os.ReadFile(filepath.Join(b.Dir, "broker.log"))
	if err != nil {
		return err.Error()
	}
	return "the end of the broker's log:\n" + tail(string(log), 30)
}

// tail returns the last lines of a text and shortens long lines.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	all = all[max(0, len(all)-lines):]
	for i := range all {
		all[i] = all[i][:min(len(all[i]), 200)]
	}
	return strings.Join(all, "\n")
}

func (b *Broker) command(args ...string) *exec.Cmd {
	args = append(append([]string{}, b.within...), args...)
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	cmd.Env = append(append(os.Environ(), fmt.Sprint("OWNER=", os.Getpid())), b.Env...)
	return cmd
}

func (b *Broker) do(command string, args ...string) string {
	b.t.Helper()
	out, err := b.command(append([]string{b.script, command, b.Dir}, args...)...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("kafka.sh %s: %v\n%s", command, err, out)
	}
	return string(out)
}

// Start starts the broker again.
func (b *Broker) Start() {
	b.t.Helper()
	b.Aliases = nil
	for line := range strings.Lines(b.do("start", b.mode)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "PLAIN":
			b.Plain = value
		case "TLS":
			b.TLS = value
		case "ALIAS":
			b.Aliases = append(b.Aliases, value)
		case "CA":
			b.CA = value
		case "PID":
			b.PID, _ = strconv.Atoi(value)
		}
	}
}

// Stop ends the broker by SIGTERM.
func (b *Broker) Stop() { b.t.Helper(); b.do("stop") }

// Kill ends the broker by SIGKILL.
func (b *Broker) Kill() { b.t.Helper(); b.do("kill") }

// Freeze stops the broker's process by SIGSTOP, while its kernel still accepts connections. Thaw continues it.
func (b *Broker) Freeze() { b.t.Helper(); b.signal(syscall.SIGSTOP) }

// Thaw continues a frozen broker.
func (b *Broker) Thaw() { b.t.Helper(); b.signal(syscall.SIGCONT) }

func (b *Broker) signal(s syscall.Signal) {
	b.t.Helper()
	if err := syscall.Kill(b.PID, s); err != nil {
		b.t.Fatalf("signal %v to the broker: %v", s, err)
	}
}

// Tool runs one of Kafka's own tools, by its class, and returns its output.
func (b *Broker) Tool(class string, args ...string) string {
	b.t.Helper()
	cmd := b.command(append([]string{b.script, "tool", class}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s%s", class, err, out, &stderr)
	}
	return string(out)
}

// Record is a record as read by kcat.
type Record struct {
	Topic, Partition, Key, Headers, Timestamp, Value string
}

// ID returns the value of the header event-id.
func (r Record) ID() string {
	_, id, _ := strings.Cut(r.Headers, "event-id=")
	return id
}

// Read returns all records that are in the topics now.
func (b *Broker) Read(topics ...string) []Record {
	b.t.Helper()
	var out []Record
	for _, topic := range topics {
		cmd := b.command("timeout", "600", "kcat", "-m", "300", "-b", b.Plain, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-X", "fetch.wait.max.ms=10", "-f", `%t\t%p\t%k\t%h\t%T\t%s\n`)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		text, err := cmd.Output()
		if err != nil {
			b.t.Fatalf("kcat: %v: %s\n%s", err, &stderr, b.Log())
		}
		for line := range strings.Lines(string(text)) {
			f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 6)
			if len(f) != 6 {
				b.t.Fatalf("kcat printed %q", line)
			}
			out = append(out, Record{f[0], f[1], f[2], f[3], f[4], f[5]})
		}
	}
	return out
}

// Distinct returns the event ids of records, and how many records have an id that an earlier record had.
func Distinct(records []Record) (ids map[string]bool, duplicates int) {
	ids = map[string]bool{}
	for _, r := range records {
		if ids[r.ID()] {
			duplicates++
		}
		ids[r.ID()] = true
	}
	return ids, duplicates
}

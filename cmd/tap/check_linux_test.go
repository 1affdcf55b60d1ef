package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/segmentio/kafka-go"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// TestCheckAndTopics creates topics and checks that they may be written to, with a real broker, TLS and a login.
func TestCheckAndTopics(t *testing.T) {
	t.Parallel()
	b := kafkatest.Start(t, "tls", []string{"AUTHORIZE=1"}, nil)
	spool := t.TempDir()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(kafkatest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := []string{"TAP_KAFKA_BROKERS=" + b.Plain, "TAP_KAFKA_TOPIC=tap.{namespace}.findings", "TAP_KAFKA_POSTURE_TOPIC=tap.{namespace}.posture", "POD_NAMESPACE=shop"}
	tap := append([]string{
		"TAP_SINK=kafka", "TAP_KAFKA_TLS_CA_FILE=" + b.CA, "TAP_KAFKA_SASL_MECHANISM=scram-sha-512", "TAP_KAFKA_SASL_USERNAME=tap",
		"TAP_KAFKA_SASL_PASSWORD_FILE=" + password, "TAP_SPOOL_DIR=" + spool, "POD_UID=7e1a", "TAP_INTERFACES=none",
	}, admin...)
	tap = append(tap, "TAP_KAFKA_BROKERS=127.0.0.1:1,"+b.TLS)
	// A new topic takes a moment to be known to all brokers, so commands that change nothing are repeated. A check waits 20 s for its
	// record to be acknowledged. This may be too short on a busy machine, so the check is tried three times.
	checks := 0
	again := func(args []string, status int) bool {
		if status == exitFine && args[0] == "check" {
			checks++
			return checks < 3
		}
		return args[0] == "topics" && len(args) == 1 || status != exitFine
	}
	expect := func(args, environ []string, status int, patterns ...string) {
		t.Helper()
		var wrong []string
		eventually.Holds(func() bool {
			got, out := outcome(t, args, environ...)
			wrong = nil
			for _, p := range patterns {
				if !regexp.MustCompile("(?m)" + p).MatchString(out) {
					wrong = append(wrong, fmt.Sprintf("%v does not say %s:\n%s", args, p, out))
				}
			}
			if got != status {
				wrong = append(wrong, fmt.Sprintf("%v: status %d, want %d:\n%s", args, got, status, out))
			}
			return !again(args, status) || len(wrong) == 0
		})
		for _, w := range wrong {
			t.Error(w)
		}
	}
	expect([]string{"topics"}, admin, exitError, `^FAIL  topic tap.shop.findings +.*does not exist or may not be described.*tap topics --apply`)
	expect([]string{"check"}, tap, exitError, `^FAIL  broker 127.0.0.1:1 `, `^ok    broker localhost:\d+ +1 in the cluster, TLS 1.3, certificate until .*, logged in by SCRAM-SHA-512$`, `^FAIL  topic tap.shop.findings +.*does not exist`)
	expect([]string{"topics", "--apply"}, admin, exitFine,
		`^ok    topic tap.shop.findings +created with 3 partitions, cleanup.policy=delete retention.ms=2592000000$`,
		`^ok    topic tap.shop.posture +created with 3 partitions, cleanup.policy=compact,delete retention.ms=604800000$`)
	expect([]string{"topics"}, admin, exitFine, `^ok    topic tap.shop.posture +3 partitions, 1 of 1 replicas in sync, cleanup.policy=compact,delete retention.ms=604800000$`, `^ok      may be written to`)
	tap = append(tap, "TAP_KAFKA_BROKERS="+b.TLS)
	expect([]string{"check"}, tap, exitFine, `^ok    topic tap.shop.findings +3 partitions`, `^ok    write +record [0-9a-f]{32} was acknowledged`, `^ok    spool`)
	records := b.Read("tap.shop.findings", "tap.shop.posture")
	if len(records) == 0 || len(records) > checks {
		t.Fatalf("%d records written by %d checks", len(records), checks)
	}
	for _, r := range validated(t, []string{records[len(records)-1].Value}) {
		if r.at("event.action") != "check" || r.at("event.dataset") != "meshtls.tap" || r.at("kubernetes.pod.uid") != "7e1a" {
			t.Errorf("%v", r)
		}
	}
	if left, _ := os.ReadDir(spool); len(left) != 1 {
		t.Errorf("left in the spool: %v", left)
	}
	b.Grant(kafka.ACLEntry{ // once a topic has an access rule, everything that no rule allows is refused
		ResourceType: kafka.ResourceTypeTopic, ResourceName: "tap.shop.findings", ResourcePatternType: kafka.PatternTypeLiteral,
		Principal: "User:tap", Host: "*", Operation: kafka.ACLOperationTypeDescribe, PermissionType: kafka.ACLPermissionTypeAllow,
	})
	expect([]string{"check"}, tap, exitError, `^FAIL  topic tap.shop.findings +.*not authorized to write to topic "tap.shop.findings": grant Write and Describe on it, or see TAP_KAFKA_SASL_USERNAME and TAP_KAFKA_TOPIC$`)
	expect([]string{"topics"}, tap, exitError, `DescribeConfigs is not granted`, `^FAIL    may be written to +.*not authorized`)
}

// TestCheckSockets: a socket on each interface is tried, with advice if that is not permitted.
func TestCheckSockets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it opens packet sockets, and runs the tap as another user")
	}
	for _, c := range []struct {
		user   uint32
		status int
		want   string
	}{
		{0, exitFine, `(?m)^ok    socket lo +packets can be captured$`},
		{65534, exitError, `(?m)^FAIL  socket lo +.*it needs CAP_NET_RAW`},
	} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args = []string{"tap", "check"}
		cmd.Env = []string{"TAP_INTERFACES=lo"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.user, Gid: c.user}}
		out, err := cmd.Output()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != c.status || !regexp.MustCompile(c.want).Match(out) {
			t.Errorf("user %d: exit status %d, want %d and %s: %s", c.user, got, c.status, c.want, out)
		}
	}
}

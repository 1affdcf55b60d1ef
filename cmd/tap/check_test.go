package main

import (
	"regexp"
	"strings"
	"testing"
)

// outcome runs a command and returns its exit status and all its output.
func outcome(t *testing.T, args []string, environ ...string) (status int, out string) {
	t.Helper()
	var stdout, stderr strings.Builder
	status = command(t.Context(), args, environ, streams{strings.NewReader(""), &stdout, &stderr})
	t.Logf("%s: %d\n%s%s", strings.Join(args, " "), status, &stdout, &stderr)
	return status, stdout.String() + stderr.String()
}

// TestCheckWithoutBroker: the output has a line for each problem, with the action to take.
func TestCheckWithoutBroker(t *testing.T) {
	for _, c := range []struct {
		environ []string
		status  int
		want    string
	}{
		{[]string{"TAP_SINK=stdout"}, exitFine, `(?m)^ok    settings +all variables are valid and have an effect$`},
		{[]string{"TAP_SINK=stdout"}, exitFine, `(?m)^ok    socket none +no such interface now: the tap captures it once it exists$`},
		{[]string{"TAP_SINK=stdout"}, exitFine, `(?m)^ok    sink +records go to standard output$`},
		{[]string{"TAP_SINK=kafka"}, exitUsage, `(?m)^tap check: TAP_KAFKA_BROKERS: "": expected a list of host:port; see "tap run --help"$`},
		{[]string{"TAP_SINK=kafka", "TAP_KAFKA_BROKERS=127.0.0.1:1"}, exitError, `(?m)^FAIL  broker 127.0.0.1:1 +kafka 127.0.0.1:1: no connection: .*connection refused: see TAP_KAFKA_BROKERS$`},
		{[]string{"TAP_SINK=kafka", "TAP_KAFKA_BROKERS=127.0.0.1:1", "TAP_SPOOL_DIR=/dev/null"}, exitError, `(?m)^FAIL  spool +mkdir /dev/null: not a directory: see TAP_SPOOL_DIR$`},
		{[]string{"TAP_SINK=elsewhere"}, exitUsage, `expected stdout or kafka`},
	} {
		if status, out := outcome(t, []string{"check"}, append(c.environ, "TAP_INTERFACES=none")...); status != c.status || !regexp.MustCompile(c.want).MatchString(out) {
			t.Errorf("%v: status %d, want %d and %s", c.environ, status, c.status, c.want)
		}
	}
	if status, _ := outcome(t, []string{"topics", "--partitions=0"}); status != exitUsage {
		t.Errorf("status %d", status)
	}
}

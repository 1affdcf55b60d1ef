package variables_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

type settings struct {
	Wait  time.Duration `env:"WAIT" envDefault:"3s" about:"how long to wait" expected:"a duration such as 3s"`
	Check bool          `env:"CHECK" about:"true or false"`
	Names []string      `env:"NAMES" about:"names"`
}

// For each invalid value there is an error with the variable and what was expected; the other fields are set.
func TestParse(t *testing.T) {
	for _, c := range []struct {
		vars map[string]string
		want string // the errors, joined
		wait time.Duration
	}{
		{nil, "", 3 * time.Second},
		{map[string]string{"WAIT": "5s", "CHECK": "true", "NAMES": "a,b", "OTHER": "x"}, "", 5 * time.Second},
		{map[string]string{"WAIT": "soon"}, "WAIT=soon: expected a duration such as 3s", 0},
		{map[string]string{"WAIT": "kafka://tap:p@ss,word@kafka:9092"}, "WAIT=...@kafka:9092: expected a duration such as 3s", 0},
		{map[string]string{"WAIT": "4s", "CHECK": "perhaps"}, "CHECK=perhaps: expected true or false", 4 * time.Second},
		{map[string]string{"WAIT": "soon", "CHECK": "perhaps"}, "WAIT=soon: expected a duration such as 3s\nCHECK=perhaps: expected true or false", 0},
	} {
		var s settings
		errs := variables.Parse(&s, c.vars)
		if got := fmt.Sprint(errors.Join(errs...)); got != c.want && (c.want != "" || len(errs) > 0) {
			t.Errorf("%v: %q, want %q", c.vars, got, c.want)
		}
		if s.Wait != c.wait {
			t.Errorf("%v: WAIT is %v", c.vars, s.Wait)
		}
		for _, err := range errs {
			if u, ok := errors.AsType[*variables.Unusable](err); !ok || c.vars[u.Name] != u.Value || u.Unwrap() == nil {
				t.Errorf("%v: %#v", c.vars, err)
			}
		}
	}
}

// A field of an unsupported type is an error in the program. It is not reported as an invalid variable.
func TestParseOfAnUnknownType(t *testing.T) {
	var s struct {
		C chan int `env:"C"`
	}
	errs := variables.Parse(&s, map[string]string{"C": "x"})
	if len(errs) != 1 {
		t.Fatalf("%v", errs)
	}
	if u, ok := errors.AsType[*variables.Unusable](errs[0]); ok {
		t.Errorf("%v", u)
	}
}

func TestHelp(t *testing.T) {
	var b strings.Builder
	variables.Help[settings](&b)
	const want = "  WAIT   3s  how long to wait\n  CHECK      true or false\n  NAMES      names\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	if got := fmt.Sprint(variables.Defaults[settings]()); got != "map[CHECK: NAMES: WAIT:3s]" {
		t.Errorf("defaults: %s", got)
	}
}

// TestUnknown: variables of Kubernetes for a Service whose name gives the prefix are not unknown ones.
func TestUnknown(t *testing.T) {
	vars := map[string]string{
		"WAIT": "3s", "OTHER": "1", "WAIT_FOO": "1", "WAITING": "", "WAIT_LISTEN_PORT": "80",
		"WAIT_SERVICE_HOST": "10.0.0.1", "WAIT_SERVICE_PORT": "80", "WAIT_X_SERVICE_PORT_HTTP": "80", "WAIT_PORT": "tcp://10.0.0.1:80",
		"WAIT_PORT_80_TCP": "tcp://10.0.0.1:80", "WAIT_X_PORT_80_TCP_ADDR": "10.0.0.1", "WAIT_X_PORT_53_UDP_PROTO": "udp", "WAIT_PORT_7_SCTP_PORT": "7",
		"WAIT_X_SERVICE_PORT_": "", "WAIT_X_SERVICE_PORT_http": "80", "WAIT_PORT_TCP": "", "WAIT_PORT_80": "", "WAIT_PORT_80_TCP_PROTO_": "", "WAIT_80_TCP": "",
	}
	const want = "[WAITING WAIT_80_TCP WAIT_FOO WAIT_LISTEN_PORT WAIT_PORT_80 WAIT_PORT_80_TCP_PROTO_ WAIT_PORT_TCP WAIT_X_SERVICE_PORT_ WAIT_X_SERVICE_PORT_http]"
	if got := fmt.Sprint(variables.Unknown[settings](vars, "WAIT")); got != want {
		t.Errorf("unknown: %s", got)
	}
}

func TestList(t *testing.T) {
	for _, c := range []struct{ items, want []string }{
		{nil, nil},
		{[]string{"", " , "}, nil},
		{[]string{" a ", "b,c", ""}, []string{"a", "b", "c"}},
	} {
		if got := variables.List(c.items); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%q: %q", c.items, got)
		}
	}
}

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// least returns the environment with only the required variables, followed by more.
func least(t *testing.T, more ...string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}],
contexts: [{name: c, context: {cluster: c, user: c}}], users: [{name: c, user: {}}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return append([]string{
		"KUBECONFIG=" + file, "WEBHOOK_IMAGE=tap:1", "POD_NAMESPACE=tap", "WEBHOOK_SERVICE_NAME=tap", "WEBHOOK_CONFIGURATION_NAME=zz-tap",
	}, more...)
}

func TestConfiguration(t *testing.T) {
	settings := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(settings, []byte("spool: {size: 1Mi}\nnonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for set, want := range map[string]string{
		"":                                             "",
		"WEBHOOK_MODE=ambient":                         "WEBHOOK_MODE=ambient: expected native or container",
		"WEBHOOK_PROFILE=x":                            "WEBHOOK_PROFILE=x: expected auto or default",
		"WEBHOOK_CERT_MODE=certs":                      "WEBHOOK_CERT_MODE=certs: expected self or files",
		"WEBHOOK_IMAGE=":                               "WEBHOOK_IMAGE=: expected a name",
		"WEBHOOK_IMAGE_PULL_POLICY=x":                  "WEBHOOK_IMAGE_PULL_POLICY=x",
		"WEBHOOK_CONFIGURATION_NAME=,":                 "WEBHOOK_CONFIGURATION_NAME=",
		"WEBHOOK_POD_OPT_IN=perhaps":                   "WEBHOOK_POD_OPT_IN",
		"WEBHOOK_LOG_LEVEL=loud":                       "WEBHOOK_LOG_LEVEL",
		"WEBHOOK_LOG_FORMAT=xml":                       "WEBHOOK_LOG_FORMAT=xml: expected json or text",
		"WEBHOOK_DRAIN=soon":                           "WEBHOOK_DRAIN=soon",
		"WEBHOOK_SETTINGS=/nowhere":                    "WEBHOOK_SETTINGS: open /nowhere",
		"WEBHOOK_SETTINGS=" + settings:                 `WEBHOOK_SETTINGS: error unmarshaling JSON: while decoding JSON: json: unknown field "nonsense"`,
		"KUBECONFIG=/nowhere":                          "KUBECONFIG: stat /nowhere",
		"WEBHOOK_ALLOWED_ANNOTATIONS=duration, filter": "",
		"WEBHOOK_CLIENT_CA_FILE=/nowhere":              "WEBHOOK_CLIENT_CA_FILE: open /nowhere",
		"WEBHOOK_CLIENT_CA_FILE=" + settings:           "expected certificates in PEM",
		"WEBHOOK_CLIENT_NAMES=kube-apiserver":          "WEBHOOK_CLIENT_NAMES=kube-apiserver: expected WEBHOOK_CLIENT_CA_FILE to be set too",
		"WEBHOOK_ALLOWED_ANNOTATIONS=cpu":              "WEBHOOK_ALLOWED_ANNOTATIONS=cpu: expected",
	} {
		_, err := configuration(least(t, set), os.Stderr)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", set, err, want)
		}
	}
	cfg, err := configuration(least(t, "WEBHOOK_ALLOWED_ANNOTATIONS=duration, filter", "WEBHOOK_CONFIGURATION_NAME=zz-tap,aa-tap"), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Drain != 5*time.Second || !cfg.ImageCheck || !cfg.Events || len(cfg.AllowedAnnotations) != 2 || len(cfg.Configurations) != 2 || cfg.Listen != ":10250" {
		t.Errorf("%+v", cfg)
	}
}

// TestAllSaid: --help and webhook/README.md describe every variable and its default.
func TestAllSaid(t *testing.T) {
	readme, err := os.ReadFile("../../webhook/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if status := command(t.Context(), []string{"--help"}, nil, &out, &errs); status != exitFine {
		t.Fatalf("status %d: %s", status, &errs)
	}
	for field := range reflect.TypeFor[environment]().Fields() {
		name, def := field.Tag.Get("env"), field.Tag.Get("envDefault")
		if !strings.Contains(out.String(), name) {
			t.Errorf("%s is not in --help", name)
		}
		at := strings.Index(string(readme), "| `"+name+"` |")
		if at < 0 {
			t.Errorf("%s is not in webhook/README.md", name)
			continue
		}
		line, _, _ := strings.Cut(string(readme[at:]), "\n")
		if def != "" && !strings.Contains(strings.ToLower(line), strings.ToLower("`"+def+"`")) {
			t.Errorf("%s: the default %s is not in webhook/README.md: %s", name, def, line)
		}
	}
}

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		args   []string
		env    []string
		status int
		said   string
	}{
		{[]string{"version"}, nil, exitFine, "tap-webhook dev"},
		{[]string{"serve"}, nil, exitUsage, `unexpected argument "serve"`},
		{[]string{"--check"}, []string{"KUBECONFIG=/nowhere"}, exitUsage, "WEBHOOK_IMAGE=: expected a name"},
		{[]string{"--check"}, least(t), exitFine, ""},
		{[]string{"--check"}, least(t, "WEBHOOK_FOO=1", "WEBHOOK_CHECK_NAMESPACE=x"), exitFine, "tap-webhook: warning: WEBHOOK_FOO: this version has no such variable\n"},
		{[]string{"--check"}, least(t, "WEBHOOK_MODE=x", "WEBHOOK_CERT_MODE=x"), exitUsage, "\ntap-webhook: WEBHOOK_CERT_MODE=x: expected self or files"},
		{[]string{"--check"}, nil, exitUsage, "tap-webhook: KUBECONFIG: unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined: outside of a cluster, set KUBECONFIG to a file"},
		{nil, []string{"KUBECONFIG=/nowhere"}, exitUsage, "WEBHOOK_IMAGE=: expected a name"},
	} {
		var out, errs bytes.Buffer
		status := command(t.Context(), c.args, c.env, &out, &errs)
		if c.said == "" && errs.Len() > 0 {
			t.Errorf("%v: %s", c.args, &errs)
		}
		if status != c.status || !strings.Contains(out.String()+errs.String(), c.said) {
			t.Errorf("%v: status %d, %s%s", c.args, status, &out, &errs)
		}
	}
}

// TestCheckInCluster: without a kubeconfig the check uses only the configuration of a pod. If client-go tried other
// sources, it would print a warning in `helm test --logs`.
func TestCheckInCluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	var out, errs bytes.Buffer
	if status := check(t.Context(), nil, &out, &errs); status != exitError || !strings.Contains(errs.String(), "in-cluster configuration") {
		t.Errorf("status %d: %s", status, &errs)
	}
}

// Package chart_test tests the Helm chart charts/tap with Helm 3 and 4, helm-unittest and kubeconform, without a
// network: `make chart` runs it. With -update it writes the generated files: the golden files and the table in the
// chart's README.
package chart_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files and the chart's README anew")

const (
	repository = "../../.."
	chart      = repository + "/charts/tap"
	release    = "meshtls-tap" // name of the release and of its namespace
)

// sets lists the values files in charts/tap/ci. Each has a golden file.
var sets = []string{"default", "kafka", "cautious", "certmanager", "openshift", "everything", "peers"}

// tools returns the folder with the programs that `build.sh chart` built.
func tools(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("CHART_TOOLS")
	if folder == "" {
		t.Skip("CHART_TOOLS is not set: run `make chart`, which builds Helm and the rest")
	}
	return folder
}

// run runs a tool and returns its standard output. The error includes its standard error.
func run(t *testing.T, tool string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(tools(t), "bin", tool), args...)
	home := t.TempDir()
	cmd.Env = []string{"HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home, "PATH=/usr/bin:/bin"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s%s", tool, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

func values(set string) string { return filepath.Join(chart, "ci", set+".yaml") }

func template(t *testing.T, helm, set string, more ...string) (string, error) {
	t.Helper()
	return run(t, helm, append([]string{"template", release, chart, "--namespace", release, "--values", values(set)}, more...)...)
}

var blank = regexp.MustCompile(`(?m)^\s*\n`)

// plain removes blank lines, and the comments that name the source files: both differ between Helm 3 and 4.
func plain(rendered string) string { return blank.ReplaceAllString(rendered, "") }

func TestSets(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(chart, "ci", "*.yaml"))
	if err != nil || len(files) != len(sets) {
		t.Errorf("charts/tap/ci has %d files (%v), tested are %d: %v", len(files), err, len(sets), sets)
	}
}

func TestLint(t *testing.T) {
	for _, helm := range []string{"helm3", "helm4"} {
		for _, set := range sets {
			t.Run(helm+"/"+set, func(t *testing.T) {
				t.Parallel()
				if _, err := run(t, helm, "lint", "--strict", chart, "--values", values(set)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestTemplate renders the chart with each set of values. The output of Helm 4 must equal the golden file, and Helm 3
// must render the same objects.
func TestTemplate(t *testing.T) {
	for _, set := range sets {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			got, err := template(t, "helm4", set)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", set+".yaml")
			compare(t, golden, plain(got))

			old, err := template(t, "helm3", set)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := documents(old), documents(got); a != b {
				t.Errorf("Helm 3 renders otherwise than Helm 4:\n%s", difference(b, a))
			}
			if strings.Contains(got, "PRIVATE KEY") || strings.Contains(got, "kind: Secret\n") {
				t.Error("a Secret or a key is rendered")
			}
			if again, err := template(t, "helm4", set); err != nil || again != got {
				t.Errorf("a second rendering differs (%v): GitOps would never come to rest", err)
			}
		})
	}
}

// documents returns the documents of rendered YAML, sorted.
func documents(rendered string) string {
	all := strings.Split("\n"+plain(rendered), "\n---\n")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return strings.Join(sorted(all), "\n---\n")
}

func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v: -update writes it", err)
	}
	if string(want) != got {
		t.Errorf("%s differs (-update writes it anew):\n%s", golden, difference(string(want), got))
	}
}

// TestSchemas validates every object strictly against the schemas of Kubernetes.
func TestSchemas(t *testing.T) {
	for _, set := range sets {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			rendered, err := template(t, "helm4", set)
			if err != nil {
				t.Fatal(err)
			}
			if err := conform(t, rendered); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("a field with a slip is found", func(t *testing.T) {
		rendered, err := template(t, "helm4", "default")
		if err != nil {
			t.Fatal(err)
		}
		err = conform(t, strings.Replace(rendered, "  replicas: 2", "  replicaz: 2", 1))
		if err == nil || !strings.Contains(err.Error(), "replicaz") {
			t.Errorf("kubeconform said %v", err)
		}
	})
}

func conform(t *testing.T, rendered string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rendered.yaml")
	if err := os.WriteFile(file, []byte(rendered), 0o600); err != nil {
		t.Fatal(err)
	}
	name := "{{.ResourceKind}}{{.KindSuffix}}.json"
	_, err := run(t, "kubeconform", "-strict", "-summary",
		"-schema-location", filepath.Join(tools(t), "schemas", name), "-schema-location", filepath.Join("testdata", "schemas", name), file)
	return err
}

// TestRefused: if a value cannot work, rendering the chart fails.
func TestRefused(t *testing.T) {
	for _, test := range []struct{ set, want string }{
		{"webhook.replica=3", "replica"},
		{"tap.profil=root", "profil"},
		{"tap.profile=privileged", "profile"},
		{"tap.mode=sidecar", "mode"},
		{"tap.image.digest=sha256:12", "digest"},
		{"tap.window=ten", "window"},
		{"tap.resources.limits.memory=null", "memory"},
		{"kafka.brokers={kafka}", "brokers"},
		{"injection.allowedAnnotations={filters}", "allowedAnnotations"},
		{"webhook.tls.mode=existingSecret", "needs webhook.tls.secretName"},
		{"webhook.tls.mode=existingSecret,webhook.tls.secretName=x", "needs webhook.tls.caBundle"},
		{"webhook.port=9469", "must differ"},
		{"kafka.sasl.mechanism=plain", "needs kafka.sasl.username"},
		{"kafka.sasl.mechanism=oauthbearer", "needs kafka.sasl.token.audience"},
		{"tap.extraEnv[0].name=GOMEMLIMIT", "not a TAP_ variable"},
		{"webhook.serviceAccount.create=false", "webhook.serviceAccount.name"},
	} {
		t.Run(test.set, func(t *testing.T) {
			t.Parallel()
			for _, helm := range []string{"helm3", "helm4"} {
				_, err := template(t, helm, "default", "--set", test.set)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s said %v, want something with %q", helm, err, test.want)
				}
			}
		})
	}
}

// TestKubernetes: the chart refuses unsupported versions of Kubernetes, and leaves out objects that a version does not support.
func TestKubernetes(t *testing.T) {
	if _, err := template(t, "helm4", "default", "--kube-version", "1.28.0"); err == nil || !strings.Contains(err.Error(), "kubeVersion") {
		t.Errorf("Kubernetes 1.28 is not refused: %v", err)
	}
	old, err := template(t, "helm4", "default", "--kube-version", "1.29.0")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(old, "kind: ValidatingAdmissionPolicy") {
		t.Error("Kubernetes 1.29 gets a ValidatingAdmissionPolicy, which it does not serve as v1")
	}
}

func TestUnit(t *testing.T) {
	out, err := run(t, "helm-unittest", "--strict", chart)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`Tests:\s+[1-9]\d* passed`).MatchString(out) {
		t.Errorf("no test ran:\n%s", out)
	}
}

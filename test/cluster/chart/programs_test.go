package chart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

// webhookCheck returns the command `tap-webhook --check` with a settings file.
func webhookCheck(t *testing.T, settings string) *exec.Cmd {
	t.Helper()
	folder := t.TempDir()
	put := func(name, text string) string {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	kubeconfig := put("kubeconfig", `{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}],
contexts: [{name: c, context: {cluster: c, user: c}}], users: [{name: c, user: {}}]}`)
	cmd := exec.Command(product(t, "tap-webhook"), "--check")
	cmd.Env = []string{
		"KUBECONFIG=" + kubeconfig, "WEBHOOK_SETTINGS=" + put("settings.yaml", settings), "WEBHOOK_IMAGE=tap:1", "POD_NAMESPACE=tap",
		"WEBHOOK_SERVICE_NAME=tap", "WEBHOOK_CONFIGURATION_NAME=zz-tap",
	}
	return cmd
}

// tapCheck returns the command `tap run --check` with the environment that the settings contain.
func tapCheck(t *testing.T, settings string) *exec.Cmd {
	t.Helper()
	var s struct {
		Env   []struct{ Name, Value string }
		Spool struct{ Size string }
		Kafka struct{ Password, Token map[string]any }
	}
	if err := yaml.Unmarshal([]byte(settings), &s); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(product(t, "tap"), "run", "--check")
	cmd.Env = []string{"POD_NAME=p", "POD_NAMESPACE=n"}
	for _, e := range s.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	if s.Spool.Size != "" {
		cmd.Env = append(cmd.Env, "TAP_SPOOL_DIR="+t.TempDir(), "TAP_SPOOL_MAX="+s.Spool.Size)
	}
	if s.Kafka.Password != nil {
		cmd.Env = append(cmd.Env, "TAP_KAFKA_SASL_PASSWORD_FILE=/etc/hostname")
	}
	if s.Kafka.Token != nil {
		cmd.Env = append(cmd.Env, "TAP_KAFKA_SASL_TOKEN_FILE=/etc/hostname")
	}
	return cmd
}

var products struct {
	sync.Mutex
	folder string
}

// product returns the path of a program of the product. It builds each program once.
func product(t *testing.T, name string) string {
	t.Helper()
	products.Lock()
	defer products.Unlock()
	if products.folder == "" {
		folder, err := os.MkdirTemp("", "chart-test-")
		if err != nil {
			t.Fatal(err)
		}
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=test", "-o", folder+"/", "./cmd/tap", "./cmd/tap-webhook")
		build.Dir = repository
		if out, err := build.CombinedOutput(); err != nil {
			os.RemoveAll(folder)
			t.Fatalf("%v\n%s", err, out)
		}
		products.folder = folder
	}
	return filepath.Join(products.folder, name)
}

func TestMain(m *testing.M) {
	code := m.Run()
	if products.folder != "" {
		os.RemoveAll(products.folder)
	}
	os.Exit(code)
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout}
spec:
  template:
    spec:
      containers:
      - name: web
        image: web:1
`

func manifestFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestInjectAndUninject(t *testing.T) {
	out, said, status := command(t, "inject", "-f", manifestFile(t, deployment), "--image=registry.example/meshtls-tap:1", "--env=TAP_MESH=istio")
	if status != exitFine || said != "deployment/checkout: tap added\n" || !strings.Contains(out, "image: registry.example/meshtls-tap:1\n") || !strings.Contains(out, "value: istio") {
		t.Fatalf("status %d, %q\n%s", status, said, out)
	}
	back, said, status := command(t, "uninject", "-f", manifestFile(t, out))
	if status != exitFine || said != "deployment/checkout: tap removed\n" || strings.Contains(back, "meshtls") {
		t.Errorf("status %d, %q\n%s", status, said, back)
	}
	if again, said, status := command(t, "uninject", "-f", manifestFile(t, back)); again != back || said != "deployment/checkout: unchanged: it has no tap\n" || status != exitFine {
		t.Errorf("status %d, %q\n%s", status, said, again)
	}
}

func TestInjectErrors(t *testing.T) {
	file := manifestFile(t, deployment)
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"inject", "--image=a"}, exitUsage, "-f is required"},
		{[]string{"uninject"}, exitUsage, "-f is required"},
		{[]string{"inject", "-f", file}, exitUsage, "--image is required: this program's version (dev) has no published image"},
		{[]string{"inject", "-f", file, "--image=a", "--env=TAP_MESH"}, exitUsage, "expected NAME=VALUE"},
		{[]string{"inject", "-f", file, "--image=a", "--env=PATH=/"}, exitUsage, `--env: "PATH": expected a name that begins with TAP_`},
		{[]string{"inject", "-f", file, "--image=a", "--env=TAP_MESH=isto"}, exitUsage, "expected osm or istio"},
		{[]string{"inject", "-f", file, "--image=a", "--profile=defaut"}, exitUsage, "did you mean default?"},
		{[]string{"inject", "-f", file, "--image=a", "--image-pull-policy=x"}, exitUsage, "expected Always, IfNotPresent, Never"},
		{[]string{"inject", "-f", file + ".none", "--image=a"}, exitError, "no such file"},
		{[]string{"inject", "-f", manifestFile(t, deployment+"---\na: [\n"), "--image=a"}, exitError, "document 2: "},
	} {
		out, said, status := command(t, c.args...)
		if status != c.status || !strings.Contains(said, c.says) || out != "" {
			t.Errorf("%q: status %d, want %d; %q, want %q; printed %q", c.args, status, c.status, said, c.says, out)
		}
	}
}

func TestInjectNothing(t *testing.T) {
	text := "kind: Service\n"
	out, said, status := command(t, "inject", "-f", manifestFile(t, text), "--image=a")
	if out != text || !strings.Contains(said, "has no pods") || status != exitFine {
		t.Errorf("status %d, %q, %q", status, out, said)
	}
	text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostNetwork: true, containers: [{name: a}]}\n"
	if out, said, _ = command(t, "inject", "-f", manifestFile(t, text), "--image=a"); out != text || !strings.HasPrefix(said, "pod/a: unchanged: it uses its node's network") {
		t.Errorf("%q, %q", out, said)
	}
}

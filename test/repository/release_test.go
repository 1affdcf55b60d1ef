package repository_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// chart is what Chart.yaml has of versions.
type chart struct {
	Version     string
	AppVersion  string
	Annotations map[string]string
}

// TestVersionsAgree: changelog, chart and images name one version. The release workflow sets it to the tag's; what is in the repository
// is the version that is released next, or was last.
func TestVersionsAgree(t *testing.T) {
	var c chart
	parse(t, "charts/tap/Chart.yaml", &c)
	if !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(c.Version) || c.AppVersion != c.Version {
		t.Errorf("the chart has version %q and appVersion %q", c.Version, c.AppVersion)
	}
	images := regexp.MustCompile(`image: (\S+):(\S+)`).FindAllStringSubmatch(c.Annotations["artifacthub.io/images"], -1)
	if len(images) != 2 {
		t.Errorf("the chart names %d images, want 2", len(images))
	}
	for _, i := range images {
		if i[2] != c.Version {
			t.Errorf("the chart names %s:%s, and has version %s", i[1], i[2], c.Version)
		}
	}
	var values struct{ Image map[string]map[string]any }
	parse(t, "charts/tap/values.yaml", &values)
	for name, image := range values.Image {
		if tag, ok := image["tag"].(string); ok && tag != "" {
			t.Errorf("image.%s.tag is %q: want none, which is the chart's appVersion", name, tag)
		}
	}
	newest := regexp.MustCompile(`(?m)^## \[(\d+\.\d+\.\d+)\]`).FindStringSubmatch(read(t, "CHANGELOG.md"))
	if newest == nil || newest[1] != c.Version {
		t.Errorf("CHANGELOG.md's newest version is %q, the chart's %q", newest, c.Version)
	}
	if link := "[" + c.Version + "]: https://github.com/meshtls-tap/meshtls-tap/releases/tag/v" + c.Version; !strings.Contains(read(t, "CHANGELOG.md"), link) {
		t.Errorf("CHANGELOG.md has no line %q", link)
	}
}

// TestVersionInTheBinaries: the flags that set the version are those of the Makefile, the Dockerfile and GoReleaser alike, and the
// programs print it.
func TestVersionInTheBinaries(t *testing.T) {
	const set = "-s -w -X main.version="
	for _, name := range []string{"Makefile", "Dockerfile", ".goreleaser.yaml"} {
		if !strings.Contains(read(t, name), set) {
			t.Errorf("%s does not build with %q", name, set)
		}
	}
	for _, program := range []string{"tap", "tap-webhook"} {
		if program == "tap-webhook" && testing.Short() {
			continue // it compiles Kubernetes' client
		}
		file := filepath.Join(t.TempDir(), program)
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", set+"v9.8.7", "-o", file, "./cmd/"+program)
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		out, err := exec.Command(file, "version").Output()
		if err != nil || !strings.HasPrefix(string(out), program+" v9.8.7") {
			t.Errorf("%s version: %q, %v", program, out, err)
		}
	}
}

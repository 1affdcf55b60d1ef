package chart_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestMetadata checks what Artifact Hub shows about the chart: its images are the ones that the chart renders, its
// icon exists, and it names no signing key.
func TestMetadata(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chart, "Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Icon        string
		Annotations map[string]string
	}
	if err := yaml.Unmarshal(content, &c); err != nil {
		t.Fatal(err)
	}
	var images []struct{ Name, Image string }
	if err := yaml.Unmarshal([]byte(c.Annotations["artifacthub.io/images"]), &images); err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, i := range images {
		named = append(named, i.Image)
	}
	rendered, err := template(t, "helm4", "default")
	if err != nil {
		t.Fatal(err)
	}
	used := sorted(regexp.MustCompile(`ghcr\.io/[^\s"@]+`).FindAllString(rendered, -1))
	if used = slices.Compact(used); !slices.Equal(sorted(named), used) {
		t.Errorf("artifacthub.io/images has %v, rendered are %v", named, used)
	}
	var changes []struct{ Kind, Description string }
	if err := yaml.Unmarshal([]byte(c.Annotations["artifacthub.io/changes"]), &changes); err != nil || len(changes) == 0 || changes[0].Description == "" {
		t.Errorf("artifacthub.io/changes: %v, %v", changes, err)
	}
	if c.Annotations["artifacthub.io/license"] != "Apache-2.0" || c.Annotations["artifacthub.io/signKey"] != "" {
		t.Errorf("annotations are %v", c.Annotations)
	}
	if _, file, ok := strings.Cut(c.Icon, "/main/"); !ok {
		t.Errorf("icon %s is not of this repository", c.Icon)
	} else if _, err := os.Stat(filepath.Join(repository, file)); err != nil {
		t.Error(err)
	}
}

package repository_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// chart is the part of Chart.yaml that names versions.
type chart struct {
	Version     string
	AppVersion  string
	Annotations map[string]string
}

// TestVersionsAgree: changelog, chart and images name the same version. It is the next release, or the last one if
// nothing has changed since.
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

// TestTag runs in the release workflow, with RELEASE_TAG set to the tag. Changelog and chart must have the version of
// the tag, and the changelog must have the release's date. A candidate (v1.2.3-rc.1) needs no date.
func TestTag(t *testing.T) {
	tag := os.Getenv("RELEASE_TAG")
	if tag == "" {
		t.Skip("RELEASE_TAG is not set: this is not a release")
	}
	if err := checkTag(tag, read(t, "charts/tap/Chart.yaml"), read(t, "CHANGELOG.md")); err != nil {
		t.Error(err)
	}
}

// checkTag returns an error unless the chart has the version of the tag, and the changelog has a heading with that
// version and a date.
func checkTag(tag, chartFile, changelog string) error {
	m := regexp.MustCompile(`^v(\d+\.\d+\.\d+)(-[0-9A-Za-z.-]+)?$`).FindStringSubmatch(tag)
	if m == nil {
		return fmt.Errorf("the tag %q is not vMAJOR.MINOR.PATCH", tag)
	}
	version, candidate := m[1], m[2] != ""
	if !strings.Contains(chartFile, "\nversion: "+version+"\nappVersion: "+version+"\n") {
		return fmt.Errorf("the tag is %s, and charts/tap/Chart.yaml does not have version and appVersion %s", tag, version)
	}
	heading := regexp.MustCompile(`(?m)^## \[` + regexp.QuoteMeta(version) + `\] - (.+)$`).FindStringSubmatch(changelog)
	if heading == nil {
		return fmt.Errorf("the tag is %s, and CHANGELOG.md has no heading for %s", tag, version)
	}
	if _, err := time.Parse(time.DateOnly, heading[1]); err != nil && !candidate {
		return fmt.Errorf("CHANGELOG.md has %q where the date of %s should be", heading[1], version)
	}
	return nil
}

func TestCheckTag(t *testing.T) {
	const chartFile = "name: tap\nversion: 1.2.3\nappVersion: 1.2.3\n"
	for _, c := range []struct{ tag, changelog, want string }{
		{"v1.2.3", "## [1.2.3] - 2026-12-01\n", ""},
		{"v1.2.3-rc.1", "## [1.2.3] - unreleased\n", ""},
		{"v1.2.3", "## [1.2.3] - unreleased\n", "where the date"},
		{"v1.2.3", "## [1.2.2] - 2026-12-01\n", "no heading"},
		{"v1.2.4", "## [1.2.4] - 2026-12-01\n", "Chart.yaml"},
		{"1.2.3", "## [1.2.3] - 2026-12-01\n", "is not v"},
		{"v1.2", "## [1.2.3] - 2026-12-01\n", "is not v"},
	} {
		switch err := checkTag(c.tag, chartFile, c.changelog); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.tag, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want an error with %q", c.tag, err, c.want)
		}
	}
}

// TestReleaseTools: the version of each tool that the workflow installs is the one that tools/rehearse.sh uses.
func TestReleaseTools(t *testing.T) {
	script, modules, workflow := read(t, "tools/rehearse.sh"), read(t, "test/cluster/go.mod"), read(t, ".github/workflows/release.yml")
	for _, c := range []struct{ tool, pin, in, installed string }{
		{"goreleaser", `(?m)^goreleaser=\S+@(v\S+)$`, script, `goreleaser-action@.*\n.*version: ([^\s,}]+)`},
		{"syft", `(?m)^syft=\S+@(v\S+)$`, script, `download-syft@.*\n.*syft-version: ([^\s,}]+)`},
		{"cosign", `(?m)^cosign=\S+@(v\S+)$`, script, `cosign-installer@.*\n.*cosign-release: ([^\s,}]+)`},
		{"helm", `helm\.sh/helm/v4 (v\S+)`, modules, `setup-helm@.*\n.*version: ([^\s,}]+)`},
	} {
		pin := regexp.MustCompile(c.pin).FindStringSubmatch(c.in)
		if pin == nil {
			t.Errorf("no version of %s is pinned", c.tool)
			continue
		}
		action, _, _ := strings.Cut(c.installed, "@")
		installed := regexp.MustCompile(c.installed).FindAllStringSubmatch(workflow, -1)
		if n := strings.Count(workflow, action+"@"); n == 0 || n != len(installed) {
			t.Errorf("release.yml uses %s %d times, and %d of them name a version", action, n, len(installed))
		}
		for _, i := range installed {
			if i[1] != pin[1] {
				t.Errorf("release.yml installs %s %s, want %s", c.tool, i[1], pin[1])
			}
		}
	}
}

// TestArchivesAreReproducible: all times in an archive are the commit's, and the owner of all files is root.
// Otherwise two builds of one commit would differ.
func TestArchivesAreReproducible(t *testing.T) {
	type info struct{ Owner, Group, Mtime string }
	var c struct {
		Builds []struct {
			Time string `json:"mod_timestamp"`
		}
		Archives []struct {
			Info  info `json:"builds_info"`
			Files []struct {
				Src  string
				Info info
			}
		}
	}
	parse(t, ".goreleaser.yaml", &c)
	if len(c.Builds) == 0 || len(c.Archives) == 0 {
		t.Fatalf("GoReleaser builds nothing: %+v", c)
	}
	for _, b := range c.Builds {
		if b.Time != "{{ .CommitTimestamp }}" {
			t.Errorf("the time of a binary is %q", b.Time)
		}
	}
	want := info{"root", "root", "{{ .CommitDate }}"}
	for _, a := range c.Archives {
		if a.Info != want {
			t.Errorf("binaries in an archive have %+v, want %+v", a.Info, want)
		}
		for _, f := range a.Files {
			if f.Info != want {
				t.Errorf("%s in an archive has %+v, want %+v", f.Src, f.Info, want)
			}
		}
	}
}

// TestKrew: the krew manifest has an archive for each platform for which GoReleaser builds the plugin, by the name that GoReleaser
// gives it. The bot's placeholders are replaced as the bot does it.
func TestKrew(t *testing.T) {
	var c struct {
		Builds []struct {
			ID           string
			Goos, Goarch []string
		}
		Archives []struct {
			ID       string
			Template string `json:"name_template"`
		}
	}
	parse(t, ".goreleaser.yaml", &c)
	const plugin = "kubectl-meshtls"
	want := map[string]string{} // addresses, by platform
	for _, b := range c.Builds {
		for _, a := range c.Archives {
			if b.ID != plugin || a.ID != plugin {
				continue
			}
			for _, system := range b.Goos {
				for _, arch := range b.Goarch {
					suffix := ".tar.gz"
					if system == "windows" {
						suffix = ".zip"
					}
					name := strings.NewReplacer("{{ .Tag }}", "v1.2.3", "{{ .Os }}", system, "{{ .Arch }}", arch).Replace(a.Template)
					want[system+"/"+arch] = "https://github.com/meshtls-tap/meshtls-tap/releases/download/v1.2.3/" + name + suffix
				}
			}
		}
	}
	text := strings.ReplaceAll(read(t, ".krew.yaml"), "{{ .TagName }}", "v1.2.3")
	text = regexp.MustCompile(`\{\{addURIAndSha ("[^"]*") \.TagName }}`).ReplaceAllString(text, "uri: $1")
	var m struct {
		APIVersion, Kind string
		Metadata         struct{ Name string }
		Spec             struct {
			Version, ShortDescription, Description, Homepage string
			Platforms                                        []struct {
				Selector struct{ MatchLabels map[string]string }
				URI, Bin string
			}
		}
	}
	if err := yaml.UnmarshalStrict([]byte(text), new(map[string]any)); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	if m.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || m.Kind != "Plugin" || m.Metadata.Name != "meshtls" || m.Spec.Version != "v1.2.3" ||
		m.Spec.ShortDescription == "" || len(m.Spec.ShortDescription) > 50 || m.Spec.Description == "" || m.Spec.Homepage == "" {
		t.Errorf("%+v", m)
	}
	got := map[string]string{}
	for _, p := range m.Spec.Platforms {
		system := p.Selector.MatchLabels["os"]
		got[system+"/"+p.Selector.MatchLabels["arch"]] = p.URI
		if bin := strings.TrimSuffix(p.Bin, ".exe"); bin != plugin || (bin != p.Bin) != (system == "windows") {
			t.Errorf("%s: the program is %s", system, p.Bin)
		}
	}
	if len(want) == 0 || !maps.Equal(got, want) {
		t.Errorf("archives %v, want %v", got, want)
	}
}

// TestVersionInTheBinaries: Makefile, Dockerfile and GoReleaser set version and commit with the same linker flags,
// and the programs print both.
func TestVersionInTheBinaries(t *testing.T) {
	const set, commit = "-s -w -X main.version=", " -X main.commit="
	for _, name := range []string{"Makefile", "Dockerfile", ".goreleaser.yaml"} {
		if !regexp.MustCompile(set + `\S*( \.Tag }})?` + commit).MatchString(read(t, name)) {
			t.Errorf("%s does not build with %q and %q", name, set, commit)
		}
	}
	for _, program := range []string{"tap", "tap-webhook", "kubectl-meshtls"} {
		if program != "tap" && testing.Short() {
			continue // these take long, because they compile the Kubernetes client
		}
		file := filepath.Join(t.TempDir(), program)
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", set+"v9.8.7"+commit+"0123abc", "-o", file, "./cmd/"+program)
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		out, err := exec.Command(file, "version").Output()
		prefix := program + " v9.8.7"
		if program == "kubectl-meshtls" {
			prefix = "kubectl meshtls version v9.8.7" // as kubectl's plugins are called
		}
		if err != nil || !strings.HasPrefix(string(out), prefix) || !strings.Contains(string(out), " commit 0123abc") {
			t.Errorf("%s version: %q, %v", program, out, err)
		}
	}
}

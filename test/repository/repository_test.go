// Package repository_test checks the files around the code, such as workflows, dependabot's list and issue forms.
// They must agree with each other and with the code.
package repository_test

import (
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// parse parses a YAML file. A duplicate key is an error.
func parse(t *testing.T, name string, to any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(read(t, name)), to, yaml.DisallowUnknownFields); err != nil && !strings.Contains(err.Error(), "unknown field") {
		t.Fatalf("%s: %v", name, err)
	}
}

func workflows(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, ".github/workflows/*.yml"))
	if err != nil || len(names) < 2 {
		t.Fatalf("%v, %v", names, err)
	}
	for i := range names {
		names[i] = ".github/workflows/" + filepath.Base(names[i])
	}
	return names
}

// TestActionsArePinned: workflows name an action's commit, because a tag can be moved. A comment after the commit has
// the version; dependabot reads it.
func TestActionsArePinned(t *testing.T) {
	uses := regexp.MustCompile(`(?m)^\s*(?:- )?uses:\s*(.*)$`)
	pinned := regexp.MustCompile(`^([a-z0-9./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$`)
	commits := map[string]string{}
	for _, name := range workflows(t) {
		found := uses.FindAllStringSubmatch(read(t, name), -1)
		if len(found) == 0 {
			t.Errorf("%s uses no action: what does it do?", name)
		}
		for _, u := range found {
			m := pinned.FindStringSubmatch(u[1])
			if m == nil {
				t.Errorf("%s: %q is not pinned: want ACTION@COMMIT # vN.N.N", name, u[1])
				continue
			}
			if was := commits[m[1]]; was != "" && was != m[2]+m[3] {
				t.Errorf("%s: %s is pinned to another commit elsewhere", name, m[1])
			}
			commits[m[1]] = m[2] + m[3]
		}
	}
}

// TestWorkflowsRunEachStep: the jobs other than `quick` together run every step of .ci/run.
func TestWorkflowsRunEachStep(t *testing.T) {
	var ci struct {
		Jobs map[string]struct {
			Strategy struct {
				Matrix struct{ Include []struct{ Steps string } }
			}
		}
	}
	parse(t, ".github/workflows/ci.yml", &ci)
	var run []string
	for _, job := range ci.Jobs["steps"].Strategy.Matrix.Include {
		run = append(run, strings.Fields(job.Steps)...)
	}
	quick := regexp.MustCompile(`(?m)^quick:.*\n((?:\t.*\n)+)`).FindString(read(t, "Makefile"))
	var steps []string
	for _, m := range regexp.MustCompile(`(?m)^step (\S+)`).FindAllStringSubmatch(read(t, ".ci/run"), -1) {
		if m[1] != "tools" { // the step tools only prepares the other steps
			steps = append(steps, m[1])
		}
	}
	if len(steps) < 10 {
		t.Fatalf("only the steps %q were found in .ci/run", steps)
	}
	for _, s := range steps {
		if !slices.Contains(run, s) && !strings.Contains(quick, " "+s+"\n") {
			t.Errorf("no job of ci.yml runs the step %s of .ci/run", s)
		}
	}
	for _, s := range run {
		if !slices.Contains(steps, s) {
			t.Errorf("ci.yml runs %q, which is no step of .ci/run", s)
		}
	}
}

// manifests maps the names of the files that dependabot reads to dependabot's names of package ecosystems.
var manifests = map[string]string{
	"go.mod": "gomod", "Cargo.toml": "cargo", "Dockerfile": "docker", "pom.xml": "maven", "requirements.txt": "pip", "package.json": "npm",
}

// TestDependabotKnowsEachModule: dependabot's list has each module. Dependabot does not update modules that are not
// in the list.
func TestDependabotKnowsEachModule(t *testing.T) {
	var conf struct {
		Updates []struct {
			Ecosystem   string `json:"package-ecosystem"`
			Directory   string
			Directories []string
		}
	}
	parse(t, ".github/dependabot.yml", &conf)
	listed := map[string]bool{}
	for _, u := range conf.Updates {
		for _, d := range append(u.Directories, u.Directory) {
			if d != "" {
				listed[u.Ecosystem+" "+d] = true
			}
		}
	}
	there := map[string]bool{"github-actions /": true}
	for _, name := range tracked(t) {
		if kind, ok := manifests[path.Base(name)]; ok && !strings.Contains(name, "testdata/") {
			there[kind+" "+path.Join("/", path.Dir(name))] = true
		}
	}
	if !maps.Equal(listed, there) {
		t.Errorf("dependabot has\n%q\nand the repository\n%q", slices.Sorted(maps.Keys(listed)), slices.Sorted(maps.Keys(there)))
	}
}

// tracked returns the files in git's index.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("no git, or no checkout: %v", err)
	}
	return strings.Fields(string(out))
}

// TestIssueForms: each issue form is valid. GitHub silently omits an invalid form.
func TestIssueForms(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(root, ".github/ISSUE_TEMPLATE/*.yml"))
	if err != nil || len(names) < 3 {
		t.Fatalf("%v, %v", names, err)
	}
	kinds := []string{"markdown", "input", "textarea", "checkboxes", "dropdown"}
	for _, name := range names {
		name = ".github/ISSUE_TEMPLATE/" + filepath.Base(name)
		if path.Base(name) == "config.yml" {
			continue
		}
		var form struct {
			Name, Description string
			Body              []struct {
				Type, ID   string
				Attributes struct{ Label, Value string }
			}
		}
		parse(t, name, &form)
		if form.Name == "" || form.Description == "" || len(form.Body) == 0 {
			t.Errorf("%s: a form has name, description and body", name)
		}
		ids := map[string]bool{}
		for i, b := range form.Body {
			switch {
			case !slices.Contains(kinds, b.Type):
				t.Errorf("%s: element %d has the type %q", name, i, b.Type)
			case b.Type == "markdown" && b.Attributes.Value == "":
				t.Errorf("%s: element %d is empty", name, i)
			case b.Type != "markdown" && (b.Attributes.Label == "" || b.ID == "" || ids[b.ID]):
				t.Errorf("%s: element %d needs a label, and an id of its own", name, i)
			}
			ids[b.ID] = true
		}
	}
}

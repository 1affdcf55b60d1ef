package imports_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

var (
	fence      = regexp.MustCompile("(?ms)^ *```.*?^ *```[^\n]*$")
	codeSpan   = regexp.MustCompile("`[^`\n]+`")
	link       = regexp.MustCompile(`\[[^\]\n]*\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	markup     = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	anchorHTML = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	sourcePath = regexp.MustCompile("^(?:cmd|internal|webhook|schema|siem|charts|bench|demo|test|tools|image|docs)/[A-Za-z0-9_./{},-]+$")
	braces     = regexp.MustCompile(`^(.*)\{([^{}]*)\}(.*)$`)
	testName   = regexp.MustCompile(`^(?:Test|Fuzz|Benchmark|Example)[A-Z][A-Za-z0-9_]*$`)
	testFunc   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w+)\(`)
)

// files returns the paths of all files with a suffix, relative to the root of the repository. It leaves out hidden
// and generated folders.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || slices.Contains([]string{"node_modules", "target", "bin", "dist", "testdata"}, name)) {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, suffix) {
			rel, err := filepath.Rel(root, path)
			found = append(found, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// anchors returns the anchors of a Markdown text: those that GitHub derives from headings, and those that <a id> or
// <a name> set.
func anchors(text string) map[string]bool {
	set := map[string]bool{}
	seen := map[string]int{}
	for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		title := markup.ReplaceAllString(h[1], "$1")
		slug := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, title)
		n := seen[slug]
		seen[slug]++
		if n > 0 {
			slug = fmt.Sprintf("%s-%d", slug, n)
		}
		set[slug] = true
	}
	for _, a := range anchorHTML.FindAllStringSubmatch(text, -1) {
		set[a[1]] = true
	}
	return set
}

// brokenLinks returns the relative links in a Markdown file that lead to a missing file or heading. path is the path of
// the Markdown file.
func brokenLinks(path, text string, open func(string) (string, bool)) []string {
	var broken []string
	prose := codeSpan.ReplaceAllString(fence.ReplaceAllString(text, ""), "")
	for _, m := range link.FindAllStringSubmatch(prose, -1) {
		target, anchor, _ := strings.Cut(m[1], "#")
		if strings.Contains(target, ":") {
			continue
		}
		other := path
		if target != "" {
			other = filepath.ToSlash(filepath.Join(filepath.Dir(path), target))
		}
		content, ok := open(other)
		if !ok {
			broken = append(broken, m[1]+": no such file")
		} else if anchor != "" && !anchors(content)[anchor] {
			broken = append(broken, m[1]+": no such heading")
		}
	}
	return broken
}

// TestLinks: each relative link of a document leads to a file or folder, and its anchor to a heading.
func TestLinks(t *testing.T) {
	open := func(path string) (string, bool) {
		name := filepath.Join(root, path)
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			return "", true
		}
		text, err := os.ReadFile(name)
		return string(text), err == nil
	}
	documents := files(t, ".md")
	if len(documents) < 10 {
		t.Fatalf("found %d documents", len(documents))
	}
	for _, path := range documents {
		for _, b := range brokenLinks(path, read(t, path), open) {
			t.Errorf("%s: %s", path, b)
		}
	}
}

// TestBrokenLinks proves that TestLinks can fail.
func TestBrokenLinks(t *testing.T) {
	open := func(path string) (string, bool) {
		text, ok := map[string]string{"docs/a.md": "# A b, `c`!\n\n# Twice\n\n# Twice\n", "docs": ""}[path]
		return text, ok
	}
	for text, want := range map[string]int{
		"[x](a.md) [x](a.md#a-b-c) [x](a.md#twice-1) [x](../docs) [x](https://example.com/none)": 0,
		"[x](b.md)":              1,
		"[x](a.md#b)":            1,
		"[x](a.md#twice-2)":      1,
		"`[x](b.md)`":            0,
		"```\n[x](b.md)\n```\n":  0,
		"# Own\n[x](#own)":       0,
		"[x](../outside/of.go)!": 1,
	} {
		if text == "# Own\n[x](#own)" {
			open := func(string) (string, bool) { return text, true }
			if got := brokenLinks("docs/b.md", text, open); len(got) != want {
				t.Errorf("%q: %q, want %d", text, got, want)
			}
			continue
		}
		if got := brokenLinks("docs/b.md", text, open); len(got) != want {
			t.Errorf("%q: %q, want %d", text, got, want)
		}
	}
}

// expand returns the paths that a path with {a,b} denotes.
func expand(path string) []string {
	m := braces.FindStringSubmatch(path)
	if m == nil {
		return []string{path}
	}
	var all []string
	for alternative := range strings.SplitSeq(m[2], ",") {
		all = append(all, expand(m[1]+alternative+m[3])...)
	}
	return all
}

// TestNamesInDocuments: files and tests that are named in the documents for contributors exist.
func TestNamesInDocuments(t *testing.T) {
	tests := map[string]bool{}
	for _, path := range files(t, "_test.go") {
		for _, m := range testFunc.FindAllStringSubmatch(read(t, path), -1) {
			tests[m[1]] = true
		}
	}
	for _, path := range files(t, ".md") {
		if path != "ARCHITECTURE.md" && path != "CONTRIBUTING.md" && path != "GLOSSARY.md" && !strings.HasPrefix(path, "docs/") {
			continue
		}
		for _, span := range codeSpan.FindAllString(fence.ReplaceAllString(read(t, path), ""), -1) {
			name := strings.Trim(span, "`")
			if testName.MatchString(name) && !tests[name] {
				t.Errorf("%s names %s, which does not exist", path, name)
			}
			if !sourcePath.MatchString(name) {
				continue
			}
			for _, file := range expand(name) {
				if _, err := os.Stat(filepath.Join(root, file)); err != nil {
					t.Errorf("%s names %s, which does not exist", path, file)
				}
			}
		}
	}
}

// TestDecisions: the index of the decisions lists each page once, by its number and title.
func TestDecisions(t *testing.T) {
	const folder = "docs/decisions/"
	index := read(t, folder+"README.md")
	numbers := map[string]string{}
	for _, path := range files(t, ".md") {
		name, ok := strings.CutPrefix(path, folder)
		if !ok || name == "README.md" {
			continue
		}
		title, _, _ := strings.Cut(read(t, path), "\n")
		number, title, _ := strings.Cut(strings.TrimPrefix(title, "# "), ". ")
		number = strings.Repeat("0", max(0, 3-len(number))) + number
		if other, taken := numbers[number]; taken || !strings.HasPrefix(name, number+"-") {
			t.Errorf("%s has the number %s (%s)", name, number, other)
		}
		numbers[number] = name
		if want := fmt.Sprintf("- %s [%s](%s)\n", number, title, name); strings.Count(index, want) != 1 {
			t.Errorf("%sREADME.md does not have once: %s", folder, want)
		}
	}
}

// TestArchitecture: the table of folders in ARCHITECTURE.md has every package of the variable table, and lists the
// same allowed imports for it.
func TestArchitecture(t *testing.T) {
	listed := map[string][]string{}
	_, text, _ := strings.Cut(read(t, "ARCHITECTURE.md"), "## The folders")
	text, _, _ = strings.Cut(text, "\n## ")
	for line := range strings.SplitSeq(text, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[1], "`") {
			continue
		}
		for _, span := range codeSpan.FindAllString(cells[1], -1) {
			name := strings.Trim(span, "`")
			listed[name] = strings.FieldsFunc(strings.TrimSpace(cells[3]), func(r rune) bool { return r == ',' || r == ' ' || r == '-' })
			if strings.HasSuffix(cells[2], "Pure ") != table[name].pure {
				t.Errorf("%s: pure differs from the table of internal/imports: %v", name, table[name].pure)
			}
		}
	}
	for name, r := range table {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil || !strings.HasPrefix(name, "internal/") && name != "webhook" && name != "cmd/tap-webhook" {
			continue
		}
		var may []string
		for _, path := range r.may {
			if _, err := os.Stat(filepath.Join(root, path)); err == nil {
				may = append(may, strings.TrimPrefix(path, "internal/"))
			}
		}
		slices.Sort(may)
		got, ok := listed[name]
		slices.Sort(got)
		if !ok || !slices.Equal(got, may) {
			t.Errorf("ARCHITECTURE.md says that %s imports %q; the table of internal/imports has %q", name, got, may)
		}
	}
}

// TestPackageComments: every package in internal, webhook and schema has a doc.go, and its package comment is only
// there.
func TestPackageComments(t *testing.T) {
	for _, path := range files(t, ".go") {
		folder := filepath.ToSlash(filepath.Dir(path))
		if strings.HasSuffix(path, "_test.go") || !strings.HasPrefix(folder, "internal/") && folder != "webhook" && folder != "schema" {
			continue
		}
		name := folder[strings.LastIndex(folder, "/")+1:]
		comment := strings.Contains(read(t, path), "\n// Package "+name+" ") || strings.HasPrefix(read(t, path), "// Package "+name+" ")
		if isDoc := strings.HasSuffix(path, "/doc.go"); comment != isDoc {
			t.Errorf("%s: the comment of package %s belongs in %s/doc.go", path, name, folder)
		}
		if _, err := os.Stat(filepath.Join(root, folder, "doc.go")); err != nil {
			t.Errorf("%s has no doc.go", folder)
		}
	}
}

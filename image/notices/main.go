// Command notices prints the licenses of the modules that are linked into programs, Go's license, and those of minified
// scripts that are embedded in programs. Anyone who distributes a program has to include them.
//
//	notices [-os linux,darwin,windows] PACKAGE...
//
// -os lists the systems for which the programs are released. The default is this system.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/build"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	systems := flag.String("os", build.Default.GOOS, "operating systems, separated by commas: some modules are linked on one of them only")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: notices [-os linux,darwin,windows] PACKAGE...")
		os.Exit(2)
	}
	if err := notices(os.Stdout, strings.Split(*systems, ","), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

// license matches the names of files with licenses and notices.
var license = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([.-].*)?$`)

// notices writes the license files of all modules that the packages depend on, ordered by module. It returns an error
// if a module has no license file.
func notices(w io.Writer, systems, packages []string) error {
	root, err := output("", "env", "GOROOT")
	if err != nil {
		return err
	}
	modules := map[string][]string{"Go": {strings.TrimSpace(root)}}
	var scripts []string
	for _, system := range systems {
		if err := linked(modules, system, packages); err != nil {
			return err
		}
		if scripts, err = embedded(scripts, system, packages); err != nil {
			return err
		}
	}
	for _, module := range slices.Sorted(maps.Keys(modules)) {
		if err := writeModule(w, module, modules[module]); err != nil {
			return err
		}
	}
	slices.Sort(scripts)
	for _, script := range slices.Compact(scripts) {
		if err := writeScript(w, script); err != nil {
			return err
		}
	}
	return nil
}

// embedded appends the minified scripts that are embedded in the packages of this module on which the packages depend.
// They are the work of others; our own scripts are not minified.
func embedded(scripts []string, system string, packages []string) ([]string, error) {
	const format = "{{with .Module}}{{if .Main}}{{range $.EmbedFiles}}{{$.Dir}}/{{.}}\n{{end}}{{end}}{{end}}"
	list, err := output(system, append([]string{"list", "-deps", "-f", format}, packages...)...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(list) {
		if file := strings.TrimSpace(line); strings.HasSuffix(file, ".min.js") {
			scripts = append(scripts, file)
		}
	}
	return scripts, nil
}

// writeScript writes the comment with which a minified script begins: its licenses.
func writeScript(w io.Writer, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rest, begins := bytes.CutPrefix(text, []byte("/*!"))
	notice, _, ends := bytes.Cut(rest, []byte("*/"))
	if !begins || !ends {
		return fmt.Errorf("%s: no license at its start: expected a comment that begins with /*!", file)
	}
	_, err = fmt.Fprintf(w, "== %s\n\n%s\n\n", filepath.Base(file), bytes.TrimSpace(notice))
	return err
}

// linked adds the modules that the packages depend on when they are built for an operating system. For each module it
// adds the folders of the packages that are used.
func linked(modules map[string][]string, system string, packages []string) error {
	const format = "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}\t{{$.Dir}}{{end}}{{end}}"
	list, err := output(system, append([]string{"list", "-deps", "-f", format}, packages...)...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 3 {
			continue
		}
		for folder := f[2]; strings.HasPrefix(folder, f[1]); folder = filepath.Dir(folder) {
			if !slices.Contains(modules[f[0]], folder) {
				modules[f[0]] = append(modules[f[0]], folder)
			}
		}
	}
	return nil
}

// writeModule writes the license files in the folders of one module, each text once.
func writeModule(w io.Writer, module string, folders []string) error {
	var texts [][]byte
	for _, folder := range slices.Sorted(slices.Values(folders)) {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || !license.MatchString(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(folder, e.Name()))
			if err != nil {
				return err
			}
			if text = bytes.TrimSpace(text); !slices.ContainsFunc(texts, func(t []byte) bool { return bytes.Equal(t, text) }) {
				texts = append(texts, text)
			}
		}
	}
	if len(texts) == 0 {
		return fmt.Errorf("%s: no license in %s", module, strings.Join(folders, ", "))
	}
	_, err := fmt.Fprintf(w, "== %s\n\n%s\n\n", module, bytes.Join(texts, []byte("\n\n--\n\n")))
	return err
}

// output returns the standard output of a go command that is run for an operating system ("" means this one).
func output(system string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Env = os.Environ()
	if system != "" {
		cmd.Env = append(cmd.Env, "GOOS="+system)
	}
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(exit.Stderr))
	}
	return string(out), err
}

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var flagDefinition = regexp.MustCompile(`\b[a-z]+\.(?:Bool|Int|String|Duration|BoolVar|StringVar|DurationVar|Var)\((?:&[\w.]+, )?"([a-z-]+)", `)

// TestFlagsAreDescribed: the help texts, from which completion and manual pages are made, describe each flag that the code defines, and no
// other. Each has an example.
func TestFlagsAreDescribed(t *testing.T) {
	described, defined := map[string]bool{}, map[string]bool{}
	for _, c := range commands() {
		help := c.help()
		if !strings.HasPrefix(help, "Usage: tap "+c.name) || !regexp.MustCompile(`\nExamples?:\n  \S`).MatchString(help) {
			t.Errorf("tap %s --help: no usage, or no example:\n%s", c.name, help)
		}
		for _, f := range flagsOf(help) {
			described[strings.TrimLeft(f.name, "-")] = true
			if f.about == "" {
				t.Errorf("tap %s: nothing is said about %s", c.name, f.name)
			}
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range flagDefinition.FindAllSubmatch(source, -1) {
			defined[string(m[1])] = true
		}
	}
	if len(defined) < 25 {
		t.Errorf("only %d flags found", len(defined))
	}
	for name := range defined {
		if !described[name] {
			t.Errorf("--%s is not described", name)
		}
	}
	for name := range described {
		if !defined[name] {
			t.Errorf("--%s is not defined", name)
		}
	}
}

func TestFlagsOf(t *testing.T) {
	const help = "Flags:\n  --output=auto|text\n                  what to print\n  --follow   wait\n  -d, -dd    as in tcpdump\n  --fail-on=RULE|SEVERITY  exit\n"
	got := flagsOf(help)
	want := []helpFlag{{"--output", true, []string{"auto", "text"}, "what to print"}, {"--follow", false, nil, "wait"}, {"-d", false, nil, "as in tcpdump"}, {"-dd", false, nil, "as in tcpdump"}, {"--fail-on", true, nil, "exit"}}
	if !slices.EqualFunc(got, want, func(a, b helpFlag) bool {
		return a.name == b.name && a.value == b.value && a.about == b.about && slices.Equal(a.values, b.values)
	}) {
		t.Errorf("%+v", got)
	}
}

// TestCompletion runs the completion in bash, and parses it in other shells that are installed.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := command(t.Context(), []string{"completion", shell}, nil, streams{strings.NewReader(""), &out, &errs}); status != exitFine {
				t.Fatal(errs.String())
			}
			if _, err := exec.LookPath(shell); err != nil {
				t.Skipf("%s is not installed", shell)
			}
			file := writeTemp(t, "tap."+shell, out.Bytes())
			if b, err := exec.Command(shell, "-n", file).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, b)
			}
			if shell != "bash" {
				return
			}
			for words, want := range map[string]string{"tap rea": "read", "tap read --fo": "--format= --follow", "tap completion f": "fish", "tap help topi": "topics", "tap filter --li": "--link= --live"} {
				script := `tap() { case $TAP in ?*) (exec -a tap "$TAP" "$@") ;; esac; }; source "$0"; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _tap 2>/dev/null; echo "${COMPREPLY[*]}"`
				self, err := os.Executable() // by the name tap it is the tap
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command("bash", "-c", script, file, words)
				cmd.Env = append(os.Environ(), "TAP="+self)
				b, err := cmd.Output()
				if got := strings.TrimSpace(string(b)); err != nil || got != want {
					t.Errorf("%s: %q, want %q; %v", words, got, want, err)
				}
			}
		})
	}
}

// TestComplete: the words for the shells, with descriptions, and the values of a flag.
func TestComplete(t *testing.T) {
	for words, want := range map[string]string{
		"rea":                  "read\tjudge capture files (pcap, pcapng), or compare traffic before and after a change\n",
		"read --output=j":      "--output=json\ttext: a summary, the edges, and why; json: records, one a line;\n--output=junit\ttext: a summary, the edges, and why; json: records, one a line;\n",
		"topics --app":         "--apply\tcreate missing topics\n",
		"read capture.pcap --": "--output=",
		"help sch":             "schema\tprint the JSON Schema of the published record\n",
		"completion z":         "zsh\t\n",
		"juge --":              "",
	} {
		var out bytes.Buffer
		if err := complete(strings.Split(words, " "), streams{out: &out}); err != nil || !strings.HasPrefix(out.String(), want) || want == "" && out.Len() > 0 {
			t.Errorf("%s: %q, want %q", words, &out, want)
		}
	}
}

// TestManual: man(1), if it is installed, formats each page without a warning.
func TestManual(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("groff is not installed")
	}
	for _, name := range append([]string{""}, commandNames()...) {
		var out bytes.Buffer
		if status := command(t.Context(), strings.Fields("man "+name), nil, streams{strings.NewReader(""), &out, &out}); status != exitFine {
			t.Fatal(out.String())
		}
		cmd := exec.Command("groff", "-man", "-Tascii", "-ww")
		cmd.Stdin = &out
		var page, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &page, &errs
		if err := cmd.Run(); err != nil || errs.Len() > 0 || !strings.Contains(page.String(), "Usage: tap "+strings.ToUpper(name)) && !strings.Contains(page.String(), "Usage: tap ") {
			t.Errorf("tap man %s: %v: %s", name, err, &errs)
		}
	}
}

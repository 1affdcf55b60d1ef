package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// commandHelp is a command with what --help prints. Completion and manual pages are made from it, so that a flag is described once.
type commandHelp struct {
	name, about string
	help        func() string
}

// commands returns all commands, in the order of the general help.
func commands() []commandHelp {
	text := func(s string) func() string { return func() string { return s } }
	return []commandHelp{
		{"run", "capture in a pod and publish what is found; configured by the environment", runHelp},
		{"wait", "wait until the tap of this container captures, for a second at most", text(waitHelp)},
		{"check", "check step by step whether a tap can capture and publish, and print what to do if not", text(checkHelp)},
		{"topics", "check the Kafka topics, or create them", text(topicsHelp)},
		{"read", "judge capture files (pcap, pcapng), or compare traffic before and after a change", text(readHelp)},
		{"pcap", "capture packets for Wireshark, without their payload, to standard output or a file", text(pcapHelp)},
		{"request", "send one plain HTTP request from the pod, so that a tap sees a connection", text(requestHelp)},
		{"filter", "compile a filter expression and print the program", text(filterHelp)},
		{"schema", "print the JSON Schema of the published record", text(schemaHelp)},
		{"completion", "print the completion for a shell: bash, zsh or fish", text(completionHelp)},
		{"man", "print a manual page", text(manHelp)},
		{"version", "print the version", text(versionHelp)},
	}
}

// commandNames returns the names of all commands.
func commandNames() (out []string) {
	for _, c := range commands() {
		out = append(out, c.name)
	}
	return out
}

// usage returns the general help.
func usage() string {
	var b strings.Builder
	b.WriteString("Usage: tap COMMAND [ARGUMENTS]\n\nReports whether traffic is mutual TLS, TLS or plaintext, by looking only at packets.\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-10s  %s\n", c.name, c.about)
	}
	b.WriteString(`
"tap help COMMAND" and "tap COMMAND --help" describe a command. Exit status: 0 success, 1 an error, 2
usage; see "tap help read" for 3 and 4.

Examples:
  tap read capture.pcap                    which connections are mutual TLS, and why
  sudo tcpdump -U -w - | tap read -        until Ctrl-C
  tap check                                whether a tap with this environment can publish records
`)
	return b.String()
}

// helpFlag is a flag as a help text describes it.
type helpFlag struct {
	name   string   // with its dashes
	value  bool     // it has a value
	values []string // the values, if they are listed
	about  string   // one line
}

// flagsOf returns the flags in a help text: the lines that begin with two spaces and a dash.
func flagsOf(help string) (out []helpFlag) {
	for line := range strings.Lines(help) {
		rest, ok := strings.CutPrefix(line, "  -")
		if !ok {
			if about := strings.TrimSpace(line); len(out) > 0 && out[len(out)-1].about == "" && strings.HasPrefix(line, "     ") {
				out[len(out)-1].about = about
			}
			continue
		}
		written, about, _ := strings.Cut(strings.TrimSpace(rest), "  ")
		name, value, found := strings.Cut(written, "=")
		if strings.ContainsAny(name, ", ") { // several spellings of one flag, which take no value
			for item := range strings.SplitSeq("-"+name, ", ") {
				out = append(out, helpFlag{name: item, about: strings.TrimSpace(about)})
			}
			continue
		}
		f := helpFlag{name: "-" + name, value: found, about: strings.TrimSpace(about)}
		if strings.Contains(value, "|") && value == strings.ToLower(value) {
			f.values = strings.Split(value, "|")
		}
		out = append(out, f)
	}
	return out
}

const manHelp = `Usage: tap man [COMMAND]

Prints the manual page of a command, or of tap, for man(1).

Examples:
  tap man read | man -l -
  tap man > /usr/local/share/man/man1/tap.1
`

// manual is the command "tap man".
func manual(args []string, std streams) error {
	rest, err := newFlags("man", manHelp).parse(args, std.out)
	if err != nil {
		return err
	}
	name, about, help := "tap", "report whether traffic is mutual TLS", usage()
	if len(rest) > 0 {
		all := commands()
		i := slices.IndexFunc(all, func(c commandHelp) bool { return c.name == rest[0] })
		if i < 0 || len(rest) > 1 {
			return newFlags("man", manHelp).wrong("%q: expected one command%s", strings.Join(rest, " "), didYouMean(rest[0], "", commandNames()))
		}
		name, about, help = "tap-"+all[i].name, all[i].about, all[i].help()
	}
	_, err = fmt.Fprintf(std.out, ".TH %s 1 \"\" \"tap %s\"\n.SH NAME\n%s \\- %s\n.SH DESCRIPTION\n.nf\n%s.fi\n", strings.ToUpper(name), roff(version), roff(name), roff(about), roff(help))
	return err
}

// roff escapes a text for groff_man(7).
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	for _, control := range [...]string{".", "'"} { // at the start of a line
		text = strings.ReplaceAll(text, "\n"+control, "\n\\&"+control)
	}
	return text
}

const completionHelp = `Usage: tap completion bash|zsh|fish

Prints the completion of commands and flags for a shell.

Examples:
  source <(tap completion bash)
  tap completion zsh > "${fpath[1]}/_tap"
  tap completion fish > ~/.config/fish/completions/tap.fish
`

// completions are the scripts of the shells. Each asks "tap complete", see complete.
var completions = map[string]string{
	"bash": `_tap() {
  COMPREPLY=($(compgen -W "$(tap complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1)" -- "${COMP_WORDS[COMP_CWORD]}"))
  case ${COMPREPLY[0]-} in *=) compopt -o nospace 2>/dev/null ;; esac
}
complete -o default -F _tap tap
`,
	"zsh": `#compdef tap
local -a found
found=(${(f)"$(tap complete "${(@)words[2,CURRENT]}" 2>/dev/null | sed 's/:/\\:/g; s/\t/:/')"})
(( $#found )) && _describe -o tap found
_files
`,
	"fish": `complete -c tap -a '(tap complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`,
}

// completion is the command "tap completion".
func completion(args []string, std streams) error {
	f := newFlags("completion", completionHelp)
	rest, err := f.parse(args, std.out)
	if err != nil {
		return err
	}
	if len(rest) != 1 || completions[rest[0]] == "" {
		return f.wrong("expected one of bash, zsh and fish")
	}
	_, err = io.WriteString(std.out, completions[rest[0]])
	return err
}

// complete is the command "tap complete", which the scripts in completions call with the words after "tap", of which the last one may be
// incomplete. It prints a line for each word that fits: the word, a tab and its description. A flag with a value ends in "=".
func complete(words []string, std streams) error {
	var b strings.Builder
	last := ""
	if len(words) > 0 {
		last = words[len(words)-1]
	}
	add := func(word, about string) {
		if strings.HasPrefix(word, last) {
			fmt.Fprintf(&b, "%s\t%s\n", word, about)
		}
	}
	for _, c := range commands() {
		switch {
		case len(words) < 2 || words[0] == "help" || words[0] == "man":
			add(c.name, c.about)
		case words[0] == c.name:
			for _, f := range flagsOf(c.help()) {
				if f.value {
					f.name += "="
				}
				add(f.name, f.about)
				for _, v := range f.values {
					if strings.HasPrefix(last, f.name) {
						add(f.name+v, f.about)
					}
				}
			}
		}
	}
	if len(words) == 2 && words[0] == "completion" {
		for _, shell := range [...]string{"bash", "zsh", "fish"} {
			add(shell, "")
		}
	}
	_, err := io.WriteString(std.out, b.String())
	return err
}

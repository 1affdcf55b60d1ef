package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// endpoint configures one end. The zero value opens one connection of TLS 1.3 without a certificate, or is a server
// that does not request one.
type endpoint struct {
	old     bool     // TLS 1.2 instead of 1.3
	cert    string   // name of its certificate; a server's default is "srv"
	auth    string   // of a server: "" (no request), "optional", "required"
	n       int      // number of connections, default 1
	options []string // options of the stack: a program's arguments, or the options of a peer program
	refuses string   // of a client: why the client refuses the server; "": the client accepts the server
}

func (e endpoint) version() string {
	if e.old {
		return "1.2"
	}
	return "1.3"
}

func (e endpoint) count() int { return max(e.n, 1) }

func (e endpoint) serverCert() string {
	if e.cert == "" {
		return "srv"
	}
	return e.cert
}

// stack is a TLS stack that the lab uses as server, as client, or as both.
type stack struct {
	name    string
	needs   []string                          // the programs and files that it needs; if one is missing, the stack is skipped
	release func(*lab) string                 // returns its version
	server  func(*lab, endpoint) []string     // returns the server's command
	said    func(log string) []seen           // reads the server's connections from its log
	file    string                            // name of a log file in the lab's work folder, if it writes one
	ask     []string                          // name of the log file that it writes into the lab's work folder, or ""
	client  func(*lab, endpoint) [][]string   // returns the commands of the client, which run one after the other
	proxy   func(l *lab, e endpoint) []string // returns the command of a client-side proxy that accepts plaintext on plainPort

	label_ string
	absent *string
}

func (s *stack) missing(l *lab) string {
	if s.absent == nil {
		why := ""
		for _, need := range s.needs {
			if _, err := exec.LookPath(need); err != nil {
				if _, err := os.Stat(need); err != nil {
					why = s.name + " is not installed: " + filepath.Base(need) + " is missing"
					break
				}
			}
		}
		s.absent = &why
	}
	return *s.absent
}

func (s *stack) label(l *lab) string {
	if s.label_ == "" {
		s.label_ = strings.TrimSpace(s.name + " " + s.release(l))
	}
	return s.label_
}

func (s *stack) files(l *lab) string {
	if s.file == "" {
		return ""
	}
	b, _ := os.ReadFile(filepath.Join(l.work, s.file))
	_ = os.Remove(filepath.Join(l.work, s.file))
	return string(b)
}

// truthWords matches a peer program's report of a connection.
var truthWords = regexp.MustCompile(`(?m)^truth certs=(-?\d+) resumed=(\d) early=(\d) error=(.*)$`)

// saidByPeer reads the log of one of the lab's peer programs.
func saidByPeer(log string) []seen {
	var all []seen
	for _, m := range truthWords.FindAllStringSubmatch(log, -1) {
		certs, _ := strconv.Atoi(m[1])
		all = append(all, seen{certs: certs, counted: true, resumed: m[2] == "1", early: m[3] == "1", err: m[4]})
	}
	return all
}

// uncounted is like saidByPeer. It is for peers that report whether there was a certificate but not how many.
func uncounted(log string) []seen {
	all := saidByPeer(log)
	for i := range all {
		all[i].counted = false
	}
	return all
}

// peer returns one of the lab's peer programs as a stack. The comment of goPeer describes the arguments of the
// program.
func peer(name string, release func(*lab) string, argv func(l *lab) []string, certFile func(*lab, string) string, needs ...string) *stack {
	call := func(l *lab, role string, e endpoint, cert string) []string {
		auth := e.auth
		if auth == "" {
			auth = "none"
		}
		return append(argv(l), role, serverAddr+":"+port, certFile(l, cert), l.certs.key(cert), l.certs.ca(), auth, e.version(), strconv.Itoa(e.count()), strings.Join(e.options, ",")+",")
	}
	return &stack{
		name: name, needs: needs, release: release, said: saidByPeer,
		server: func(l *lab, e endpoint) []string { return call(l, "server", e, e.serverCert()) },
		client: func(l *lab, e endpoint) [][]string { return [][]string{call(l, "client", e, e.cert)} },
	}
}

// output returns a function that returns the first match of a pattern in the output of a program.
func output(pattern string, argv ...string) func(*lab) string {
	return func(*lab) string {
		out, _ := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		return string(regexp.MustCompile(pattern).Find(out))
	}
}

func pemFile(l *lab, name string) string { return l.certs.pem(name) }
func p12File(l *lab, name string) string { return l.certs.p12(name) }

// stacks returns all stacks, by name.
func (l *lab) stacks() map[string]*stack {
	python := filepath.Join(l.work, "venv/bin/python")
	module := func(name string) func(*lab) string {
		return output(`[\d.]+`, python, "-c", "import importlib.metadata as m; print(m.version('"+name+"'))")
	}
	script := func(name string) func(*lab) []string {
		return func(l *lab) []string { return []string{python, filepath.Join(l.peers, name)} }
	}
	built := func(name string) func(*lab) []string {
		return func(l *lab) []string { return []string{filepath.Join(l.work, name)} }
	}
	self, _ := os.Executable()
	version := func(lock, crate string) func(*lab) string {
		return output(`[\d.]+`, "sed", "-n", `/^name = "`+crate+`"$/{n;p}`, filepath.Join(l.work, lock))
	}
	jarFile := func(name string) string {
		found, _ := filepath.Glob(filepath.Join(l.work, "jars", name+"-*.jar"))
		if len(found) == 0 {
			return filepath.Join(l.work, "jars", name+".jar")
		}
		return found[0]
	}
	jar := func(name string) func(*lab) string {
		return func(*lab) string { return regexp.MustCompile(`\d+\.[\d.]*\d`).FindString(filepath.Base(jarFile(name))) }
	}
	java := func(provider string) func(l *lab) []string {
		return func(l *lab) []string {
			a := []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m", "-cp", l.work + ":" + filepath.Join(l.work, "jars/*")}
			if provider != "" {
				a = append(a, "--add-opens=java.base/java.net=ALL-UNNAMED", "-Dlab.provider="+provider)
			}
			return append(a, "Peer")
		}
	}
	node := filepath.Join(l.work, "node/node_modules/.bin/node")
	all := map[string]*stack{}
	for _, s := range []*stack{
		peer("Go", output(`[\d.]+`, "go", "env", "GOVERSION"), func(*lab) []string { return []string{self, "peer"} }, pemFile),
		peer("JSSE", output(`[\d.]+`, "java", "-version"), java(""), p12File, "java", filepath.Join(l.work, "Peer.class")),
		peer("Bouncy Castle", jar("bctls"), java("org.bouncycastle.jsse.provider.BouncyCastleJsseProvider"), p12File, "java", filepath.Join(l.work, "Peer.class"), jarFile("bctls")),
		peer("Conscrypt", jar("conscrypt"), java("org.conscrypt.OpenSSLProvider"), p12File, "java", filepath.Join(l.work, "Peer.class"), jarFile("conscrypt")),
		peer("s2n", version("s2n/Cargo.lock", "s2n-tls-sys"), built("s2n/peer"), pemFile, filepath.Join(l.work, "s2n/peer")),
		peer("rustls aws-lc", version("awslc/Cargo.lock", "rustls"), built("awslc/peer"), pemFile, filepath.Join(l.work, "awslc/peer")),
		peer("rustls", version("rust/Cargo.lock", "rustls"), built("rust/target/release/peer"), pemFile, filepath.Join(l.work, "rust/target/release/peer")),
		peer("wolfSSL", output(`\d+\.\d+\.\d+`, "dpkg-query", "-W", "-f", "${Version}", "libwolfssl-dev"), built("wolf"), pemFile, filepath.Join(l.work, "wolf")),
		peer("Mbed TLS 3", output(`[\d.]+`, filepath.Join(l.work, "mbedtls/peer"), "version"), built("mbedtls/peer"), pemFile, filepath.Join(l.work, "mbedtls/peer")),
		peer("Botan", output(`[\d.]+`, filepath.Join(l.work, "botan/peer"), "version"), built("botan/peer"), pemFile, filepath.Join(l.work, "botan/peer")),
		peer("tlslite-ng", module("tlslite-ng"), script("lite.py"), pemFile, python),
		peer("OpenSSL 4", output(`\d\.\d+\.\d+`, python, "-c", "from OpenSSL import SSL; print(SSL.SSLeay_version(0))"), script("openssl4.py"), pemFile, python),
		peer("Node", output(`\d+\.\d+\.\d+`, node, "--version"), func(l *lab) []string { return []string{node, filepath.Join(l.peers, "peer.js")} }, pemFile, node),
		peer("Mbed TLS", func(*lab) string { return "2.28" }, script("mbed.py"), pemFile, python),
		peer("Erlang", output(`\d+[\d.]*`, "erl", "-noshell", "-eval", `io:format("~s", [erlang:system_info(otp_release)]), halt().`), func(l *lab) []string {
			return []string{"escript", filepath.Join(l.peers, "peer.escript")}
		}, pemFile, "escript", "erl"),
		peer("curl-impersonate", module("curl_cffi"), script("chrome.py"), pemFile, python),
		openssl(), gnutls(), nss(), curl(), nginx(), haproxy(), stunnel(), envoy(filepath.Join(l.work, "venv")),
	} {
		all[s.name] = s
		if s.name == "Erlang" || s.name == "OpenSSL 4" || s.name == "Node" || s.name == "s2n" {
			s.said = uncounted
		}
	}
	return all
}

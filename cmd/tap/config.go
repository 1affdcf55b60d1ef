package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
	"github.com/meshtls-tap/meshtls-tap/internal/variables"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// environment has the environment variables of `tap run`, which are read once at the start. The package variables describes the
// struct tags.
type environment struct {
	Interfaces []string      `group:"Capture" env:"TAP_INTERFACES" envDefault:"eth0,lo" about:"interfaces to capture on; a missing one is captured once it exists; all: every interface that is up, as they come and go"`
	Filter     string        `env:"TAP_FILTER" about:"narrows what is captured: an expression of pcap-filter(7), or a program as tap filter -ddd prints it"`
	Thin       bool          `env:"TAP_THIN" envDefault:"true" expected:"true or false" about:"let the kernel leave out most packets of busy connections that are already judged"`
	Forwarded  bool          `env:"TAP_FORWARDED" expected:"true or false" about:"judge connections between other hosts too, for a pod that forwards traffic (gateway, VPN, bridge); nothing is inherited from them"`
	SelfTest   bool          `env:"TAP_SELF_TEST" envDefault:"true" expected:"true or false" about:"make two connections over loopback at the start and check their verdicts"`
	Expect     string        `group:"Judgement and findings" env:"TAP_EXPECT" about:"what connections should be: CIDR[:PORT]=mtls|tls|any,... the first match counts"`
	Ranges     string        `env:"TAP_CLUSTER_CIDRS" about:"public ranges that the cluster's pods and services use, to be treated as private: CIDR,..."`
	Mesh       string        `env:"TAP_MESH" about:"the mesh that the pod is in: osm, istio, istio_ambient, linkerd, consul, kuma"`
	NodeEnc    string        `env:"TAP_NODE_ENCRYPTION" about:"encryption between nodes, which the tap cannot see, such as wireguard"`
	Emit       string        `env:"TAP_EMIT" envDefault:"findings,posture" about:"records to publish: findings, posture, flows"`
	Format     string        `env:"TAP_FORMAT" envDefault:"ecs" about:"format of records: ecs (Elastic Common Schema 9.x), or ocsf (Open Cybersecurity Schema Framework 1.6)"`
	Mute       string        `env:"TAP_MUTE" about:"findings that are counted but not published: rule=RULE,peer=CIDR or NAME,port=PORT,class=CLASS,until=YYYY-MM-DD,reason=TEXT;... A mute ends with the day in until (UTC). peer, port and class may be left out or occur several times; the reason comes last"`
	Severity   string        `env:"TAP_SEVERITY" about:"severities of rules, in place of the usual ones: RULE=SEVERITY,... with 21, 47, 73 or 99; 0 turns a rule off"`
	Window     time.Duration `group:"Records" env:"TAP_WINDOW" envDefault:"10m" expected:"a duration such as 10m" about:"the time after which open findings are published again or resolved, and improved edges are published; 1s or more, and 10s or more where the webhook adds the tap"`
	Interval   time.Duration `env:"TAP_POSTURE_INTERVAL" envDefault:"1h" expected:"a duration such as 1h" about:"the time that one snapshot of an edge covers; its changes are published at once; the same limits as TAP_WINDOW"`
	Announced  int           `env:"TAP_ANNOUNCEMENTS" envDefault:"20" expected:"a number such as 20" about:"findings of each rule that may open or become more severe in a window with a record of their own; one finding counts the others. Postures \"new\" and \"worsened\" have the same limit; the others wait for the end of the window"`
	Until      string        `group:"Life of the tap" env:"TAP_UNTIL" about:"RFC 3339 time at which capturing ends; the tap then idles. An until in the ConfigMap replaces it"`
	OwnUntil   string        `env:"TAP_OWN_UNTIL" about:"a second such time, set for this pod only, which the ConfigMap cannot replace"`
	For        time.Duration `env:"TAP_FOR" envDefault:"0s" expected:"a duration such as 10m" about:"how long to run, for a tap that is attached by hand; it ends sooner when nobody reads its output any more. --for does the same. 0s: no limit"`
	Keepalive  time.Duration `env:"TAP_KEEPALIVE" envDefault:"0s" expected:"a duration such as 20s" about:"with TAP_FOR: the tap ends if nothing arrives on its standard input for so long, which shows that the client that attached it is gone. 0s: no limit"`
	Memory     byteSize      `env:"TAP_MEMORY" expected:"a number of bytes, such as 48Mi" about:"memory that the tap may use, 16Mi or more; default the control group's limit, and with TAP_FOR 48Mi at most"`
	Grace      time.Duration `env:"TAP_GRACE" envDefault:"3s" expected:"a duration such as 3s" about:"time to flush records at the end"`
	ConfigDir  string        `group:"Configuration" env:"TAP_CONFIG_DIR" about:"folder of the mounted ConfigMap meshtls-tap, which is read again and again: enabled, until, mute, expect"`
	Allow      string        `env:"TAP_CONFIG_ALLOW" envDefault:"enabled,until" about:"keys that the ConfigMap may set: enabled, until, mute, expect; or none"`
	Redact     string        `env:"TAP_REDACT" envDefault:"default" about:"strict, default or none; none publishes paths and user agents"`
	Listen     string        `group:"Operation" env:"TAP_LISTEN" envDefault:"none" about:"address of /healthz, /readyz and /metrics, such as :29469; none: no port is used"`
	ListenWait time.Duration `env:"TAP_LISTEN_AFTER" envDefault:"0s" expected:"a duration such as 10s" about:"how long to wait before listening, so that the pod's application can use the port first"`
	LogLevel   slog.Level    `env:"TAP_LOG_LEVEL" envDefault:"INFO" expected:"debug, info, warn or error" about:"debug, info, warn or error"`
	Sink       string        `env:"TAP_SINK" envDefault:"stdout" about:"where records go: stdout (JSON lines) or kafka"`

	Brokers      []string      `group:"Kafka (TAP_SINK=kafka)" env:"TAP_KAFKA_BROKERS" about:"host:port,... of some of the brokers"`
	Topic        string        `env:"TAP_KAFKA_TOPIC" envDefault:"meshtls-tap.findings" about:"topic of findings; {namespace} in a topic's name is the pod's"`
	PostureTopic string        `env:"TAP_KAFKA_POSTURE_TOPIC" envDefault:"meshtls-tap.posture" about:"topic of posture and the tap's own state"`
	FlowsTopic   string        `env:"TAP_KAFKA_FLOWS_TOPIC" envDefault:"meshtls-tap.flows" about:"topic of flows"`
	FilesTopic   string        `env:"TAP_KAFKA_EVIDENCE_TOPIC" envDefault:"none" about:"topic that files of evidence (see TAP_EVIDENCE_DIR) are sent to, with or without that folder, such as meshtls-tap.evidence; none: not sent. Not with TAP_REDACT=strict"`
	Compression  string        `env:"TAP_KAFKA_COMPRESSION" envDefault:"zstd" about:"zstd, lz4, snappy, gzip or none"`
	BatchTimeout time.Duration `env:"TAP_KAFKA_BATCH_TIMEOUT" envDefault:"100ms" expected:"a duration such as 100ms" about:"how long a record waits for others to form a batch"`
	BatchSize    int           `env:"TAP_KAFKA_BATCH_SIZE" envDefault:"2000" expected:"a number of records" about:"maximum number of records in a batch"`
	BatchBytes   byteSize      `env:"TAP_KAFKA_BATCH_BYTES" envDefault:"1000000" expected:"a number of bytes" about:"maximum number of bytes in a request; must not exceed the topics' max.message.bytes"`
	TLS          bool          `env:"TAP_KAFKA_TLS" expected:"true or false" about:"use TLS to the brokers; true if any other TAP_KAFKA_TLS_ variable is set"`
	CAFile       string        `env:"TAP_KAFKA_TLS_CA_FILE" about:"PEM file of certificate authorities to trust; default the system's"`
	CertFile     string        `env:"TAP_KAFKA_TLS_CERT_FILE" about:"PEM file of a client certificate"`
	KeyFile      string        `env:"TAP_KAFKA_TLS_KEY_FILE" about:"PEM file of that certificate's private key"`
	ServerName   string        `env:"TAP_KAFKA_TLS_SERVER_NAME" about:"name in the brokers' certificates; default the host connected to"`
	Mechanism    string        `env:"TAP_KAFKA_SASL_MECHANISM" about:"plain, scram-sha-256, scram-sha-512 or oauthbearer; default no SASL"`
	Username     string        `env:"TAP_KAFKA_SASL_USERNAME" about:"user name"`
	Password     string        `env:"TAP_KAFKA_SASL_PASSWORD" about:"password"`
	PasswordFile string        `env:"TAP_KAFKA_SASL_PASSWORD_FILE" about:"file with the password; read again for each connection"`
	TokenFile    string        `env:"TAP_KAFKA_SASL_TOKEN_FILE" about:"file with the token of oauthbearer, such as a projected service-account token; read again for each connection"`

	SpoolDir string   `group:"Spool" env:"TAP_SPOOL_DIR" about:"folder on disk where records wait for the brokers; default memory only"`
	SpoolMax byteSize `env:"TAP_SPOOL_MAX" envDefault:"64Mi" expected:"1Mi or more, in bytes or as 64Mi" about:"how many bytes the folder may use"`

	EvidenceDir   string        `env:"TAP_EVIDENCE_DIR" about:"folder for evidence: for each alert a pcapng file with packet headers, TLS handshakes and masked plaintext; default none. Not with TAP_REDACT=strict"`
	EvidenceFiles int           `env:"TAP_EVIDENCE_FILES" envDefault:"64" expected:"a number such as 64" about:"how many of these files are kept; the oldest are deleted"`
	EvidenceMax   byteSize      `env:"TAP_EVIDENCE_FILE_MAX" envDefault:"256Ki" expected:"16Ki or more, in bytes or as 256Ki" about:"maximum size of such a file"`
	EvidenceAge   time.Duration `env:"TAP_EVIDENCE_AGE" envDefault:"24h" expected:"a duration such as 24h" about:"the age at which they are deleted"`

	Cluster      string `group:"Workload, set by the webhook" env:"TAP_CLUSTER" about:"name of the cluster"`
	WorkloadKind string `env:"TAP_WORKLOAD_KIND" about:"kind of the pod's owner, such as Deployment"`
	WorkloadName string `env:"TAP_WORKLOAD_NAME" about:"name of the pod's owner"`
	LocalProxy   string `env:"TAP_LOCAL_PROXY" about:"the mesh's proxy in this pod, such as istio"`
	Ambient      string `env:"TAP_AMBIENT" about:"the ambient mesh that the pod is enrolled in: istio or cilium"`
	ProbePorts   string `env:"TAP_PROBE_PORTS" about:"the pod's probes, PORT[/PATH],...: only requests there can be classed as probes"`
	MetricsPorts string `env:"TAP_METRICS_PORTS" about:"ports where the pod declares metrics; only requests there can be classed as scrapes"`
	DeclaredSkip string `env:"TAP_DECLARED_SKIP" about:"ports that the pod's annotations exclude from the mesh"`

	PodName        string   `group:"Pod, set by the downward API" env:"POD_NAME" about:"metadata.name"`
	PodNamespace   string   `env:"POD_NAMESPACE" about:"metadata.namespace"`
	PodUID         string   `env:"POD_UID" about:"metadata.uid"`
	PodIPs         []string `env:"POD_IPS" about:"status.podIPs"`
	HostIPs        []string `env:"HOST_IPS" about:"status.hostIPs"`
	NodeName       string   `env:"NODE_NAME" about:"spec.nodeName"`
	ServiceAccount string   `env:"SERVICE_ACCOUNT" about:"spec.serviceAccountName"`

	ServiceHost string `group:"Cluster" env:"KUBERNETES_SERVICE_HOST" about:"address of the API server, set by Kubernetes"`
	ServicePort string `env:"KUBERNETES_SERVICE_PORT" about:"its port, set by Kubernetes"`
}

// settings are the parsed environment.
type settings struct {
	environment
	filter         *filter
	expect         []finding.Expectation
	mute           []finding.Mute // the valid ones
	severities     finding.Severities
	ranges         []netip.Prefix
	allow          []string
	declaredSkip   []uint16
	probed         []verdict.Probe
	scraped        []uint16
	emit           map[string]bool
	format         format
	redact         finding.Redact
	until          time.Time
	ownUntil       time.Time
	podIPs, nodes  []netip.Addr
	apiServer      netip.AddrPort
	unknown        []string // names of TAP_ variables that this version does not have
	doubtful       []string // see doubts
	kafka          sink.KafkaConfig
	publishToKafka bool
	settingErrors  []string // invalid values and what is used instead, one line each; see fallBack
	noSink         string   // why nothing is published; empty: records are published
}

// readEnvironment parses the environment. Its error is a usage error with a line for each invalid value.
func readEnvironment(environ []string) (settings, error) {
	vars := variables.Of(environ)
	s, bad := parseEnvironment(vars)
	if len(bad) > 0 {
		return s, fmt.Errorf("%w: %w%s", errUsage, errors.Join(bad...), seeHelp)
	}
	s.doubtful = s.doubts(vars)
	return s, nil
}

// seeHelp is the end of an error about the environment.
const seeHelp = `; see "tap run --help"`

// parseEnvironment returns the settings and an error for each invalid value.
func parseEnvironment(vars map[string]string) (s settings, errs []error) {
	errs = variables.Parse(&s.environment, vars)
	bad := func(name string, err error) {
		if err != nil && !slices.ContainsFunc(errs, func(e error) bool { return strings.HasPrefix(e.Error(), name+"=") }) {
			errs = append(errs, &variables.Unusable{Name: name, Value: vars[name], Expected: err})
		}
	}

	var err error
	s.filter, err = parseFilter(s.Filter)
	bad("TAP_FILTER", err)
	if s.Interfaces = variables.List(s.Interfaces); len(s.Interfaces) == 0 {
		bad("TAP_INTERFACES", errors.New("expected one or more names, such as eth0,lo"))
	}
	s.expect, err = finding.ParseExpect(s.Expect)
	bad("TAP_EXPECT", err)
	s.allow, err = parseAllow(s.Allow)
	bad("TAP_CONFIG_ALLOW", err)
	s.ranges, err = parsePrefixes(s.Ranges)
	bad("TAP_CLUSTER_CIDRS", err)
	s.emit, err = parseEmit(s.Emit)
	bad("TAP_EMIT", err)
	s.format, err = parseFormat(s.Format)
	bad("TAP_FORMAT", err)
	s.mute, err = finding.ParseMutes(s.Mute)
	bad("TAP_MUTE", err)
	s.severities, err = finding.ParseSeverities(s.Severity)
	bad("TAP_SEVERITY", err)
	s.declaredSkip, err = parsePorts(s.DeclaredSkip)
	bad("TAP_DECLARED_SKIP", err)

	if s.Ambient != "" && s.Ambient != "istio" && s.Ambient != "cilium" {
		bad("TAP_AMBIENT", errors.New("expected istio or cilium"))
	}
	s.probed, err = parseProbes(s.ProbePorts)
	bad("TAP_PROBE_PORTS", err)
	s.scraped, err = parsePorts(s.MetricsPorts)
	bad("TAP_METRICS_PORTS", err)
	s.redact, err = parseRedact(s.Redact)
	bad("TAP_REDACT", err)

	if s.Window < time.Second {
		bad("TAP_WINDOW", errors.New("expected a second or more, such as 10m"))
	}
	if s.Announced < 1 {
		bad("TAP_ANNOUNCEMENTS", errors.New("expected a number of 1 or more, such as 20"))
	}
	if s.Interval < time.Second {
		bad("TAP_POSTURE_INTERVAL", errors.New("expected a second or more, such as 1h"))
	}
	if s.Grace < 0 {
		bad("TAP_GRACE", errors.New("expected a duration such as 3s"))
	}
	if s.For < 0 {
		bad("TAP_FOR", errors.New("expected a duration such as 10m"))
	}
	if s.Keepalive < 0 {
		bad("TAP_KEEPALIVE", errors.New("expected a duration such as 20s"))
	}

	s.until, err = parseTime(s.Until)
	bad("TAP_UNTIL", err)
	s.ownUntil, err = parseTime(s.OwnUntil)
	bad("TAP_OWN_UNTIL", err)
	s.podIPs, err = parseAddresses(s.PodIPs)
	bad("POD_IPS", err)
	s.nodes, err = parseAddresses(s.HostIPs)
	bad("HOST_IPS", err)
	s.apiServer, _ = netip.ParseAddrPort(joinHostPort(s.ServiceHost, s.ServicePort)) // set by Kubernetes, so the user cannot correct it
	bad("TAP_SINK", s.setSink())
	bad("TAP_KAFKA_TLS", s.checkTLS(vars["TAP_KAFKA_TLS"]))
	bad("TAP_LISTEN", checkListen(s.Listen))
	bad("TAP_MESH", checkMesh(s.Mesh))
	s.checkEvidence(bad)
	if s.Memory != 0 && s.Memory < leastMemory {
		bad("TAP_MEMORY", errors.New("expected 16Mi or more"))
	}
	s.unknown = variables.Unknown[environment](vars, tapPrefix)
	return s, errs
}

// leastMemory is the least memory limit, in bytes, with which the garbage collector can keep up.
const leastMemory = 16 << 20

// checkMesh returns an error if a text is not the name of a mesh whose profile the tap knows.
func checkMesh(name string) error {
	if name == "" || slices.Contains(verdict.Meshes(), name) {
		return nil
	}
	return fmt.Errorf("expected one of %s%s", strings.Join(verdict.Meshes(), ", "), didYouMean(name, "", verdict.Meshes()))
}

// checkListen returns an error if nothing can listen on an address, whatever the machine.
func checkListen(address string) error {
	if address == "" || address == "none" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if _, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil {
		return errors.New("expected an address and a port from 0 to 65535, such as :29469, or none")
	}
	return nil
}

// parseTime parses an RFC 3339 time. It returns the zero time for an empty text.
func parseTime(text string) (at time.Time, err error) {
	if text == "" {
		return at, nil
	}
	if at, err = time.Parse(time.RFC3339, text); err != nil {
		err = errors.New("expected an RFC 3339 time such as 2026-01-31T12:00:00Z")
	}
	return at, err
}

func parseAddresses(list []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range variables.List(list) {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("%q: expected an IP address", text)
		}
		out = append(out, a.Unmap())
	}
	return out, nil
}

// parseProbes parses a list of PORT[/PATH]; "none" is an empty list.
func parseProbes(list string) (out []verdict.Probe, err error) {
	for _, item := range split(list) {
		port, path, found := strings.Cut(item, "/")
		ports, err := parsePorts(port)
		if err != nil {
			return nil, err
		}
		if found {
			path = "/" + path
		}
		for _, p := range ports {
			out = append(out, verdict.Probe{Port: p, Path: path})
		}
	}
	return out, nil
}

// parsePorts parses a list of ports; "none" is an empty list.
func parsePorts(list string) ([]uint16, error) {
	var out []uint16
	if list == "none" {
		return nil, nil
	}
	for _, text := range split(list) {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%q: expected ports from 1 to 65535", text)
		}
		out = append(out, uint16(n))
	}
	return out, nil
}

func joinHostPort(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/image"
	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// Addresses of the broker's listeners, on the node's address.
const (
	broker    = "10.98.0.1:9092"
	brokerTLS = "10.98.0.1:19094" // TLS, with authentication
)

// TestWalkThrough: curl calls httpbin in two namespaces. In the namespace unencrypted the calls are plaintext. In the
// namespace encrypted they go through real Envoy sidecars, to which iptables redirects all TCP. After the label, a
// restart and a request, the records are read from a real broker.
func TestWalkThrough(t *testing.T) {
	complete(t)
	c := installed(t, "--set", "kafka.brokers={"+broker+"},tap.emit={findings,posture,flows},clusterName=walk")
	begin := time.Now()
	step := func(what string) { t.Logf("%5.1f s  %s", time.Since(begin).Seconds(), what) }
	startBroker(t, c, "plain")
	step("a real broker at " + broker)
	load(t, c, envoyImage(t))
	load(t, c, image.Image{Ref: registry + "/httpbin:1", Files: []image.File{{To: "/httpbin", From: os.Getenv("WALK_HTTPBIN")}}, Entrypoint: []string{"/httpbin"}, User: "65532:65532"})

	for _, ns := range []string{"unencrypted", "encrypted"} {
		named(t, c, ns)
		c.Apply(t, ns, workloads(t, ns))
	}
	for _, args := range [][]string{
		{"label", "namespace", "unencrypted", "encrypted", "meshtls-tap=enabled"},
		{"--namespace", "unencrypted", "rollout", "restart", "deployment"},
		{"--namespace", "encrypted", "rollout", "restart", "deployment"},
	} {
		if out, err := c.Kubectl(t, args...); err != nil {
			t.Fatal(err, out)
		}
	}
	pods := map[string]*corev1.Pod{}
	for _, ns := range []string{"unencrypted", "encrypted"} {
		for _, app := range []string{"curl", "httpbin"} {
			if out, err := c.Kubectl(t, "--namespace", ns, "rollout", "status", "deployment/"+app, "--timeout", "90s"); err != nil {
				t.Fatal(err, out)
			}
			p := tappedPod(t, c, ns, "app="+app)
			pods[ns+"/"+app] = p
			if ns == "encrypted" {
				redirect(t, c, p, app)
			}
		}
	}
	step("label and restart: every pod is tapped; Envoy in both pods of encrypted")
	for _, ns := range []string{"unencrypted", "encrypted"} {
		url := fmt.Sprintf("http://%s:14001/get", pods[ns+"/httpbin"].Status.PodIP)
		out, err := c.Kubectl(t, "--namespace", ns, "exec", pods[ns+"/curl"].Name, "-c", "curl", "--", "/probe", "get", url)
		if err != nil || !strings.Contains(out, " 200 ") {
			t.Fatalf("%s: %v %s", url, err, out)
		}
	}
	step("one request in each namespace")
	checkWalk(t, c, pods)
	step("as the broker has it")
}

// complete skips the test if walk.sh could not prepare Envoy or the broker.
func complete(t *testing.T) {
	t.Helper()
	if m := os.Getenv("WALK_MISSING"); m != "" || os.Getenv("WALK_ENVOY") == "" {
		if os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
			t.Fatalf("missing: %s", m)
		}
		t.Skipf("missing: %s", m)
	}
}

// named creates a namespace with a fixed name, because certificates contain the name.
func named(t *testing.T, c *kit.Cluster, name string) {
	t.Helper()
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, account := range []string{"curl", "httpbin"} {
		if out, err := c.Kubectl(t, "--namespace", name, "create", "serviceaccount", account); err != nil {
			t.Fatal(err, out)
		}
	}
	t.Cleanup(func() {
		if err := c.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	if name != "encrypted" {
		return
	}
	for _, app := range []string{"curl", "httpbin"} {
		args := []string{"--namespace", name, "create", "secret", "generic", "envoy-" + app}
		for _, file := range []string{"ca.pem", app + ".pem", app + ".key"} {
			args = append(args, "--from-file", filepath.Join(os.Getenv("WALK_CERTS"), file))
		}
		if out, err := c.Kubectl(t, args...); err != nil {
			t.Fatal(err, out)
		}
		if out, err := c.Kubectl(t, "--namespace", name, "create", "configmap", "envoy-"+app, "--from-file",
			"envoy.yaml="+filepath.Join(kit.Repository(), "demo", "envoy", app+".yaml")); err != nil {
			t.Fatal(err, out)
		}
	}
}

// workloads returns the two Deployments of a namespace. In the namespace encrypted they have Envoy as a sidecar, as in Open Service Mesh.
func workloads(t *testing.T, ns string) string {
	t.Helper()
	var all []string
	for app, container := range map[string]string{
		"curl":    `{name: curl, image: ` + kit.ProbeImage + `, imagePullPolicy: Never, args: [pause]}`,
		"httpbin": `{name: httpbin, image: ` + registry + `/httpbin:1, imagePullPolicy: Never, args: [-host=0.0.0.0, -port=14001]}`,
	} {
		sidecar, volumes := "", "[]"
		if ns == "encrypted" {
			sidecar = `
      - name: envoy
        image: ` + registry + `/envoy:1
        imagePullPolicy: Never
        args: [-c, /etc/envoy/envoy.yaml, --concurrency, "1", --disable-hot-restart, --log-level, info]
        workingDir: /run/envoy
        securityContext: {runAsUser: 1500, runAsNonRoot: true}
        volumeMounts: [{name: run, mountPath: /run/envoy}, {name: certs, mountPath: /run/envoy/certs}, {name: config, mountPath: /etc/envoy}]`
			volumes = fmt.Sprintf("[{name: run, emptyDir: {}}, {name: certs, secret: {secretName: envoy-%[1]s}}, {name: config, configMap: {name: envoy-%[1]s}}]", app)
		}
		all = append(all, fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  selector: {matchLabels: {app: %[1]s}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      serviceAccountName: %[1]s
      terminationGracePeriodSeconds: 1
      containers:
      - %[2]s%[3]s
      volumes: %[4]s
`, app, container, sidecar, volumes))
	}
	return strings.Join(all, "---\n")
}

// envoyImage returns an image with Envoy and its libraries.
func envoyImage(t *testing.T) image.Image {
	t.Helper()
	envoy := os.Getenv("WALK_ENVOY")
	out, err := exec.CommandContext(t.Context(), "ldd", envoy).Output()
	if err != nil {
		t.Fatal(err)
	}
	i := image.Image{Ref: registry + "/envoy:1", Files: []image.File{{To: "/envoy", From: envoy}}, Entrypoint: []string{"/envoy"}}
	for line := range strings.Lines(string(out)) {
		for word := range strings.FieldsSeq(line) {
			if strings.HasPrefix(word, "/") {
				i.Files = append(i.Files, image.File{To: word, From: word})
			}
		}
	}
	if len(i.Files) < 3 {
		t.Fatalf("ldd %s: %s", envoy, out)
	}
	return i
}

// redirect waits until Envoy runs. Then it redirects the pod's TCP to Envoy, as a mesh's CNI plugin does.
func redirect(t *testing.T, c *kit.Cluster, p *corev1.Pod, app string) {
	t.Helper()
	c.Logged(t, kit.Limit, p.Namespace, p.Name, "envoy", "starting workers")
	rules := `table ip mesh {
		chain inbound { type nat hook prerouting priority dstnat; iifname eth0 meta l4proto tcp redirect to :15003; }
		chain outbound { type nat hook output priority -100; meta skuid 1500 return; oifname lo return; tcp dport 9092 return; meta l4proto tcp redirect to :15001; }
	}`
	if app == "curl" { // incoming connections are not redirected, because nobody calls curl
		rules = strings.Replace(rules, "iifname eth0 meta l4proto tcp redirect to :15003;", "", 1)
	}
	onNode(t, c, "nsenter", "-t", process(t, c, p, "envoy"), "-n", "nft", rules)
}

// tappedPod returns the only pod that a label selects. It waits until the pod is tapped and Ready.
func tappedPod(t *testing.T, c *kit.Cluster, ns, selector string) *corev1.Pod {
	t.Helper()
	p := c.Selected(t, ns, selector, 1)[0]
	if found, _ := kit.Container(&p, kit.Tap); found == nil {
		t.Fatalf("pod %s/%s is not tapped", ns, p.Name)
	}
	return c.Ready(t, ns, p.Name)
}

// startBroker starts a real Kafka broker in the cluster's network and returns the broker's folder. The broker runs
// until the end of the test. mode is the mode of kafka.sh; with the mode tls there is also the listener brokerTLS.
func startBroker(t *testing.T, c *kit.Cluster, mode string) (folder string) {
	t.Helper()
	folder = filepath.Join(c.Work, "kafka-"+t.Name())
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "ports"), []byte("9092 19093 19094\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(kit.Repository(), "test", "kafka", "kafka.sh")
	environment := []string{"ADDRESS=10.98.0.1", "KAFKA_CACHE=" + os.Getenv("KAFKA_CACHE"), fmt.Sprint("OWNER=", os.Getpid())}
	if os.Getenv("KAFKA_CACHE") == "" {
		environment = append(environment[:1], environment[2:]...)
	}
	call := func(args ...string) {
		cmd := c.Command(t.Context(), "env", append(append(environment, script), args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("kafka.sh %s: %v\n%s", args[0], err, out)
		}
	}
	call("start", folder, mode)
	t.Cleanup(func() { exec.Command(script, "kill", folder).Run() })
	call("topics", folder)
	return folder
}

// consume returns the records in a topic. It uses a Kafka client that is not the tap's.
func consume(t *testing.T, c *kit.Cluster, topic string) []record {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := c.Command(t.Context(), "kcat", "-C", "-q", "-b", broker, "-t", topic, "-o", "beginning", "-e")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("kcat %s: %v\n%s", topic, err, &errs)
	}
	var all []record
	for line := range strings.Lines(out.String()) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		r.line = strings.TrimSpace(line)
		all = append(all, r)
	}
	return all
}

// A record has the fields of a published record that the tests read.
type record struct {
	line    string
	Message string
	Rule    struct{ ID string }
	Event   struct {
		Dataset, Kind, Action string
		Severity              int
	}
	Source, Destination host
	TLS                 struct {
		Version, Cipher string
	}
	Network struct{ Protocol string }
	Meshtls struct {
		Verdict, Scope, Mesh, Class, Enrolled, Expectation string

		Edge  struct{ Key string }
		Local struct{ Ambient string }
		TLS   struct {
			ClientAuth string `json:"client_auth"`
			Basis      string `json:"client_auth_basis"`
			Outcome    string
		}
	}
	Kubernetes struct {
		Namespace string
		Pod       struct{ Name string }
	}
	Orchestrator struct{ Cluster struct{ Name string } }
}

// A host is an end of a connection.
type host struct {
	IP   string
	Port int
}

// addrPort returns the address and port of the end, or the zero value if the end has no address.
func (h host) addrPort() netip.AddrPort {
	ip, _ := netip.ParseAddr(h.IP)
	return netip.AddrPortFrom(ip, uint16(h.Port))
}

// checkWalk waits for the expected records. It fails the test if there are other records.
func checkWalk(t *testing.T, c *kit.Cluster, pods map[string]*corev1.Pod) {
	t.Helper()
	plain := each(t, c, pods, "unencrypted", "meshtls-tap.findings", func(r record) bool { return r.Rule.ID == "plaintext-edge" && r.Destination.Port == 14001 })
	for _, r := range plain {
		t.Logf("finding: %s", r.Message)
		t.Log(r.line)
	}
	each(t, c, pods, "encrypted", "meshtls-tap.posture", func(r record) bool {
		return r.Event.Dataset == "meshtls.posture" && r.Meshtls.Scope == "wire" && r.Meshtls.Verdict == "mtls"
	})
	// The connection between the two Envoys stays open. The tap publishes the flow of the connection when the
	// connection or the pod ends.
	if out, err := c.Kubectl(t, "--namespace", "encrypted", "delete", "deployment", "--all"); err != nil {
		t.Fatal(err, out)
	}
	mutual := each(t, c, pods, "encrypted", "meshtls-tap.flows", func(r record) bool { return r.Meshtls.Scope == "wire" && r.Meshtls.Verdict == "mtls" })
	for _, r := range mutual {
		t.Logf("flow: %s: %s, TLS %s %s, client certificate %s (%s)", r.Kubernetes.Pod.Name, r.Meshtls.Verdict, r.TLS.Version, r.TLS.Cipher, r.Meshtls.TLS.ClientAuth, r.Meshtls.TLS.Basis)
		if r.TLS.Version != "1.3" || r.TLS.Cipher != "TLS_AES_128_GCM_SHA256" || r.Meshtls.TLS.ClientAuth != "presented" || r.Orchestrator.Cluster.Name != "walk" {
			t.Errorf("%s", r.line)
		}
	}
	for _, r := range consume(t, c, "meshtls-tap.findings") {
		if r.Kubernetes.Namespace == "encrypted" {
			t.Errorf("a finding in the namespace encrypted: %s", r.line)
		}
	}
	for _, r := range consume(t, c, "meshtls-tap.flows") {
		if r.Kubernetes.Namespace == "encrypted" && r.Meshtls.Scope == "wire" && r.Meshtls.Verdict != "mtls" && r.Destination.Port == 14001 {
			t.Errorf("on the wire of encrypted: %s", r.line)
		}
	}
}

// each waits until the taps of both pods of a namespace have published a record for which such returns true. It
// returns one such record of each tap.
func each(t *testing.T, c *kit.Cluster, pods map[string]*corev1.Pod, ns, topic string, such func(record) bool) map[string]record {
	t.Helper()
	found := map[string]record{}
	kit.Eventually(t, kit.Limit, "records of both pods of "+ns+" in "+topic, func() error {
		all := consume(t, c, topic)
		for _, r := range all {
			if r.Kubernetes.Namespace == ns && such(r) {
				found[r.Kubernetes.Pod.Name] = r
			}
		}
		for _, app := range []string{"curl", "httpbin"} {
			if _, ok := found[pods[ns+"/"+app].Name]; !ok {
				var lines []string
				for _, r := range all {
					if r.Kubernetes.Namespace == ns {
						lines = append(lines, r.line)
					}
				}
				return fmt.Errorf("none by %s among\n%s", pods[ns+"/"+app].Name, strings.Join(lines, "\n"))
			}
		}
		return nil
	})
	return found
}

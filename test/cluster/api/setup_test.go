// Package api_test tests admission with a real API server: `test/cluster/run.sh api`. Helm installs the chart, and the
// webhook runs as a process on the same machine, with the rights that the chart gives it. There are no nodes, so no pod
// runs.
package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

const (
	release       = "meshtls-tap" // name of the release and of its namespace
	configuration = "zz-meshtls-tap"
	annotating    = "aa-meshtls-tap" // name of the configuration whose webhook the API server calls before the others
	label         = "meshtls-tap"
)

var tapped = map[string]string{label: "enabled"} // the labels of a tapped namespace

// A hook is the webhook's process. It runs until the test process ends.
type hook struct {
	port, metrics int
	env           []string
	cmd           *exec.Cmd
	stop          func(syscall.Signal) error
	log           string
}

var once struct {
	sync.Once
	hook *hook
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if once.hook != nil {
		once.hook.stop(syscall.SIGTERM)
		if code != 0 {
			if log, err := os.ReadFile(once.hook.log); err == nil {
				lines := strings.Split(strings.TrimSpace(string(log)), "\n")
				fmt.Println("the end of the webhook's log:\n" + strings.Join(lines[max(0, len(lines)-40):], "\n"))
			}
		}
	}
	os.Exit(code)
}

// installed returns the cluster with the product installed, and the webhook.
func installed(t *testing.T) (*kit.Cluster, *hook) {
	t.Helper()
	c := kit.Open(t)
	if os.Getenv("PRODUCT") == "" {
		t.Skip("PRODUCT is not set: run test/cluster/run.sh api")
	}
	once.Do(func() { once.hook = install(t, c) })
	if once.hook == nil {
		t.Fatal("the webhook could not be installed, see the first test that failed")
	}
	return c, once.hook
}

func install(t *testing.T, c *kit.Cluster) *hook {
	t.Helper()
	h := &hook{port: freePort(t), metrics: freePort(t), log: filepath.Join(c.Work, "logs", "webhook.log")}
	chart := filepath.Join(kit.Repository(), "charts", "tap")
	if out, err := c.Run(t, "", c.Bin("helm4"), "install", release, chart, "--namespace", release, "--create-namespace",
		"--set", "tap.imageCheck=false,tap.spool=16Mi,kafka.brokers={kafka.kafka.svc:9094},injection.allowedAnnotations={exclude-kafka-port}"); err != nil {
		t.Fatal(err, out)
	}
	// The Service makes the API server call this machine instead of pods.
	service := `{"spec":{"type":"ExternalName","externalName":"localhost","clusterIP":null,"clusterIPs":null,"selector":null}}`
	if _, err := c.CoreV1().Services(release).Patch(t.Context(), release, types.MergePatchType, []byte(service), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	setPort(t, c, configuration, h.port)
	setPort(t, c, annotating, h.port)
	h.env = append(h.environment(t, c), "KUBECONFIG="+impersonate(t, c, "system:serviceaccount:"+release+":"+release))
	h.start(t)
	h.works(t, c, c.Namespace(t, tapped))
	return h
}

// works waits until a pod in a namespace is tapped.
func (h *hook) works(t *testing.T, c *kit.Cluster, ns string) {
	t.Helper()
	kit.Eventually(t, kit.Limit, "a tapped pod", func() error {
		r := c.DryRun(t, ns, kit.NewPod("p"))
		if r.Err != nil {
			return r.Err
		}
		if found, _ := kit.Container(r.Pod, kit.Tap); found == nil {
			return fmt.Errorf("none: %q", r.Warnings)
		}
		return nil
	})
}

// setPort sets the port at which the API server calls the webhooks of a configuration.
func setPort(t *testing.T, c *kit.Cluster, name string, port int) {
	t.Helper()
	patch := fmt.Sprintf(`[{"op":"replace","path":"/webhooks/0/clientConfig/service/port","value":%d}]`, port)
	patchConfiguration(t, c, name, patch)
}

func patchConfiguration(t *testing.T, c *kit.Cluster, name, patch string) {
	t.Helper()
	if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(
		t.Context(), name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// start starts the webhook with the service account that the chart created.
func (h *hook) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(h.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	h.cmd = exec.Command(filepath.Join(os.Getenv("PRODUCT"), "tap-webhook"))
	h.cmd.Stdout, h.cmd.Stderr, h.cmd.Env = log, log, h.env
	h.stop = kit.Start(t, h.cmd)
}

// restart ends the webhook, starts another one, and waits until it responds.
func (h *hook) restart(t *testing.T, c *kit.Cluster) {
	t.Helper()
	if err := h.stop(syscall.SIGTERM); err != nil {
		t.Errorf("the webhook ended with %v", err)
	}
	h.start(t)
	kit.Eventually(t, kit.Limit, "the webhook to be ready", func() error {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", h.metrics))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
}

// environment returns the environment variables of the chart's Deployment, with ports and files of this machine.
func (h *hook) environment(t *testing.T, c *kit.Cluster) []string {
	t.Helper()
	d, err := c.AppsV1().Deployments(release).Get(t.Context(), release, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	settings, err := c.CoreV1().ConfigMaps(release).Get(t.Context(), release+"-settings", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.Work, "settings.yaml")
	if err := os.WriteFile(file, []byte(settings.Data["settings.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=/", "HOME=" + c.Work, "POD_NAMESPACE=" + release, "POD_NAME=here"}
	for _, e := range d.Spec.Template.Spec.Containers[0].Env {
		if e.Value != "" {
			env = append(env, e.Name+"="+e.Value)
		}
	}
	return append(env, // if a variable has two values, the last one applies
		fmt.Sprintf("WEBHOOK_LISTEN=127.0.0.1:%d", h.port),
		fmt.Sprintf("WEBHOOK_METRICS_LISTEN=127.0.0.1:%d", h.metrics),
		"WEBHOOK_SETTINGS="+file,
		"WEBHOOK_DRAIN=0s", // there is nothing to wait for, because no Service has endpoints
	)
}

// impersonate writes a kubeconfig of an administrator who impersonates a user. It returns the path of the file.
func impersonate(t *testing.T, c *kit.Cluster, user string) string {
	t.Helper()
	text, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	const before = "user: {client-certificate-data"
	if !strings.Contains(string(text), before) {
		t.Fatalf("%s is not as labkit writes it", c.Kubeconfig())
	}
	as := fmt.Sprintf("user: {as: %q, as-groups: [system:serviceaccounts, system:authenticated], client-certificate-data", user)
	file := filepath.Join(c.Work, "impersonated.kubeconfig")
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), before, as, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// freePort returns a free port below the kernel's ephemeral ports. So no outgoing connection can take the port before
// the program listens there.
func freePort(t *testing.T) int {
	t.Helper()
	var err error
	for range 100 {
		var l net.Listener
		port := 10_000 + rand.IntN(20_000)
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal(err)
	return 0
}

// status returns the webhook's status annotation of a pod.
func status(t *testing.T, p *corev1.Pod) (s struct{ Mode, Profile, Image string }) {
	t.Helper()
	if err := json.Unmarshal([]byte(p.Annotations["meshtls-tap/status"]), &s); err != nil {
		t.Errorf("annotation meshtls-tap/status: %v", err)
	}
	return s
}

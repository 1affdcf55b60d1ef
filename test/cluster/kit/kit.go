// Package kit has the helpers of the cluster tests: a client of the cluster that run.sh started, creation of objects from
// YAML, and waiting for conditions.
//
// Order of use: [Open] returns the [Cluster]; [Cluster.Namespace] creates a namespace for one test; [Cluster.Apply] and
// [Cluster.Create] create objects in it; [Eventually], [Cluster.Ready] and [Cluster.Logged] wait for a condition.
package kit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// A Cluster is the cluster that run.sh started, with or without a node.
type Cluster struct {
	kubernetes.Interface
	Config *rest.Config
	Work   string // the folder with the cluster's files
	node   bool   // the cluster has a node, and runs in its own network namespace
}

var open struct {
	once    sync.Once
	cluster *Cluster
	err     error
}

// Open returns the cluster. If no cluster runs, it skips the test and prints how to start one.
func Open(t testing.TB) *Cluster {
	t.Helper()
	if os.Getenv("CLUSTER_WORK") == "" {
		t.Skip("no cluster: run `make test-cluster`, or test/cluster/run.sh api")
	}
	open.once.Do(func() {
		open.cluster, open.err = connect(os.Getenv("CLUSTER_WORK"), os.Getenv("CLUSTER_TIER") == "node")
	})
	if open.err != nil {
		t.Fatal(open.err)
	}
	return open.cluster
}

func connect(work string, node bool) (*Cluster, error) {
	c := &Cluster{Work: work, node: node}
	var err error
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig()); err != nil {
		return nil, err
	}
	c.Config.QPS, c.Config.Burst = 500, 1000
	if node {
		if c.Config.Dial, err = dialer(filepath.Join(work, "state", "pid")); err != nil {
			return nil, err
		}
	}
	c.Interface, err = kubernetes.NewForConfig(c.Config)
	return c, err
}

// Kubeconfig returns the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.PKI(), "admin.kubeconfig") }

// PKI returns the folder with the cluster's keys and certificates.
func (c *Cluster) PKI() string {
	if c.node {
		return filepath.Join(c.Work, "state", "pki")
	}
	return filepath.Join(c.Work, "api", "pki")
}

// Bin returns the path of a program that build.sh built.
func (c *Cluster) Bin(name string) string { return filepath.Join(c.Work, "bin", name) }

// Command returns a command that runs in the cluster's network and uses the cluster's kubeconfig.
func (c *Cluster) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if c.node {
		args = append([]string{"exec", c.Work, name}, args...)
		name = filepath.Join(Folder(), "cluster.sh")
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Run runs a program in the cluster's network and returns its output, including standard error.
func (c *Cluster) Run(t testing.TB, stdin, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := c.Command(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Stdin = &out, &out, strings.NewReader(stdin)
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, &out)
	}
	return out.String(), nil
}

// Kubectl runs kubectl and returns its output, including warnings.
func (c *Cluster) Kubectl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return c.Run(t, "", c.Bin("kubectl"), args...)
}

// Apply applies objects in YAML, and fails the test if one is refused.
func (c *Cluster) Apply(t testing.TB, namespace, objects string, args ...string) string {
	t.Helper()
	out, err := c.Run(t, objects, c.Bin("kubectl"), append([]string{"apply", "--namespace", namespace, "-f", "-"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Load imports an image archive into the node. The cluster must have a node.
func (c *Cluster) Load(t testing.TB, file string) {
	t.Helper()
	out, err := exec.Command(filepath.Join(Folder(), "cluster.sh"), "load", c.Work, file).CombinedOutput()
	if err != nil {
		t.Fatalf("load %s: %v\n%s", file, err, out)
	}
}

// Folder returns the path of test/cluster.
func Folder() string {
	folder, err := filepath.Abs("..") // tests run in their package's folder
	if err != nil {
		panic(err)
	}
	return folder
}

// Repository returns the path of the repository.
func Repository() string { return filepath.Dir(filepath.Dir(Folder())) }

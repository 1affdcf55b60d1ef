package api_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// untapped creates pods as dry runs until one is admitted without a tap and the time that its admission took satisfies
// seen. It fails the test if a pod is refused.
func untapped(t *testing.T, c *kit.Cluster, ns string, seen func(took time.Duration) bool) {
	t.Helper()
	kit.Eventually(t, kit.Limit, "an untapped pod", func() error {
		begin := time.Now()
		r := c.DryRun(t, ns, kit.NewPod("p"))
		took := time.Since(begin)
		if r.Err != nil {
			t.Fatalf("the pod was refused: %v", r.Err)
		}
		if found, _ := kit.Container(r.Pod, kit.Tap); found != nil || !seen(took) {
			return errors.New("the API server has not seen the change yet")
		}
		t.Logf("admitted without a tap after %v", took.Round(time.Millisecond))
		return nil
	})
}

// TestOutage: no failure of the webhook keeps a pod from starting.
func TestOutage(t *testing.T) {
	c, h := installed(t)
	ns := c.Namespace(t, tapped)
	defer setPort(t, c, configuration, h.port)
	for _, name := range []string{configuration, annotating} { // the configuration bounds how long a pod waits
		m, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range m.Webhooks {
			if w.TimeoutSeconds == nil || *w.TimeoutSeconds > 3 {
				t.Errorf("%s keeps a pod waiting for longer than 3 s", w.Name)
			}
		}
	}

	t.Run("nobody listens", func(t *testing.T) {
		setPort(t, c, configuration, freePort(t))
		untapped(t, c, ns, func(time.Duration) bool { return true })
	})
	t.Run("it never answers", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // until then the kernel accepts connections, and nobody responds
		setPort(t, c, configuration, l.Addr().(*net.TCPAddr).Port)
		untapped(t, c, ns, func(took time.Duration) bool { return took > 2900*time.Millisecond }) // the webhook's timeoutSeconds is 3
	})
	t.Run("a certificate of somebody else", func(t *testing.T) {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{foreign(t, c)}, MinVersion: tls.VersionTLS12})
		if err != nil {
			t.Fatal(err)
		}
		var called atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				called.Store(true)
				conn.(*tls.Conn).HandshakeContext(t.Context())
				conn.Close()
			}
		})
		defer wg.Wait()
		defer l.Close()
		setPort(t, c, configuration, l.Addr().(*net.TCPAddr).Port)
		untapped(t, c, ns, func(time.Duration) bool { return called.Load() })
	})
}

// foreign returns a certificate of an authority that the webhook configuration does not trust. It is the API server's
// own certificate.
func foreign(t *testing.T, c *kit.Cluster) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.PKI()+"/apiserver.crt", c.PKI()+"/apiserver.key")
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// TestRotation rotates the authority while pods are created. The failurePolicy is Fail: if the API server did not trust
// the webhook for a moment, the API server would refuse a pod.
func TestRotation(t *testing.T) {
	c, h := installed(t)
	ns := c.Namespace(t, tapped)
	h.works(t, c, ns)
	// The timeout is long, so that the API server waits for a response even on a busy machine.
	const patch = `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":%q},{"op":"replace","path":"/webhooks/0/timeoutSeconds","value":%d}]`
	patchConfiguration(t, c, configuration, fmt.Sprintf(patch, "Fail", 30))
	defer patchConfiguration(t, c, configuration, fmt.Sprintf(patch, "Ignore", 3))
	before := authority(t, c)

	const workers = 4
	var pods, refused, without atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	create := func() {
		for !over.Load() {
			pods.Add(1)
			p, err := c.CoreV1().Pods(ns).Create(t.Context(), kit.NewPod("", func(p *corev1.Pod) { p.GenerateName = "p-" }), metav1.CreateOptions{})
			if err != nil {
				refused.Add(1)
				t.Error(err)
				continue
			}
			if found, _ := kit.Container(p, kit.Tap); found == nil {
				without.Add(1)
			}
			time.Sleep(20 * time.Millisecond) // leaves CPU time to other tests
		}
	}
	for range workers {
		wg.Go(create)
	}
	defer wg.Wait()
	defer over.Store(true)
	made := func(n int64) {
		t.Helper()
		kit.Eventually(t, kit.Limit, "pods to be created", func() error {
			if pods.Load() < n {
				return fmt.Errorf("%d are", pods.Load())
			}
			return nil
		})
	}
	made(50)
	secret := c.CoreV1().Secrets(release)
	for _, patch := range []string{
		`{"metadata":{"annotations":{"meshtls-tap/rotate":"now"}}}`,
		`{"metadata":{"annotations":{"meshtls-tap/next-since":"2026-01-01T00:00:00Z"}}}`, // with this date the overlap of two minutes has passed
	} {
		if _, err := secret.Patch(t.Context(), release+"-ca", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(patch, "rotate") {
			kit.Eventually(t, kit.Limit, "the next authority", func() error {
				s, err := secret.Get(t.Context(), release+"-ca", metav1.GetOptions{})
				if err == nil && s.Data["next.crt"] == nil {
					err = errors.New("there is none")
				}
				return err
			})
		}
	}
	kit.Eventually(t, kit.Limit, "the new authority to sign", func() error {
		if bytes.Equal(authority(t, c), before) {
			return errors.New("the old one does")
		}
		return nil
	})
	made(pods.Load() + 50)
	over.Store(true)
	wg.Wait()
	h.works(t, c, ns)
	t.Logf("%d pods created while the authority was renewed: %d refused, %d untapped", pods.Load(), refused.Load(), without.Load())
	if refused.Load()+without.Load() != 0 {
		t.Error("pods were refused or came without a tap")
	}
}

// authority returns the current authority in PEM.
func authority(t *testing.T, c *kit.Cluster) []byte {
	t.Helper()
	s, err := c.CoreV1().Secrets(release).Get(t.Context(), release+"-ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Data["ca.crt"]
}

// TestSpeed measures the webhook at 50 calls a second. It runs only if CLUSTER_SPEED is set, as make test-cluster does.
// It prints the time of a call and, for comparison, the time of the smallest response of the same process, measured
// meanwhile.
func TestSpeed(t *testing.T) {
	if os.Getenv("CLUSTER_SPEED") == "" {
		t.Skip("a measurement: make test-cluster runs it")
	}
	c, h := installed(t)
	ns := c.Namespace(t, tapped)
	h.works(t, c, ns)
	pod, err := json.Marshal(kit.NewPod("p"))
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","namespace":%q,"operation":"CREATE",
		"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},"dryRun":true,"object":%s}}`, ns, pod)
	client := &http.Client{Timeout: kit.Limit, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 16, // in the other tests the API server verifies the certificate
	}}
	defer client.CloseIdleConnections()
	const calls, rate = 250, 50
	took, least := make([]time.Duration, calls), make([]time.Duration, calls)
	ask := func(want string, took *time.Duration, call func() (*http.Response, error)) {
		begin := time.Now()
		response, err := call()
		if err != nil {
			t.Error(err)
			return
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		*took = time.Since(begin)
		if err != nil || !bytes.Contains(answer, []byte(want)) {
			t.Errorf("%v %.200s", err, answer)
		}
	}
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for i := range calls {
		<-tick.C
		wg.Go(func() {
			ask(`"patch"`, &took[i], func() (*http.Response, error) {
				return client.Post(fmt.Sprintf("https://127.0.0.1:%d/inject", h.port), "application/json", strings.NewReader(body))
			})
		})
		wg.Go(func() {
			ask("ok", &least[i], func() (*http.Response, error) {
				return client.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", h.metrics))
			})
		})
	}
	wg.Wait()
	slices.Sort(took)
	slices.Sort(least)
	ratio := float64(took[calls*99/100]) / float64(least[calls*99/100])
	t.Logf("a call at %d/s: p50 %v, p99 %v, which is %.1f times that of /readyz; memory of the webhook: %s", rate,
		took[calls/2].Round(10*time.Microsecond), took[calls*99/100].Round(10*time.Microsecond), ratio, memory(t, h.cmd.Process.Pid))
	if ratio > 50 {
		t.Error("that is too slow: pods wait for it")
	}
}

func memory(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range regexp.MustCompile(`(VmRSS|VmHWM):\s+(\d+ kB)`).FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1]+" "+m[2])
	}
	return strings.Join(all, ", ")
}

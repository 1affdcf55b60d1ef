package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// clock is a clock that stands still until a test moves it.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) forward(d time.Duration) { c.at = c.at.Add(d) }

// replica returns the certificates of one replica of the webhook, in the cluster of c.
func replica(c client.Client, k *clock) *certs {
	return &certs{
		client: c, secret: client.ObjectKey{Namespace: "tap", Name: "ca"}, configurations: []string{"zz-tap", "aa-tap", "gone"},
		hosts: serviceHosts("hook", "tap", []string{"127.0.0.1"}), log: slog.New(slog.DiscardHandler), now: k.now,
	}
}

func configurations() []client.Object {
	side := admissionv1.SideEffectClassNone
	var out []client.Object
	for name, n := range map[string]int{"zz-tap": 2, "aa-tap": 1} {
		c := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for i := range n {
			c.Webhooks = append(c.Webhooks, admissionv1.MutatingWebhook{
				Name: string(rune('a'+i)) + "." + name + ".example", AdmissionReviewVersions: []string{"v1"}, SideEffects: &side,
				ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "tap", Name: "hook"}},
			})
		}
		out = append(out, c)
	}
	return out
}

// works fails unless every webhook configuration trusts the server certificate of each replica.
func works(t *testing.T, c client.Client, k *clock, replicas ...*certs) {
	t.Helper()
	var list admissionv1.MutatingWebhookConfigurationList
	if err := c.List(t.Context(), &list); err != nil || len(list.Items) != 2 {
		t.Fatal(err, len(list.Items))
	}
	for _, configuration := range list.Items {
		for _, w := range configuration.Webhooks {
			if w.ClientConfig.Service == nil { // a wrong patch would remove the reference to the Service
				t.Fatalf("more than caBundle was changed: %+v", w)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(w.ClientConfig.CABundle)
			for i, r := range replicas {
				leaf, err := r.GetCertificate(nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, host := range []string{"hook.tap.svc", "hook.tap.svc.cluster.local", "127.0.0.1"} {
					if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: k.now()}); err != nil {
						t.Fatalf("%s does not trust replica %d: %v", w.Name, i, err)
					}
				}
			}
		}
	}
}

func do(t *testing.T, steps ...func(context.Context) error) {
	t.Helper()
	for _, step := range steps {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAuthority follows one authority from its creation to its removal. At each step the certificates of all servers
// are trusted, even the certificate of a replica that sees changes late.
func TestAuthority(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithObjects(configurations()...).Build()
	leader, late := replica(c, k), replica(c, k)
	if _, err := late.GetCertificate(nil); err == nil {
		t.Error("a certificate before there is an authority")
	}
	do(t, late.serve, leader.rotate, leader.serve, late.serve)
	works(t, c, k, leader, late)
	first := leader.served.Load()

	k.forward(leafLife * 3 / 4) // server certificates are renewed now, but not the authority
	do(t, leader.rotate, leader.serve)
	works(t, c, k, leader, late)
	if leader.served.Load() == first {
		t.Error("an old certificate was not renewed")
	}

	k.forward(authorityLife*2/3 - leafLife*3/4 + time.Minute)
	do(t, leader.serve, late.serve, leader.rotate)
	next := secret(t, c).Data[keyNextCert]
	if next == nil {
		t.Fatal("no next authority, although the current one is old")
	}
	works(t, c, k, leader, late)

	k.forward(overlap / 2)
	do(t, leader.rotate, leader.serve)
	if !bytes.Equal(secret(t, c).Data[keyNextCert], next) {
		t.Fatal("the next authority signs before the overlap is over")
	}
	k.forward(overlap)
	do(t, leader.rotate, leader.serve) // the replica "late" has not seen the change yet
	s := secret(t, c)
	if !bytes.Equal(s.Data[keyCurrentCert], next) || s.Data[keyNextCert] != nil || s.Data[keyPreviousCert] == nil {
		t.Fatalf("the next authority does not sign after the overlap: %v", s.Annotations)
	}
	works(t, c, k, leader, late)
	do(t, late.serve)
	works(t, c, k, leader, late)

	k.forward(authorityLife / 2) // the previous authority has expired and is removed
	do(t, leader.serve, late.serve, leader.rotate)
	works(t, c, k, leader, late)
	var zz admissionv1.MutatingWebhookConfiguration
	if err := c.Get(t.Context(), client.ObjectKey{Name: "zz-tap"}, &zz); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(zz.Webhooks[0].ClientConfig.CABundle, []byte("BEGIN")); n != 1 {
		t.Errorf("%d authorities are trusted", n)
	}
}

func secret(t *testing.T, c client.Client) *corev1.Secret {
	t.Helper()
	var s corev1.Secret
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "tap", Name: "ca"}, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// TestRotateByHand: an annotation starts a rotation, which then removes the annotation.
func TestRotateByHand(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithObjects(configurations()...).Build()
	leader := replica(c, k)
	do(t, leader.rotate, leader.serve)
	s := secret(t, c)
	metav1.SetMetaDataAnnotation(&s.ObjectMeta, annotationRotate, "")
	if err := c.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	do(t, leader.rotate)
	s = secret(t, c)
	if _, still := s.Annotations[annotationRotate]; still || s.Data[keyNextCert] == nil {
		t.Errorf("annotations %v", s.Annotations)
	}
	works(t, c, k, leader)
}

// TestSpoiltSecret: a Secret that was deleted is restored with the same content. A Secret that is invalid, or whose
// authority has expired, gets a new authority.
func TestSpoiltSecret(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithObjects(configurations()...).Build()
	leader := replica(c, k)
	do(t, leader.rotate, leader.serve)
	was := secret(t, c)
	if err := c.Delete(t.Context(), was); err != nil {
		t.Fatal(err)
	}
	do(t, leader.rotate)
	if !bytes.Equal(secret(t, c).Data[keyCurrentCert], was.Data[keyCurrentCert]) {
		t.Error("another authority in the place of the one that was deleted")
	}
	works(t, c, k, leader)

	s := secret(t, c)
	s.Data[keyCurrentKey] = []byte("x")
	if err := c.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := leader.serve(t.Context()); err == nil {
		t.Error("a spoilt secret is no error")
	}
	other := replica(c, k) // this replica never saw the valid Secret
	do(t, other.rotate, other.serve, leader.serve)
	works(t, c, k, leader, other)

	k.forward(authorityLife + time.Hour) // no replica was running
	do(t, other.rotate, other.serve)
	works(t, c, k, other)
}

// TestNotAnnounced: an authority signs nothing before all configurations trust it.
func TestNotAnnounced(t *testing.T) {
	k := newClock()
	a, err := newAuthority(k.now())
	if err != nil {
		t.Fatal(err)
	}
	all := &authorities{current: a, rotate: true}
	for _, announced := range []bool{false, false} {
		if _, err := all.step(k.now(), announced); err != nil || all.next == nil {
			t.Fatal(err, all.next)
		}
		k.forward(time.Hour)
	}
	if changed, err := all.step(k.now(), true); !changed || err != nil || all.next != nil {
		t.Error("announced, and the overlap over, it does not sign")
	}
}

// TestServer: the server uses its certificate, is ready when it can tap pods, and still serves for the time drain
// after its context has ended. If the machine is so busy that no client calls within drain, the test is repeated with
// a longer time.
func TestServer(t *testing.T) {
	for drain := 300 * time.Millisecond; ; drain *= 10 {
		if inTime := serverEnds(t, drain); inTime || t.Failed() {
			return
		}
		if t.Logf("no call within %v after its context ended", drain); drain > time.Minute {
			t.Fatal("it does not continue for the time drain")
		}
	}
}

// serverEnds tests one run of a server, from its start to its end. It reports whether the call after the end of the
// server's context came within the time drain.
func serverEnds(t *testing.T, drain time.Duration) (inTime bool) {
	t.Helper()
	k := newClock()
	k.at = time.Now()
	c := fake.NewClientBuilder().WithObjects(configurations()...).Build()
	certs := replica(c, k)
	var missing error
	s := &server{
		drain: drain, log: slog.New(slog.DiscardHandler), certificate: certs.GetCertificate,
		handler: newEndpoint("/inject", slog.New(slog.DiscardHandler), tapAll, nil), more: func() error { return missing },
	}
	readiness := func(want string) {
		t.Helper()
		if err := s.ready(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("ready: %v, want %q", err, want)
		}
	}
	readiness("not listening")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := listen(t, ctx, s)
	dial := func() error {
		conn, err := tls.Dial("tcp", s.listen, &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			conn.Close()
		}
		return err
	}
	readiness("no certificate")
	if dial() == nil {
		t.Error("a handshake without a certificate")
	}
	do(t, certs.rotate, certs.serve)
	readiness("")
	if err := dial(); err != nil {
		t.Error(err)
	}
	missing = errNoReview
	readiness(errNoReview.Error())
	missing = nil
	trusted := time.Now()
	cancel()
	eventually.True(t, "it ends", s.ending.Load)
	readiness("shutting down")
	err := dial()
	inTime = time.Since(trusted) < drain
	if err != nil && inTime {
		t.Errorf("gone at once: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if dial() == nil {
		t.Error("still there")
	}
	return inTime
}

// listen starts a server on a free port. If another program takes the port first, it tries another port.
func listen(t *testing.T, ctx context.Context, s *server) (ended <-chan error) { //nolint:revive // the test comes first
	t.Helper()
	for range 10 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.listen = l.Addr().String()
		l.Close()
		result := make(chan error, 1)
		go func() { result <- s.Start(ctx) }()
		eventually.True(t, "it listens, or cannot", func() bool { return s.up.Load() || len(result) > 0 })
		if s.up.Load() {
			return result
		}
		if err := <-result; !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	t.Fatal("no port")
	return nil
}

// TestReadyOnceTrusted: no replica is ready before the configurations trust its certificate. Otherwise pods would start
// untapped. If the authority of an uninstalled release still exists, each replica has a certificate at once. The new
// configurations trust that certificate only after the elected replica has written the authority into them.
func TestReadyOnceTrusted(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithObjects(configurations()...).Build()
	before := replica(c, k)
	before.configurations = nil
	do(t, before.rotate)
	leader, other := replica(c, k), replica(c, k)
	do(t, leader.serve, other.serve)
	for _, r := range []*certs{leader, other} {
		if _, err := r.GetCertificate(nil); err != nil {
			t.Fatal(err)
		}
		if err := r.checkTrust(); err == nil || !strings.Contains(err.Error(), "does not trust") {
			t.Errorf("no configuration trusts the authority yet: %v", err)
		}
	}
	do(t, leader.rotate)
	if err := errors.Join(leader.checkTrust(), other.checkTrust()); err != nil {
		t.Errorf("all configurations trust the authority: %v", err)
	}
	var have admissionv1.MutatingWebhookConfiguration
	if err := c.Get(t.Context(), client.ObjectKey{Name: "zz-tap"}, &have); err != nil {
		t.Fatal(err)
	}
	have.Webhooks[1].ClientConfig.CABundle = nil
	if err := c.Update(t.Context(), &have); err != nil {
		t.Fatal(err)
	}
	if err := other.checkTrust(); err != nil {
		t.Errorf("what somebody changes later is no reason to go: %v", err)
	}
	if err := replica(c, k).checkTrust(); err != nil {
		t.Errorf("without a certificate, which is said elsewhere: %v", err)
	}
	late := replica(c, k)
	do(t, late.serve)
	if err := late.checkTrust(); err == nil {
		t.Error("one of a configuration's entries does not trust it")
	}
}

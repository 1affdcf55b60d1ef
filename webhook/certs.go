package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ac "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fieldOwner is the field manager of everything that the webhook writes.
const fieldOwner = client.FieldOwner("meshtls-tap-webhook")

// certs manages the webhook's own authority and server certificate. The authority is in a Secret, which the
// elected replica writes and all replicas read. Each replica signs its own server certificate and keeps it
// in memory, so no certificate has to be mounted or rendered by the chart.
type certs struct {
	client         client.Client
	secret         client.ObjectKey
	configurations []string // names of the MutatingWebhookConfigurations whose caBundle this writes
	hosts          []string
	log            *slog.Logger
	now            func() time.Time

	served  atomic.Pointer[tls.Certificate]
	trusted atomic.Bool  // checkTrust has returned nil once
	signer  []byte       // PEM of the authority that signed the served certificate; only serve uses it
	last    *authorities // authorities that rotate saw last; only rotate uses it
}

// errNoCertificate is returned by handshakes and by the readiness check before the first certificate is signed.
var errNoCertificate = errors.New("no certificate yet")

// GetCertificate returns the server certificate, for tls.Config.
func (c *certs) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if leaf := c.served.Load(); leaf != nil {
		return leaf, nil
	}
	return nil, errNoCertificate
}

// serve signs a new server certificate if the Secret has another authority, or if the certificate is about to
// expire. It runs on every replica.
func (c *certs) serve(ctx context.Context) error {
	var s corev1.Secret
	if err := c.client.Get(ctx, c.secret, &s); err != nil {
		if apierrors.IsNotFound(err) && c.served.Load() == nil {
			return nil // the elected replica will create the Secret; its creation runs this loop again
		}
		return err
	}

	a, err := readSecret(&s)
	if err != nil {
		return fmt.Errorf("secret %s: %w", c.secret, err)
	}
	now := c.now()
	if leaf := c.served.Load(); leaf != nil && bytes.Equal(c.signer, a.current.pem) && !aged(leaf.Leaf, now) {
		return nil
	}

	leaf, err := a.current.leaf(c.hosts, now)
	if err != nil {
		return err
	}
	c.signer = a.current.pem
	c.served.Store(leaf)
	certificateEnd.WithLabelValues("server").Set(float64(leaf.Leaf.NotAfter.Unix()))
	c.log.Info("certificate signed", "until", leaf.Leaf.NotAfter)
	return nil
}

// rotate renews the authority and makes the API server trust it. It runs only on the elected replica.
func (c *certs) rotate(ctx context.Context) error {
	s, a, err := c.load(ctx)
	if err != nil {
		return err
	}

	now := c.now()
	announced, err := c.announce(ctx, a.trusted(now), a)
	if err != nil {
		return err
	}

	changed, err := a.step(now, announced)
	if errors.Is(err, errExpired) {
		a, err = c.renewed()
		changed = true
	}
	if err != nil {
		return err
	}

	if changed {
		if err := c.store(ctx, s, a); err != nil {
			return err
		}
		c.log.Info("authority rotated", "until", a.current.cert.NotAfter, "next", a.next != nil)
		if _, err = c.announce(ctx, a.trusted(now), a); err != nil {
			return err
		}
	}

	c.last = a
	certificateEnd.WithLabelValues("authority").Set(float64(a.current.cert.NotAfter.Unix()))
	return nil
}

// load reads the Secret. If it was deleted, load creates it again with the authorities that rotate saw last. If it is
// invalid, load replaces its content.
func (c *certs) load(ctx context.Context) (*corev1.Secret, *authorities, error) {
	s := &corev1.Secret{}
	err := c.client.Get(ctx, c.secret, s)
	if err == nil {
		a, bad := readSecret(s)
		if bad == nil {
			return s, a, nil
		}
		c.log.Warn("the authority's secret is invalid and will be replaced", "secret", c.secret, "error", bad)
	} else if !apierrors.IsNotFound(err) {
		return nil, nil, err
	}

	a := c.last
	if a == nil {
		if a, err = c.renewed(); err != nil {
			return nil, nil, err
		}
	}

	if s.ResourceVersion == "" {
		s.ObjectMeta = metav1.ObjectMeta{
			Namespace: c.secret.Namespace, Name: c.secret.Name,
			Labels: map[string]string{"app.kubernetes.io/managed-by": managedBy},
		}
	}
	return s, a, c.store(ctx, s, a)
}

// renewed returns a new authority, without a next or a previous one.
func (c *certs) renewed() (*authorities, error) {
	a, err := newAuthority(c.now())
	return &authorities{current: a}, err
}

// store writes authorities into the Secret s. If s has no resource version, store creates it.
func (c *certs) store(ctx context.Context, s *corev1.Secret, a *authorities) error {
	if err := a.write(s); err != nil {
		return err
	}
	if s.ResourceVersion == "" {
		return c.client.Create(ctx, s, fieldOwner)
	}
	return c.client.Update(ctx, s, fieldOwner)
}

// announce sets the caBundle of every webhook in the configurations to bundle and changes nothing else. announced
// reports whether a has a next authority and all configurations already trusted it before the call.
func (c *certs) announce(ctx context.Context, bundle []byte, a *authorities) (announced bool, err error) {
	announced = a.next != nil
	var errs []error
	for _, name := range c.configurations {
		var have admissionv1.MutatingWebhookConfiguration
		if err := c.client.Get(ctx, client.ObjectKey{Name: name}, &have); err != nil {
			if !apierrors.IsNotFound(err) { // without the configuration no API server calls the webhook
				errs = append(errs, err)
			}
			continue
		}
		if trusts(&have, bundle) {
			continue
		}

		announced = false
		want := ac.MutatingWebhookConfiguration(name)
		for i := range have.Webhooks {
			want.WithWebhooks(ac.MutatingWebhook().WithName(have.Webhooks[i].Name).
				WithClientConfig(ac.WebhookClientConfig().WithCABundle(bundle...)))
		}
		if err := c.client.Apply(ctx, want, fieldOwner, client.ForceOwnership); err != nil {
			errs = append(errs, err)
			continue
		}
		c.log.Info("webhook configuration trusts the authority", "configuration", name)
	}
	return announced, errors.Join(errs...)
}

// checkTrust returns an error while a webhook configuration does not trust the authority that signed the server
// certificate. API servers then reject the certificate, and pods start untapped. This happens if the authority of an
// uninstalled release remains: the replicas use it at once, but only the elected replica writes it to the new
// configurations. After its first success checkTrust always returns nil: rotate handles later changes of trust.
func (c *certs) checkTrust() error {
	leaf := c.served.Load()
	if c.trusted.Load() || leaf == nil {
		return nil
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, name := range c.configurations {
		var have admissionv1.MutatingWebhookConfiguration
		if err := c.client.Get(ctx, client.ObjectKey{Name: name}, &have); apierrors.IsNotFound(err) {
			continue // without the configuration no API server calls the webhook
		} else if err != nil {
			return err
		}
		for i := range have.Webhooks {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(have.Webhooks[i].ClientConfig.CABundle)
			if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: c.now()}); err != nil {
				return fmt.Errorf("webhook configuration %s does not trust the authority yet", name)
			}
		}
	}
	c.trusted.Store(true)
	return nil
}

// trusts reports whether all webhooks of a configuration have this caBundle.
func trusts(have *admissionv1.MutatingWebhookConfiguration, bundle []byte) bool {
	for i := range have.Webhooks {
		if !bytes.Equal(have.Webhooks[i].ClientConfig.CABundle, bundle) {
			return false
		}
	}
	return true
}

package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// Config configures the webhook. The variables that set its fields are in webhook/README.md.
type Config struct {
	// Cluster is the client configuration for the API server.
	Cluster *rest.Config

	// Listen is the address of the HTTPS server of /inject and /annotate, such as ":10250".
	Listen string
	// MetricsListen is the address of the HTTP server of /metrics, /healthz and /readyz.
	MetricsListen string

	// Image is the tap's image. It is required.
	Image string
	// PullPolicy is the tap's imagePullPolicy in pods.
	PullPolicy string
	// ImageCheck restricts injection to images that have run in a pod of the webhook's namespace.
	ImageCheck bool
	// Mode is native or container: how the tap is added to a pod (inject.Mode).
	Mode string
	// Profile is the security profile of the tap (inject.Profile), or auto.
	Profile string
	// TenantMay lists the settings that a namespace may change: annotations, named without inject.Prefix, and the
	// keys enabled, until and mute of its ConfigMap; "*" allows all.
	TenantMay []string
	// Registries lists the registries, each with or without a path, from which a namespace may choose the tap's image.
	Registries []string
	// SharedProcesses makes the webhook tap pods whose containers share a process namespace too.
	SharedProcesses bool
	// DryRuns enables dry runs, which find out which taps a namespace admits.
	DryRuns bool
	// Quota is the policy for taps that a ResourceQuota counts: fit, never or always (inject.QuotaPolicy).
	Quota string
	// QuotaGrowth is the factor by which the number of an owner's pods may grow if no autoscaler bounds it. It is at
	// least 1.
	QuotaGrowth int
	// ClusterName is the name of the cluster in the records; "" means that it is unknown.
	ClusterName string
	// PodOptIn allows pods of any namespace to request a tap by their label.
	PodOptIn bool
	// AllowedAnnotations lists the annotations, without inject.Prefix, that pods may set in addition to the tap's
	// resources; "*" allows all.
	AllowedAnnotations []string
	// Settings is the content of the settings file (inject.ParseSettings); empty: the defaults.
	Settings []byte

	// CertMode is self (the webhook signs its certificate) or files (the certificate is read from CertDir).
	CertMode string
	// CertDir is the directory of tls.crt and tls.key, for the mode files.
	CertDir string
	// CertSecret is the name of the Secret with the webhook's own authority, for the mode self.
	CertSecret string
	// CertHosts lists additional names and addresses in the certificate, for the mode self.
	CertHosts []string
	// Configurations lists the MutatingWebhookConfigurations whose caBundle the webhook writes. Required for the mode self.
	Configurations []string
	// Service is the name of the Service through which the API server calls the webhook. It is required.
	Service string
	// Namespace is the webhook's namespace. It is required.
	Namespace string
	// Pod is the name of the webhook's pod.
	Pod string
	// Lease is the name of the Lease with which the replicas elect a leader.
	Lease string
	// ClientCA is the path of a PEM file with the authority that signs the API server's client certificate. If it is
	// empty, no client certificate is required.
	ClientCA string
	// ClientNames lists common names and DNS names. The client certificate must have one of them. If the list is
	// empty, any name is accepted.
	ClientNames []string
	// Events enables Events on namespaces and on the owners of pods.
	Events bool

	// Version is the webhook's version, for logs, metrics and the status annotation of pods.
	Version string
	Log     *slog.Logger

	// Drain is how long the server continues after ctx has ended. Meanwhile the API servers learn that this
	// replica is gone.
	Drain time.Duration
}

// Values of Config.CertMode.
const (
	certsSelf  = "self"
	certsFiles = "files"
)

// Check returns an error for each invalid field. The error names the variable that sets the field.
func (c *Config) Check() error {
	var errs []error
	bad := func(name, value, expected string) {
		errs = append(errs, fmt.Errorf("%s=%s: expected %s", name, value, expected))
	}
	one := func(name, value string, of ...string) {
		if !slices.Contains(of, value) {
			bad(name, value, strings.Join(of, " or "))
		}
	}

	one("WEBHOOK_MODE", c.Mode, string(inject.Native), string(inject.Container))
	one("WEBHOOK_PROFILE", c.Profile, string(inject.ProfileAuto), string(inject.ProfileDefault), string(inject.ProfileBaseline), string(inject.ProfileRoot), string(inject.ProfileOpenShift))
	one("WEBHOOK_QUOTA", c.Quota, string(inject.QuotaFit), string(inject.QuotaNever), string(inject.QuotaAlways))
	if c.QuotaGrowth < 1 {
		bad("WEBHOOK_QUOTA_GROWTH", strconv.Itoa(c.QuotaGrowth), "1 or more")
	}
	one("WEBHOOK_CERT_MODE", c.CertMode, certsSelf, certsFiles)
	one("WEBHOOK_IMAGE_PULL_POLICY", c.PullPolicy, string(corev1.PullIfNotPresent), string(corev1.PullAlways), string(corev1.PullNever))
	for _, a := range c.AllowedAnnotations {
		one("WEBHOOK_ALLOWED_ANNOTATIONS", a, append(inject.Annotations(), "*")...)
	}
	for _, a := range c.TenantMay {
		one("WEBHOOK_TENANT_MAY", a, append(inject.Annotations(), configEnabled, "mute", "*")...)
	}

	for name, value := range map[string]string{"WEBHOOK_IMAGE": c.Image, "POD_NAMESPACE": c.Namespace, "WEBHOOK_SERVICE_NAME": c.Service} {
		if value == "" {
			bad(name, "", "a name")
		}
	}
	if c.CertMode == certsSelf && len(c.Configurations) == 0 {
		bad("WEBHOOK_CONFIGURATION_NAME", "", "the name of a MutatingWebhookConfiguration")
	}

	if c.ClientCA == "" && len(c.ClientNames) > 0 {
		bad("WEBHOOK_CLIENT_NAMES", strings.Join(c.ClientNames, ","), "WEBHOOK_CLIENT_CA_FILE to be set too")
	}
	if c.ClientCA != "" {
		if _, err := ReadClientCA(c.ClientCA); err != nil {
			errs = append(errs, fmt.Errorf("WEBHOOK_CLIENT_CA_FILE: %w", err))
		}
	}

	if _, err := inject.ParseSettings(c.Settings); err != nil {
		errs = append(errs, fmt.Errorf("WEBHOOK_SETTINGS: %w", err))
	}
	return errors.Join(errs...)
}

// injection returns the configuration for package inject. c must have passed Check.
func (c *Config) injection(serverMinor int) *inject.Config {
	settings, _ := inject.ParseSettings(c.Settings) // Check has already returned any error
	return &inject.Config{
		Settings: settings, Image: c.Image, PullPolicy: corev1.PullPolicy(c.PullPolicy),
		Mode: inject.Mode(c.Mode), Profile: inject.Profile(c.Profile), Cluster: c.ClusterName,
		Allowed: c.AllowedAnnotations, PodOptIn: c.PodOptIn, Own: c.Namespace, Version: c.Version,
		ServerMinor: serverMinor, Quota: inject.QuotaPolicy(c.Quota), QuotaGrowth: c.QuotaGrowth,
		TenantMay: c.TenantMay, Registries: c.Registries, SharedProcesses: c.SharedProcesses,
	}
}

// Run runs the webhook until ctx ends. cfg must have passed Check.
func Run(ctx context.Context, cfg Config) error {
	ctrllog.SetLogger(logr.FromSlogHandler(quieter{cfg.Log.Handler()}))
	klog.SetSlogLogger(cfg.Log)
	buildInfo.WithLabelValues(cfg.Version).Set(1)
	serverMinor, err := serverVersion(ctx, cfg.Cluster, cfg.Log)
	if err != nil {
		return err
	}
	w, err := assemble(cfg, serverMinor)
	if err != nil {
		return err
	}
	cfg.Log.Info("webhook starts", "version", cfg.Version, "image", cfg.Image, "server", fmt.Sprintf("1.%d", serverMinor), "config", w.cfg.Hash())
	return w.mgr.Start(ctx)
}

// quieter drops controller-runtime's records at level info, unless the level debug is enabled.
type quieter struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q quieter) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, level) && (level >= slog.LevelWarn || q.Handler.Enabled(ctx, slog.LevelDebug))
}

// WithAttrs implements slog.Handler.
func (q quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{q.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (q quieter) WithGroup(name string) slog.Handler { return quieter{q.Handler.WithGroup(name)} }

// serverVersion returns the minor version of the API server. It retries until the API server answers or ctx ends.
func serverVersion(ctx context.Context, cluster *rest.Config, log *slog.Logger) (int, error) {
	cluster = rest.CopyConfig(cluster)
	cluster.Timeout = 10 * time.Second
	d, err := discovery.NewDiscoveryClientForConfig(cluster)
	if err != nil {
		return 0, err
	}

	for {
		v, err := d.ServerVersion()
		if err == nil {
			m, ok := minor(v.Major + "." + v.Minor)
			if !ok {
				return 0, fmt.Errorf("unsupported API server version %s.%s: expected 1.x", v.Major, v.Minor)
			}
			return m, nil
		}
		log.Warn("API server does not answer", "error", err)
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
}

// mostQuotaWait bounds how long the creation of a pod waits for the data that decides whether a tap fits
// the namespace's quotas. Without that data the pod gets no tap.
const mostQuotaWait = time.Second

// decide returns the function that an endpoint calls to decide about one pod; act makes the decision. quotas reports
// whether the decision depends on the namespace's quotas.
func (w *webhook) decide(act func(*inject.Config, *inject.Namespace, []byte, time.Time) inject.Result, quotas bool) func(context.Context, *review) inject.Result {
	return func(ctx context.Context, r *review) inject.Result {
		ns, err := w.namespaces.of(ctx, r.Request.Namespace)
		if err != nil {
			return inject.Result{Reason: inject.ReasonNamespaceUnknown, Detail: err.Error()}
		}
		if profile, noNative, ok := dryRunProfile(r); ok {
			r.ownDryRun = true
			view := neutral(ns)
			view.NoNative = noNative
			return act(withProfile(w.cfg, profile), view, r.Request.Object, w.namespaces.now())
		}

		// A pod that would be skipped in any case needs no dry run.
		result := act(w.cfg, ns, r.Request.Object, w.namespaces.now())
		if result.Reason != inject.Injected {
			return result
		}

		a, err := w.dryRuns.of(ctx, ns)
		if err != nil {
			a = refuseAll(err)
		}
		a.fillIn(ns)
		if quotas {
			in, cancel := context.WithTimeout(ctx, mostQuotaWait)
			defer cancel()
			w.quotas.fillIn(in, ns)
		}
		return act(w.cfg, ns, r.Request.Object, w.namespaces.now())
	}
}

// refuseAll returns an admission that refuses all profiles: because of err it is unknown which ones the namespace
// admits.
func refuseAll(err error) *admission {
	a := &admission{refusals: map[inject.Profile]string{}}
	for _, p := range inject.Profiles() {
		a.refusals[p] = "it is not known yet whether the namespace admits a tap: " + err.Error()
	}
	return a
}

// webhook holds the connected parts of the webhook.
type webhook struct {
	cfg        *inject.Config
	mgr        manager.Manager
	namespaces *namespaces
	dryRuns    *dryRuns
	quotas     *quotas
	images     *images
	events     *events
}

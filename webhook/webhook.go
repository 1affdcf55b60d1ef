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

// Config says how the webhook runs; README.md says what each means, by its variable.
type Config struct {
	Cluster *rest.Config

	Listen, MetricsListen string

	Image, PullPolicy  string
	ImageCheck         bool
	Mode, Profile      string
	TenantMay          []string // what a namespace may change: annotations, and keys of its ConfigMap
	Registries         []string // that a namespace may choose an image from
	SharedProcesses    bool
	DryRuns            bool
	Quota              string
	QuotaGrowth        int
	ClusterName        string
	PodOptIn           bool
	AllowedAnnotations []string
	Settings           []byte // the settings file, empty for the defaults

	CertMode, CertDir, CertSecret string
	CertHosts                     []string
	Configurations                []string
	Service, Namespace, Pod       string
	Lease                         string
	ClientCA                      string   // PEM file of who signs the API server's client certificate; "": nobody is asked for one
	ClientNames                   []string // names that it has to have one of; empty: any
	Events                        bool

	Version string
	Log     *slog.Logger

	// Drain is how long the server goes on after it is told to end, so that no API server
	// calls one that is gone.
	Drain time.Duration
}

// Values of Config.CertMode.
const (
	certsSelf  = "self"
	certsFiles = "files"
)

// Check returns what of the configuration cannot be used, each fault by its variable.
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
		bad("WEBHOOK_CLIENT_NAMES", strings.Join(c.ClientNames, ","), "WEBHOOK_CLIENT_CA_FILE with it")
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

// injection is the part of the configuration that decides on pods.
func (c *Config) injection(serverMinor int) *inject.Config {
	settings, _ := inject.ParseSettings(c.Settings) // checked
	return &inject.Config{
		Settings: settings, Image: c.Image, PullPolicy: corev1.PullPolicy(c.PullPolicy),
		Mode: inject.Mode(c.Mode), Profile: inject.Profile(c.Profile), Cluster: c.ClusterName,
		Allowed: c.AllowedAnnotations, PodOptIn: c.PodOptIn, Own: c.Namespace, Version: c.Version,
		ServerMinor: serverMinor, Quota: inject.QuotaPolicy(c.Quota), QuotaGrowth: c.QuotaGrowth,
		TenantMay: c.TenantMay, Registries: c.Registries, SharedProcesses: c.SharedProcesses,
	}
}

// Run serves until ctx ends. The configuration has been checked.
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

// quieter passes what controller-runtime says for information on only where debugging is on.
type quieter struct{ slog.Handler }

// Enabled is slog.Handler's.
func (q quieter) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, level) && (level >= slog.LevelWarn || q.Handler.Enabled(ctx, slog.LevelDebug))
}

// WithAttrs is slog.Handler's.
func (q quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{q.Handler.WithAttrs(attrs)}
}

// WithGroup is slog.Handler's.
func (q quieter) WithGroup(name string) slog.Handler { return quieter{q.Handler.WithGroup(name)} }

// serverVersion asks the API server for its minor version, for as long as it takes.
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
				return 0, fmt.Errorf("API server of version %s.%s", v.Major, v.Minor)
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

// mostQuotaWait bounds the wait of a pod's creation for the data that decides whether a tap fits into
// quotas. Without that data the pod gets no tap.
const mostQuotaWait = time.Second

// decide is the endpoint's decision on one pod; quotas is whether it depends on them.
func (w *webhook) decide(act func(*inject.Config, *inject.Namespace, []byte, time.Time) inject.Result, quotas bool) func(context.Context, *review) inject.Result {
	return func(ctx context.Context, r *review) inject.Result {
		ns, err := w.namespaces.of(ctx, r.Request.Namespace)
		if err != nil {
			return inject.Result{Reason: reasonUnknown, Detail: err.Error()}
		}
		if profile, noNative, ok := dryRunProfile(r); ok {
			r.ownDryRun = true
			view := neutral(ns)
			view.NoNative = noNative
			return act(withProfile(w.cfg, profile), view, r.Request.Object, w.namespaces.now())
		}
		// What is skipped anyhow needs no dry run.
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

// refuseAll refuses all profiles: nobody knows whether the pod would be.
func refuseAll(err error) *admission {
	a := &admission{refusals: map[inject.Profile]string{}}
	for _, p := range inject.Profiles() {
		a.refusals[p] = "it is not known yet whether the namespace admits it: " + err.Error()
	}
	return a
}

// webhook is all parts, wired.
type webhook struct {
	cfg        *inject.Config
	mgr        manager.Manager
	namespaces *namespaces
	dryRuns    *dryRuns
	quotas     *quotas
	images     *images
	events     *events
}

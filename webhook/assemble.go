package webhook

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// The periods of the loops. A nudge makes a loop run before its period has passed.
const (
	certsEvery  = 20 * time.Second
	imagesEvery = 20 * time.Second
	nodesEvery  = 5 * time.Minute
	countEvery  = 5 * time.Minute
)

// policiesMinor is the first minor version of Kubernetes with ValidatingAdmissionPolicy in v1.
const policiesMinor = 30

// assemble creates the manager with all controllers, loops and servers of the webhook.
func assemble(cfg Config, serverMinor int) (*webhook, error) {
	w := &webhook{cfg: cfg.injection(serverMinor), events: &events{}}
	server := &server{listen: cfg.Listen, drain: cfg.Drain, log: cfg.Log}
	if cfg.ClientCA != "" {
		server.clients = &clients{file: cfg.ClientCA, names: cfg.ClientNames}
	}

	mgr, err := newManager(cfg, w.cfg, server)
	if err != nil {
		return nil, err
	}
	w.mgr = mgr
	if cfg.Events {
		w.events.recorder = mgr.GetEventRecorder("meshtls-tap")
	}

	nodes := &nodes{live: mgr.GetAPIReader()}
	w.images = &images{
		client: mgr.GetClient(), cfg: w.cfg, check: cfg.ImageCheck, owner: ownerOf(mgr.GetClient(), cfg.Configurations), log: cfg.Log, now: time.Now,
		usage: map[string]string{}, ran: map[string]string{}, failed: map[string]types.UID{},
	}

	w.namespaces = &namespaces{
		cached: mgr.GetClient(), live: mgr.GetAPIReader(), cfg: w.cfg, images: w.images, nodes: nodes, now: time.Now,
		durations: &durations{cached: mgr.GetClient(), own: cfg.Namespace, name: *w.cfg.Settings.ConfigMap},
	}
	w.dryRuns = newDryRuns(mgr.GetClient(), mgr.GetAPIReader(), w.cfg, cfg.DryRuns, cfg.Log)
	w.quotas = &quotas{cached: mgr.GetClient(), live: mgr.GetAPIReader(), cfg: w.cfg, nodes: nodes, turns: map[string]*turns{}}

	if err := w.control(cfg, serverMinor, nodes); err != nil {
		return nil, err
	}
	err = w.serve(cfg, server)
	return w, err
}

// control adds the controllers and the loops to the manager.
func (w *webhook) control(cfg Config, serverMinor int, nodes *nodes) error {
	dryRunner := &dryRunner{client: w.mgr.GetClient(), namespaces: w.namespaces, dryRuns: w.dryRuns, again: map[string]int{}}
	if err := dryRunner.register(w.mgr, cfg.Configurations, serverMinor >= policiesMinor); err != nil {
		return err
	}

	expiry := &expiry{client: w.mgr.GetClient(), namespaces: w.namespaces, events: w.events, log: cfg.Log}
	if err := expiry.register(w.mgr); err != nil {
		return err
	}

	podCounter := &podCounter{
		client: w.mgr.GetClient(), live: w.mgr.GetAPIReader(), cfg: w.cfg, namespaces: w.namespaces, dryRuns: w.dryRuns, quotas: w.quotas, events: w.events, log: cfg.Log,
	}

	loops := []*loop{
		newLoop("reading nodes", false, nodesEvery, cfg.Log, nodes.poll),
		newLoop("counting pods", true, countEvery, cfg.Log, podCounter.countAll),
	}
	if cfg.ImageCheck {
		images := newLoop("trying images", false, imagesEvery, cfg.Log, w.tryImages)
		if err := w.nudgeOn(&corev1.Pod{}, images); err != nil {
			return err
		}
		loops = append(loops, images)
	}

	for _, l := range loops {
		if err := w.mgr.Add(l); err != nil {
			return err
		}
	}
	return nil
}

// tryImages reads which images have run, and tries the requested ones that have not.
func (w *webhook) tryImages(ctx context.Context) error {
	if err := w.images.follow(ctx); err != nil {
		return err
	}
	var list corev1.NamespaceList
	if err := w.mgr.GetClient().List(ctx, &list, client.MatchingLabels{inject.Label: inject.Enabled}); err != nil {
		return err
	}
	return w.images.try(ctx, wanted(w.cfg, list.Items))
}

// proven returns an error as long as the tap's image has not run.
func (w *webhook) proven() error {
	if !w.images.proven() {
		return fmt.Errorf("image %s was not seen to run yet", w.cfg.Image)
	}
	return nil
}

// serve adds the admission server and the loops of its certificate to the manager.
func (w *webhook) serve(cfg Config, s *server) error {
	mux := http.NewServeMux()
	mux.Handle("/inject", newEndpoint("/inject", cfg.Log, w.decide(inject.Tap, true), w.events.pod))
	mux.Handle("/annotate", newEndpoint("/annotate", cfg.Log, w.decide(inject.Annotate, false), nil))
	s.handler = mux
	s.more = w.proven

	if cfg.CertMode == certsFiles {
		watcher, err := certwatcher.New(cfg.CertDir+"/tls.crt", cfg.CertDir+"/tls.key")
		if err != nil {
			return err
		}
		s.certificate = watcher.GetCertificate
		return join(w.mgr.Add(everywhere{watcher}), w.mgr.Add(s))
	}

	certs := &certs{
		client: w.mgr.GetClient(), secret: client.ObjectKey{Namespace: cfg.Namespace, Name: cfg.CertSecret},
		configurations: cfg.Configurations, hosts: serviceHosts(cfg.Service, cfg.Namespace, cfg.CertHosts), log: cfg.Log, now: time.Now,
	}
	s.certificate = certs.GetCertificate
	s.more = func() error { return cmp.Or(w.proven(), certs.checkTrust()) }

	serving := newLoop("signing the certificate", false, certsEvery, cfg.Log, certs.serve)
	rotating := newLoop("rotating the authority", true, certsEvery, cfg.Log, certs.rotate)
	return join(
		w.nudgeOn(&corev1.Secret{}, serving, rotating), w.nudgeOn(&admissionv1.MutatingWebhookConfiguration{}, rotating),
		w.mgr.Add(serving), w.mgr.Add(rotating), w.mgr.Add(s),
	)
}

// join returns the first error that is not nil.
func join(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// everywhere makes a Runnable run on every replica, not only on the elected one.
type everywhere struct{ manager.Runnable }

// NeedLeaderElection returns false.
func (everywhere) NeedLeaderElection() bool { return false }

// nudgeOn nudges the loops whenever an object of a kind changes.
func (w *webhook) nudgeOn(kind client.Object, loops ...*loop) error {
	informer, err := w.mgr.GetCache().GetInformer(context.Background(), kind, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	nudge := func(any) {
		for _, l := range loops {
			l.nudge()
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: nudge, UpdateFunc: func(_, o any) { nudge(o) }, DeleteFunc: nudge,
	})
	return err
}

// newManager returns a manager whose caches are restricted to the objects that the webhook reads.
func newManager(cfg Config, injection *inject.Config, s *server) (manager.Manager, error) {
	cluster := rest.CopyConfig(cfg.Cluster)
	cluster.QPS, cluster.Burst = 200, 400 // requests per second, and in a burst, for each kind of object
	enforceBudgets(cluster)
	cluster.UserAgent = "meshtls-tap-webhook/" + cfg.Version
	cluster.WarningHandler = rest.NoWarnings{} // responses to dry runs have warnings about the tap, which are not logged

	own := func(by cache.Config) map[string]cache.Config { return map[string]cache.Config{cfg.Namespace: by} }
	grace := cfg.Drain + 10*time.Second
	return manager.New(cluster, manager.Options{
		LeaderElection: true, LeaderElectionID: cfg.Lease, LeaderElectionNamespace: cfg.Namespace, LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout: &grace,
		Metrics: metricsserver.Options{
			BindAddress:   cfg.MetricsListen,
			ExtraHandlers: map[string]http.Handler{"/healthz": http.HandlerFunc(s.healthz), "/readyz": http.HandlerFunc(s.readyz)},
		},
		Client: client.Options{Cache: &client.CacheOptions{}},
		Cache: cache.Options{
			DefaultTransform: strip,
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Secret{}:    {Namespaces: own(cache.Config{FieldSelector: fields.OneTermEqualSelector("metadata.name", cfg.CertSecret)})},
				&corev1.Pod{}:       {Namespaces: own(cache.Config{LabelSelector: labels.SelectorFromSet(labels.Set{labelComponent: componentImage})})},
				&corev1.Event{}:     {Field: fields.OneTermEqualSelector("reason", "FailedCreate"), Transform: stripEvent},
				&corev1.ConfigMap{}: {Field: fields.OneTermEqualSelector("metadata.name", *injection.Settings.ConfigMap), Transform: whole},
			},
		},
	})
}

// whole returns an object unchanged: ownKeys reads its managed fields.
func whole(o any) (any, error) { return o, nil }

// strip removes the managed fields, which take much memory.
func strip(o any) (any, error) {
	if m, ok := o.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	return o, nil
}

// stripEvent reduces an Event to the fields that refusedTap and storeRefusal need.
func stripEvent(o any) (any, error) {
	if e, ok := o.(*corev1.Event); ok {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name, UID: e.UID, ResourceVersion: e.ResourceVersion},
			Reason:     e.Reason, Message: e.Message,
		}, nil
	}
	return o, nil
}

// ownerOf returns a function that returns the owner reference for pods that try images. The owner is the first of the
// webhook configurations, so that Kubernetes deletes the pods when the configuration is deleted. The function returns
// nil if the configuration does not exist.
func ownerOf(c client.Reader, configurations []string) func(context.Context) *metav1.OwnerReference {
	return func(ctx context.Context) *metav1.OwnerReference {
		var own admissionv1.MutatingWebhookConfiguration
		if len(configurations) == 0 || c.Get(ctx, client.ObjectKey{Name: configurations[0]}, &own) != nil {
			return nil
		}
		return &metav1.OwnerReference{
			APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "MutatingWebhookConfiguration", Name: own.Name, UID: own.UID,
		}
	}
}

package inject

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// TestQuotaScopes: a quota affects only the pods that it counts.
func TestQuotaScopes(t *testing.T) {
	const (
		sized      = `resources: {requests: {cpu: 50m, memory: 50Mi}, limits: {cpu: 100m, memory: 100Mi}}`
		full       = `hard: {requests.cpu: 50m}`
		terminated = `activeDeadlineSeconds: 60, `
		high       = `priorityClassName: high, `
		crossing   = `affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: x, namespaces: [a]}}]}}, `
		near       = `affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: x}]}}, `
	)
	selector := func(e string) string { return full + ", scopeSelector: {matchExpressions: [" + e + "]}" }
	for name, c := range map[string]struct {
		spec, container, quota string
		refused                string // a part of the reason
	}{
		"no scope":                 {"", sized, full, "quota q has 50m of requests.cpu left"},
		"nothing of the tap's":     {"", sized, `hard: {pods: "1", services: "1", requests.nvidia.com/gpu: "0"}`, ""},
		"terminating, and is":      {terminated, sized, full + ", scopes: [Terminating]", "50m"},
		"terminating, and is not":  {"", sized, full + ", scopes: [Terminating]", ""},
		"not terminating":          {terminated, sized, full + ", scopes: [NotTerminating]", ""},
		"not best effort":          {"", sized, full + ", scopes: [NotBestEffort]", "50m"},
		"best effort, and is not":  {"", sized, `hard: {pods: "1"}, scopes: [BestEffort]`, ""},
		"best effort, and is":      {"", "", `hard: {pods: "9"}, scopes: [BestEffort]`, "counts BestEffort pods separately"},
		"best effort by selector":  {"", "", `hard: {pods: "9"}, scopeSelector: {matchExpressions: [{scopeName: NotBestEffort, operator: Exists}]}`, "counts BestEffort pods separately"},
		"two scopes, one matches":  {"", sized, full + ", scopes: [NotBestEffort, Terminating]", ""},
		"of its class":             {high, sized, selector("{scopeName: PriorityClass, operator: In, values: [high]}"), "50m"},
		"not of its class":         {high, sized, selector("{scopeName: PriorityClass, operator: NotIn, values: [high]}"), ""},
		"of any class":             {"", sized, selector("{scopeName: PriorityClass, operator: Exists}"), ""},
		"of no class":              {"", sized, selector("{scopeName: PriorityClass, operator: DoesNotExist}"), "50m"},
		"crossing namespaces":      {crossing, sized, selector("{scopeName: CrossNamespacePodAffinity, operator: Exists}"), "50m"},
		"within its namespace":     {near, sized, selector("{scopeName: CrossNamespacePodAffinity, operator: Exists}"), ""},
		"a scope of the future":    {"", sized, full + ", scopes: [Later]", "50m"},
		"resources of the pod":     {"resources: {requests: {cpu: 50m}}, ", sized, full, ""},
		"a line that nobody knows": {"", sized, `hard: {requests.cpu: 50m, memory: 64Ei}`, "50m"},
	} {
		t.Run(name, func(t *testing.T) {
			s := scene{pod: `{metadata: {}, spec: {` + c.spec + `containers: [{name: a, image: a, ` + c.container + `}]}}`}
			cfg, ns, raw := s.set(t)
			var q corev1.ResourceQuota
			if err := yaml.Unmarshal([]byte(`{metadata: {name: q}, spec: {`+c.quota+`}}`), &q); err != nil {
				t.Fatal(err)
			}
			q.Status.Used = corev1.ResourceList{}
			for key := range q.Spec.Hard {
				q.Status.Used[key] = resource.MustParse("0")
			}
			ns.Quotas = []corev1.ResourceQuota{q}
			got := Tap(cfg, ns, raw, noon)
			if c.refused == "" && got.Reason != Injected || c.refused != "" && (got.Reason != ReasonQuota || !strings.Contains(got.Detail, c.refused)) {
				t.Errorf("%q: %s; want %q", got.Reason, got.Detail, c.refused)
			}
		})
	}
}

// TestQuotaInDoubt: if an amount is unknown or cannot be counted, the pod gets no tap.
func TestQuotaInDoubt(t *testing.T) {
	quota := func(used corev1.ResourceList, hard string) []corev1.ResourceQuota {
		q := corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"limits.memory": resource.MustParse(hard)}}}
		q.Name, q.Status.Used = "q", used
		return []corev1.ResourceQuota{q}
	}
	none := corev1.ResourceList{"limits.memory": resource.MustParse("0")}
	huge, err := ShapeOf(&corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: corev1.ResourceRequirements{
		Limits: corev1.ResourceList{"memory": resource.MustParse("7Ei"), "cpu": resource.MustParse("9e18")},
	}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ns   func(*Namespace)
		want string
	}{
		"all is known":     {func(ns *Namespace) { ns.Quotas = quota(none, "100Gi") }, ""},
		"not counted yet":  {func(ns *Namespace) { ns.Quotas = quota(nil, "100Gi") }, "quota q has no usage yet"},
		"owners not known": {func(ns *Namespace) { ns.Quotas, ns.DemandError = quota(none, "100Gi"), "timeout" }, "timeout"},
		"used more than there": {func(ns *Namespace) {
			ns.Quotas = quota(corev1.ResourceList{"limits.memory": resource.MustParse("2Gi")}, "1Gi")
		}, "0 of limits.memory left"},
		"more than int64 holds": {func(ns *Namespace) {
			ns.Quotas, ns.Demand = quota(none, "7Ei"), []Demand{{UIDs: []string{"x"}, Missing: 1 << 30, Pod: huge}}
		}, "left, and the pods that are being created"},
	} {
		t.Run(name, func(t *testing.T) {
			s := scene{pod: plain, ns: c.ns}
			cfg, ns, raw := s.set(t)
			got := Tap(cfg, ns, raw, noon)
			if c.want == "" && got.Reason != Injected || c.want != "" && (got.Reason != ReasonQuota || !strings.Contains(got.Detail, c.want)) {
				t.Errorf("%q: %s; want %q", got.Reason, got.Detail, c.want)
			}
		})
	}
}

// TestShapeDefaults: the shape of a template has the resources that its pods will have.
func TestShapeDefaults(t *testing.T) {
	ranges := []corev1.LimitRangeItem{{Type: corev1.LimitTypePod}, {Type: corev1.LimitTypeContainer, DefaultRequest: amounts("100m", "1Mi"), Default: amounts("1", "1Gi")}}
	for _, c := range []struct {
		requests, limits           corev1.ResourceList
		cpu, memory, cpuLimit, mem string
	}{
		{nil, nil, "100m", "1Mi", "1", "1Gi"},
		{amounts("7m", "7Mi"), nil, "7m", "7Mi", "1", "1Gi"},
		{nil, amounts("2", "2Gi"), "2", "2Gi", "2", "2Gi"},
	} {
		s, err := ShapeOf(&corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: corev1.ResourceRequirements{Requests: c.requests, Limits: c.limits}}}}, ranges)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			name   corev1.ResourceName
			limits bool
			want   string
		}{{"cpu", false, c.cpu}, {"memory", false, c.memory}, {"cpu", true, c.cpuLimit}, {"memory", true, c.mem}} {
			if got := s.pod.total(x.name, x.limits); got.Cmp(resource.MustParse(x.want)) != 0 {
				t.Errorf("%v %v: %s %t is %s, want %s", c.requests, c.limits, x.name, x.limits, &got, x.want)
			}
		}
	}
	if _, err := ShapeOf(&corev1.PodSpec{}, nil); err == nil {
		t.Error("no error for a template without containers")
	}
}

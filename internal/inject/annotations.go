package inject

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
)

// Prefix is the prefix of all annotations of the product.
const Prefix = "meshtls-tap/"

// Annotations, without Prefix.
const (
	AnnotationStatus      = "status" // the webhook writes it: Status as JSON
	AnnotationDryRun      = "probe"  // only the webhook's own dry runs have it
	AnnotationUntil       = "until"
	AnnotationDuration    = "duration"
	annotationFilter      = "filter"
	annotationExpect      = "expect"
	annotationMesh        = "mesh"
	annotationEmit        = "emit"
	AnnotationImage       = "image"
	annotationMode        = "mode"
	AnnotationProfile     = "profile"
	annotationExcludePort = "exclude-kafka-port"
	annotationCPURequest  = "cpu-request"
	annotationCPULimit    = "cpu-limit"
	annotationMemRequest  = "memory-request"
	annotationMemLimit    = "memory-limit"
)

// checks maps each annotation, without Prefix, to a function that checks its value. The function's error describes the
// expected value. The functions must refuse every value that the tap rejects, because the tap would not start.
var checks = map[string]func(string) error{
	AnnotationUntil:       checkUntil,
	AnnotationDuration:    checkDuration,
	annotationFilter:      checkFilter,
	annotationExpect:      checkExpect,
	annotationMesh:        oneOf("osm", "istio", "istio_ambient", "linkerd", "consul", "kuma"),
	annotationEmit:        checkEmit,
	AnnotationImage:       checkImage,
	annotationMode:        oneOf(string(Native), string(Container)),
	AnnotationProfile:     oneOf(string(ProfileDefault), string(ProfileBaseline), string(ProfileRoot), string(ProfileOpenShift)),
	annotationExcludePort: oneOf("true", "false"),
	annotationCPURequest:  atLeast(annotationCPURequest),
	annotationCPULimit:    atLeast(annotationCPULimit),
	annotationMemRequest:  atLeast(annotationMemRequest),
	annotationMemLimit:    atLeast(annotationMemLimit),
}

// tenants lists the annotations that every namespace and pod may set, because they cannot blind the tap.
var tenants = []string{annotationCPURequest, annotationCPULimit, annotationMemRequest, annotationMemLimit}

// Annotations returns the names, without Prefix, that a pod may be allowed to set.
func Annotations() []string { return slices.Sorted(maps.Keys(checks)) }

// choices are the effective annotations, without Prefix.
type choices map[string]string

// choose merges the annotations that the namespace and the pod may set. The pod's values take precedence. It warns
// about annotations that it ignores.
func (r *run) choose() {
	c := r.cfg
	r.choices, r.own, r.theirs = choices{}, choices{}, choices{}
	r.copyAllowed(r.theirs, r.ns.Annotations, "namespace", c.NamespaceMay)
	if image, ok := r.theirs[AnnotationImage]; ok && !c.AllowsImage(image) {
		r.warn("image %s is ignored: its registry is not allowed", short(image))
		delete(r.theirs, AnnotationImage)
	}
	maps.Copy(r.choices, r.theirs)
	r.copyAllowed(r.own, r.pod.Metadata.Annotations, "pod", func(key string) bool {
		return slices.Contains(tenants, key) || slices.Contains(c.Allowed, key) || slices.Contains(c.Allowed, "*")
	})
	maps.Copy(r.choices, r.own)
}

// NamespaceMay reports whether a namespace may set an annotation, without Prefix.
func (c *Config) NamespaceMay(key string) bool {
	return slices.Contains(tenants, key) || slices.Contains(c.TenantMay, key) || slices.Contains(c.TenantMay, "*")
}

// AllowsImage reports whether a namespace may choose an image: the configured one, or one from a registry
// in c.Registries.
func (c *Config) AllowsImage(image string) bool { return image == c.Image || c.listed(image) }

// listed reports whether an image is from a registry in c.Registries.
func (c *Config) listed(image string) bool {
	return slices.ContainsFunc(c.Registries, func(registry string) bool {
		return registry != "" && strings.HasPrefix(image, strings.TrimSuffix(registry, "/")+"/")
	})
}

// copyAllowed copies to out the annotations that are valid and for which may returns true. It warns about the others;
// whose is "namespace" or "pod".
func (r *run) copyAllowed(out choices, from map[string]string, whose string, may func(string) bool) {
	for _, name := range slices.Sorted(maps.Keys(from)) {
		key, ours := strings.CutPrefix(name, Prefix)
		if !ours || key == AnnotationStatus || key == AnnotationDryRun {
			continue
		}
		check, known := checks[key]
		switch {
		case !known:
			r.warn("%s annotation %s is not known", whose, short(name))
		case !may(key):
			r.warn("%s annotation %s is ignored: %ss may not set it", whose, name, whose)
		default:
			if err := check(from[name]); err != nil {
				r.warn("%s annotation %s=%s is ignored: %v", whose, name, short(from[name]), err)
				continue
			}
			out[key] = from[name]
		}
	}
}

// maxWarning bounds the length of a warning, in bytes. The API server truncates warnings of more than 256 bytes
// (k8s.io/api admission/v1).
const maxWarning = 250

// warn adds a warning for the creator of the pod.
func (r *run) warn(format string, values ...any) {
	text := "meshtls-tap: " + strings.ToValidUTF8(fmt.Sprintf(format, values...), "?")
	if len(text) > maxWarning {
		text = strings.ToValidUTF8(text[:maxWarning-3], "") + "..."
	}
	r.result.Warnings = append(r.result.Warnings, text)
}

// short quotes text that somebody else wrote, for use in a message. It truncates the text to 60 bytes.
func short(text string) string {
	const most = 60
	text = strings.ToValidUTF8(text, "?")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return strconv.QuoteToGraphic(text)
}

func oneOf(values ...string) func(string) error {
	return func(v string) error {
		if slices.Contains(values, v) {
			return nil
		}
		return errors.New("expected " + strings.Join(values, " or "))
	}
}

func checkUntil(v string) error {
	if _, err := time.Parse(time.RFC3339, v); err != nil {
		return errors.New("expected an RFC 3339 time such as 2026-01-31T12:00:00Z")
	}
	return nil
}

func checkDuration(v string) error {
	if d, err := time.ParseDuration(v); err != nil || d <= 0 {
		return errors.New("expected a duration such as 90m")
	}
	return nil
}

// maxText bounds the values of annotations that become variables of the tap, in bytes.
const maxText = 2048

// checkFilter accepts the values that TAP_FILTER accepts.
func checkFilter(v string) error {
	if strings.TrimSpace(v) == "" || len(v) > maxText {
		return fmt.Errorf("expected a filter of at most %d characters", maxText)
	}
	if pcapfilter.IsProgram(v) {
		_, err := pcapfilter.ParseProgram(v)
		return err
	}
	_, err := pcapfilter.Parse(v)
	return err
}

func checkEmit(v string) error {
	for item := range strings.SplitSeq(v, ",") {
		if !slices.Contains([]string{"findings", "posture", "flows"}, strings.TrimSpace(item)) {
			return errors.New("expected a list of findings, posture, flows")
		}
	}
	return nil
}

func checkImage(v string) error {
	if v == "" || len(v) > 512 || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("expected the name of an image")
	}
	return nil
}

// checkExpect accepts the values that TAP_EXPECT accepts (internal/finding; a test compares the two).
func checkExpect(v string) error {
	expected := errors.New("expected a list of CIDR[:PORT]=mtls|tls|any, an IPv6 CIDR in brackets when a port follows")
	if len(v) > maxText {
		return expected
	}
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		peer, want, _ := strings.Cut(item, "=")
		if oneOf("mtls", "tls", "any")(strings.TrimSpace(want)) != nil || checkPeer(strings.TrimSpace(peer)) != nil {
			return expected
		}
	}
	return nil
}

// checkPeer returns an error unless v is CIDR[:PORT], or [CIDR]:PORT for IPv6.
func checkPeer(v string) error {
	cidr, port, hasPort := v, "", false
	if rest, ok := strings.CutPrefix(v, "["); ok {
		if cidr, port, ok = strings.Cut(rest, "]"); !ok {
			return errors.New("no closing bracket")
		}
		if hasPort = port != ""; hasPort {
			if port, ok = strings.CutPrefix(port, ":"); !ok {
				return errors.New("no port after the bracket")
			}
		}
	} else if strings.Count(v, ":") == 1 {
		cidr, port, hasPort = strings.Cut(v, ":")
	}

	if hasPort {
		if _, err := parsePort(port); err != nil {
			return err
		}
	}

	if a, err := netip.ParseAddr(cidr); err == nil && a.Zone() == "" {
		return nil
	}
	prefix, err := netip.ParsePrefix(cidr)
	if err == nil && prefix != prefix.Masked() {
		err = errors.New("address bits after the prefix length")
	}
	return err
}

func parsePort(v string) (uint16, error) {
	n, err := strconv.ParseUint(v, 10, 16)
	if err == nil && n == 0 {
		err = errors.New("port 0")
	}
	return uint16(n), err
}

// floors lists the smallest resources that a tap may have. With less CPU it would miss packets; with less memory it
// would be killed repeatedly.
var floors = []struct {
	annotation, what, resource string
	least                      resource.Quantity
}{
	{annotationCPURequest, "requests", "cpu", resource.MustParse("1m")},
	{annotationCPULimit, "limits", "cpu", resource.MustParse("20m")},
	{annotationMemRequest, "requests", "memory", resource.MustParse("8Mi")},
	{annotationMemLimit, "limits", "memory", resource.MustParse("48Mi")},
}

func atLeast(annotation string) func(string) error {
	return func(v string) error {
		for _, f := range floors {
			if f.annotation != annotation {
				continue
			}
			if q, err := resource.ParseQuantity(v); err != nil || q.Cmp(f.least) < 0 {
				return fmt.Errorf("expected a quantity of at least %s", &f.least)
			}
		}
		return nil
	}
}

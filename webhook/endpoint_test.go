package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

const uid = "705ab4f5-6393-11e8-b7cc-42010a800002"

// reviewOf returns a review of a pod as an API server sends it. more contains further members of the request.
func reviewOf(pod string, more string) string {
	return fmt.Sprintf(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":%q,
"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},
"namespace":"shop","operation":"CREATE"%s,"object":%s}}`, uid, more, pod)
}

// asks posts a body and returns the response. It fails if the response has unknown fields or refuses the pod.
func asks(t testing.TB, h http.Handler, body io.Reader, contentType string) *admissionv1.AdmissionResponse {
	t.Helper()
	q := httptest.NewRequest(http.MethodPost, "/inject?timeout=3s", body)
	q.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var a admissionv1.AdmissionReview
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		t.Fatal(err)
	}
	if a.Kind != "AdmissionReview" || a.APIVersion != "admission.k8s.io/v1" || a.Response == nil || a.Request != nil {
		t.Fatalf("no response: %+v", a)
	}
	if !a.Response.Allowed {
		t.Fatalf("refused: %+v", a.Response)
	}
	return a.Response
}

// tapAll taps every pod.
func tapAll(_ context.Context, r *review) inject.Result {
	settings, _ := inject.ParseSettings(nil)
	cfg := &inject.Config{Settings: settings, Image: "tap:1"}
	ns := &inject.Namespace{Name: r.Request.Namespace, Labels: map[string]string{inject.Label: inject.Enabled}}
	return inject.Tap(cfg, ns, r.Request.Object, time.Unix(0, 0))
}

const aPod = `{"metadata":{},"spec":{"containers":[{"name":"a","image":"a"}]}}`

// TestAlwaysAllowed: for every body and after every error the pod is allowed, and the response has the uid of the request
// if it could be read.
func TestAlwaysAllowed(t *testing.T) {
	big := reviewOf(`{"metadata":{},"spec":{"containers":[{"name":"a","image":"`+strings.Repeat("x", maxBody)+`"}]}}`, "")
	quiet := slog.New(slog.DiscardHandler)
	for name, c := range map[string]struct {
		body    io.Reader
		content string
		decide  func(context.Context, *review) inject.Result
		uid     string
		patched bool
	}{
		"a pod":                  {body: strings.NewReader(reviewOf(aPod, "")), uid: uid, patched: true},
		"a big pod":              {body: strings.NewReader(reviewOf(aPod, `,"options":"`+strings.Repeat("x", 1<<20)+`"`)), uid: uid, patched: true},
		"another content type":   {body: strings.NewReader(reviewOf(aPod, "")), content: "application/vnd.kubernetes.protobuf", uid: uid, patched: true},
		"no content type":        {body: strings.NewReader(reviewOf(aPod, "")), content: "", uid: uid, patched: true},
		"nothing":                {body: strings.NewReader("")},
		"garbage":                {body: strings.NewReader("\x00\xff{[")},
		"text":                   {body: strings.NewReader(`"hello"`)},
		"null":                   {body: strings.NewReader(`null`)},
		"no request":             {body: strings.NewReader(`{"kind":"AdmissionReview"}`)},
		"no uid":                 {body: strings.NewReader(`{"request":{"namespace":"shop"}}`)},
		"a pod that is none":     {body: strings.NewReader(reviewOf(`[1]`, "")), uid: uid},
		"a pod of another type":  {body: strings.NewReader(reviewOf(`{"metadata":{},"spec":{"containers":"a"}}`, "")), uid: uid},
		"cut short":              {body: strings.NewReader(reviewOf(aPod, "")[:200]), uid: uid},
		"too big":                {body: strings.NewReader(big), uid: uid},
		"too big, no JSON":       {body: strings.NewReader(strings.Repeat("[", maxBody+1))},
		"a body that breaks off": {body: io.MultiReader(strings.NewReader(reviewOf(aPod, "")[:150]), iotest.ErrReader(io.ErrUnexpectedEOF)), uid: uid},
		"a panic": {body: strings.NewReader(reviewOf(aPod, "")), uid: uid, decide: func(context.Context, *review) inject.Result {
			panic("on purpose")
		}},
		"an update":  {body: strings.NewReader(strings.Replace(reviewOf(aPod, ""), "CREATE", "UPDATE", 1)), uid: uid},
		"no pod":     {body: strings.NewReader(strings.Replace(reviewOf(aPod, ""), `"pods"`, `"secrets"`, 1)), uid: uid},
		"part of it": {body: strings.NewReader(reviewOf(aPod, `,"subResource":"ephemeralcontainers"`)), uid: uid},
	} {
		t.Run(name, func(t *testing.T) {
			decide := c.decide
			if decide == nil {
				decide = tapAll
			}
			got := asks(t, newEndpoint("/inject", quiet, decide, nil), c.body, c.content)
			if string(got.UID) != c.uid {
				t.Errorf("uid %q, want %q", got.UID, c.uid)
			}
			if (len(got.Patch) > 0) != c.patched {
				t.Errorf("patch %s", got.Patch)
			}
			if c.patched && (got.PatchType == nil || *got.PatchType != admissionv1.PatchTypeJSONPatch || !json.Valid(got.Patch)) {
				t.Errorf("patch of type %v", got.PatchType)
			}
		})
	}
}

func TestOtherMethods(t *testing.T) {
	w := httptest.NewRecorder()
	newEndpoint("/inject", slog.New(slog.DiscardHandler), tapAll, nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/inject", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("status %d", w.Code)
	}
}

// TestBigBodies: if too many large reviews are in memory, the next one waits for a limited time; then its pod is allowed
// untapped.
func TestBigBodies(t *testing.T) {
	h := newEndpoint("/inject", slog.New(slog.DiscardHandler), tapAll, nil)
	for range bigBodies {
		h.big <- struct{}{}
	}
	q := httptest.NewRequest(http.MethodPost, "/inject?timeout=50ms", strings.NewReader(reviewOf(aPod, `,"options":"`+strings.Repeat("x", 1<<20)+`"`)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	if !bytes.Contains(w.Body.Bytes(), []byte(uid)) || bytes.Contains(w.Body.Bytes(), []byte("patch")) {
		t.Errorf("response %s", w.Body)
	}
	<-h.big
	if got := asks(t, h, strings.NewReader(reviewOf(aPod, `,"options":"`+strings.Repeat("x", 1<<20)+`"`)), ""); len(got.Patch) == 0 {
		t.Error("no patch although there is room")
	}
	if len(h.big) != bigBodies-1 {
		t.Errorf("%d places are taken", len(h.big))
	}
}

func TestPatience(t *testing.T) {
	for timeout, want := range map[string]time.Duration{
		"": mostWait, "x": mostWait, "-1s": mostWait, "1s": 800 * time.Millisecond, "30s": mostWait, "3s": 2400 * time.Millisecond,
	} {
		if got := patience(timeout); got != want {
			t.Errorf("%q: %v, want %v", timeout, got, want)
		}
	}
}

// TestAccount: a dry run is not reported. The log names the pod's owner and contains nothing else of the pod.
func TestAccount(t *testing.T) {
	const secret = "hunter2"
	pod := `{"metadata":{"ownerReferences":[{"kind":"ReplicaSet","name":"web-1","uid":"u","controller":true}]},
"spec":{"containers":[{"name":"a","image":"a","env":[{"name":"PASSWORD","value":"` + secret + `"}]}]}}`
	for more, recorded := range map[string]int{"": 1, `,"dryRun":false`: 1, `,"dryRun":true`: 0} {
		var logs bytes.Buffer
		n := 0
		log := slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
		h := newEndpoint("/inject", log, tapAll, func(_ *review, r *inject.Result) {
			if n++; r.Owner == nil || r.Owner.Name != "web-1" {
				t.Errorf("owner %+v", r.Owner)
			}
		})
		asks(t, h, strings.NewReader(reviewOf(pod, more)), "application/json")
		if n != recorded {
			t.Errorf("%q: told %d times, want %d", more, n, recorded)
		}
		if !strings.Contains(logs.String(), `"owner":"ReplicaSet/web-1"`) || strings.Contains(logs.String(), secret) {
			t.Errorf("logged %s", &logs)
		}
	}
}

func TestUID(t *testing.T) {
	for text, want := range map[string]string{
		``: "", `{`: "", `[]`: "", `{"request":1}`: "", `{"request":{}}`: "", `{"request":{"uid":7}}`: "",
		`{"request":{"uid":"u"`: "u", `{"a":[{"request":{"uid":"x"}}],"request":{"kind":{"uid":"y"},"uid":"u","object":`: "u",
		`{"uid":"x","request":{"object":{"uid":"y"`: "",
	} {
		if got := uidOf([]byte(text)); string(got) != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// FuzzReview: for any body, the response is a review that allows the pod.
func FuzzReview(f *testing.F) {
	f.Add([]byte(reviewOf(aPod, "")))
	f.Add([]byte(reviewOf(aPod, `,"dryRun":true`)))
	f.Add([]byte(`{"request":{"uid":"u","operation":"CREATE","resource":{"resource":"pods"},"object":{}}}`))
	f.Add([]byte(`{"request":`))
	h := newEndpoint("/inject", slog.New(slog.DiscardHandler), func(ctx context.Context, r *review) inject.Result {
		dryRunProfile(r)
		return tapAll(ctx, r)
	}, nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		got := asks(t, h, bytes.NewReader(body), "application/json")
		if r, err := readReview(body); err == nil && got.UID != r.Request.UID {
			t.Errorf("uid %q, want %q", got.UID, r.Request.UID)
		}
	})
}

package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// failed reports whether a reason is an error: of the webhook, or of a caller that is not an API server.
func failed(r inject.Reason) bool {
	return slices.Contains([]inject.Reason{inject.ReasonGarbage, inject.ReasonTooBig, inject.ReasonPanic, inject.ReasonNamespaceUnknown, inject.ReasonUndecodable}, r)
}

const (
	mostWait  = 2500 * time.Millisecond // bounds the time of a response, even if the API server would wait longer
	smallBody = 256 << 10               // bytes; a longer body counts as large
	bigBodies = 8                       // bounds how many large bodies are in memory at the same time
)

// endpoint responds to admission reviews. Every response allows the pod, also after an error or a panic.
type endpoint struct {
	path   string
	decide func(context.Context, *review) inject.Result
	report func(*review, *inject.Result) // called with each decision about a pod that is not a dry run; may be nil
	log    *slog.Logger
	big    chan struct{} // one element for each large body in memory
}

func newEndpoint(path string, log *slog.Logger, decide func(context.Context, *review) inject.Result, report func(*review, *inject.Result)) *endpoint {
	return &endpoint{path: path, decide: decide, report: report, log: log, big: make(chan struct{}, bigBodies)}
}

// ServeHTTP responds to one review.
func (h *endpoint) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	begun := time.Now()
	if q.Method != http.MethodPost {
		http.Error(w, "POST an AdmissionReview", http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(q.Context(), patience(q.URL.Query().Get("timeout")))
	defer cancel()
	uid, r, result := h.result(ctx, w, q.Body)
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(newResponse(uid, &result)); err != nil {
		h.log.Debug("response not sent", "error", err)
	}
	took := time.Since(begun)
	responseTimes.WithLabelValues(h.path).Observe(took.Seconds())
	h.account(r, &result, took)
}

// patience returns how long a response may take: four fifths of the API server's timeout, at most mostWait.
func patience(timeout string) time.Duration {
	if d, err := time.ParseDuration(timeout); err == nil && d > 0 {
		return min(d*4/5, mostWait)
	}
	return mostWait
}

// result reads a review and decides about its pod. A panic is logged, and the pod gets no tap.
func (h *endpoint) result(ctx context.Context, w http.ResponseWriter, body io.Reader) (uid types.UID, r *review, result inject.Result) {
	defer func() {
		if v := recover(); v != nil {
			h.log.Error("panic", "value", fmt.Sprint(v), "stack", string(debug.Stack()))
			result = inject.Result{Reason: inject.ReasonPanic}
		}
	}()
	text, release, err := h.read(ctx, w, body)
	defer release()
	if err != nil {
		return uidOf(text), nil, inject.Result{Reason: inject.ReasonTooBig, Detail: err.Error()}
	}
	r, err = readReview(text)
	switch {
	case err != nil:
		return uidOf(text), nil, inject.Result{Reason: inject.ReasonGarbage, Detail: err.Error()}
	case !r.creates():
		return r.Request.UID, r, inject.Result{Reason: inject.ReasonNotAPod}
	}
	uid = r.Request.UID // the uid is returned even if decide panics
	return uid, r, h.decide(ctx, r)
}

// read reads a body. If the body is large and bigBodies other large bodies are in memory, read waits before it reads
// the rest. The caller calls release when it no longer needs text. If err is not nil, text is the start of the body.
func (h *endpoint) read(ctx context.Context, w http.ResponseWriter, body io.Reader) (text []byte, release func(), err error) {
	release = func() {}
	var b bytes.Buffer
	if n, err := io.CopyN(&b, body, smallBody); n < smallBody {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return b.Bytes(), release, err
	}
	select {
	case h.big <- struct{}{}:
		release = func() { <-h.big }
	case <-ctx.Done():
		return b.Bytes(), release, errors.New("too many large reviews at the same time")
	}
	_, err = b.ReadFrom(http.MaxBytesReader(w, io.NopCloser(body), maxBody-smallBody))
	return b.Bytes(), release, err
}

// account counts and logs a decision. About the pod it logs only the names of the pod and its owner.
func (h *endpoint) account(r *review, result *inject.Result, took time.Duration) {
	if r != nil && r.ownDryRun {
		return
	}
	kind, level := "skipped", slog.LevelInfo
	switch {
	case result.Reason == inject.Injected:
		kind = "injected"
	case failed(result.Reason):
		kind, level = "error", slog.LevelError
	case result.Reason.Quiet(), result.Reason == inject.ReasonNotAPod:
		level = slog.LevelDebug
	}

	injections.WithLabelValues(kind, string(result.Reason)).Inc()

	attrs := []slog.Attr{slog.String("path", h.path), slog.Float64("milliseconds", float64(took.Microseconds())/1000)}
	if r != nil {
		attrs = append(attrs, slog.String("namespace", r.Request.Namespace), slog.String("uid", string(r.Request.UID)), slog.Bool("dryRun", r.dryRun()))
	}
	if o := result.Owner; o != nil {
		attrs = append(attrs, slog.String("owner", o.Kind+"/"+o.Name))
	}
	for _, a := range [][2]string{
		{"reason", string(result.Reason)}, {"detail", result.Detail},
		{"mode", string(result.Mode)}, {"profile", string(result.Profile)}, {"image", result.Image},
	} {
		if a[1] != "" {
			attrs = append(attrs, slog.String(a[0], a[1]))
		}
	}

	h.log.LogAttrs(context.Background(), level, kind, attrs...)
	if r != nil && h.report != nil && !r.dryRun() {
		h.report(r, result)
	}
}

package webhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"k8s.io/client-go/rest"
)

// mostRead bounds, in bytes, the API server's responses that are read about one namespace. A tenant may create many
// large objects, and all namespaces share the webhook's memory.
const mostRead = 32 << 20

// errTooMuch is returned by requests whose responses exceed their budget.
var errTooMuch = errors.New("responses of the API server are too large")

type budgetKey struct{}

// bounded returns a context whose requests fail with errTooMuch once the sum of their responses exceeds
// n bytes.
func bounded(ctx context.Context, n int64) context.Context {
	left := &atomic.Int64{}
	left.Store(n)
	return context.WithValue(ctx, budgetKey{}, left)
}

// enforceBudgets makes the clients of a cluster enforce the budgets of their contexts. Requests without a
// budget, such as those of the caches, are not bounded.
func enforceBudgets(cluster *rest.Config) {
	cluster.Wrap(func(next http.RoundTripper) http.RoundTripper { return budgeted{next} })
}

type budgeted struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b budgeted) RoundTrip(q *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(q)
	if left, ok := q.Context().Value(budgetKey{}).(*atomic.Int64); ok && err == nil {
		response.Body = &rationed{response.Body, left}
	}
	return response, err
}

// WrappedRoundTripper implements k8s.io/apimachinery's RoundTripperWrapper.
func (b budgeted) WrappedRoundTripper() http.RoundTripper { return b.next }

// rationed is a response body whose bytes are subtracted from a budget.
type rationed struct {
	io.ReadCloser
	left *atomic.Int64
}

// Read implements io.Reader. It returns errTooMuch once the budget is used up.
func (r *rationed) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.left.Add(int64(-n)) < 0 {
		return 0, errTooMuch
	}
	return n, err
}

package webhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"k8s.io/client-go/rest"
)

// mostRead bounds the answers to what is read live of one namespace at a time, in bytes: a tenant
// may write many and large objects, and the webhook's memory is everybody's.
const mostRead = 32 << 20

// errTooMuch is the error of a reading whose answers are larger than its budget.
var errTooMuch = errors.New("answers of the API server are too large")

type budgetKey struct{}

// bounded returns a context whose requests fail with errTooMuch once their answers have more than n
// bytes together.
func bounded(ctx context.Context, n int64) context.Context {
	left := &atomic.Int64{}
	left.Store(n)
	return context.WithValue(ctx, budgetKey{}, left)
}

// enforceBudgets has a cluster's clients keep to the budgets of their contexts. Without one, as those of
// the caches, nothing changes.
func enforceBudgets(cluster *rest.Config) {
	cluster.Wrap(func(next http.RoundTripper) http.RoundTripper { return budgeted{next} })
}

type budgeted struct{ next http.RoundTripper }

// RoundTrip is http.RoundTripper's.
func (b budgeted) RoundTrip(q *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(q)
	if left, ok := q.Context().Value(budgetKey{}).(*atomic.Int64); ok && err == nil {
		response.Body = &rationed{response.Body, left}
	}
	return response, err
}

// WrappedRoundTripper is k8s.io/apimachinery's RoundTripperWrapper's.
func (b budgeted) WrappedRoundTripper() http.RoundTripper { return b.next }

// rationed is a body that takes from a budget.
type rationed struct {
	io.ReadCloser
	left *atomic.Int64
}

// Read is io.Reader's.
func (r *rationed) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.left.Add(int64(-n)) < 0 {
		return 0, errTooMuch
	}
	return n, err
}

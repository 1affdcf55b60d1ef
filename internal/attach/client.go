package attach

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Client attaches taps and reads their records. Its methods are safe for concurrent use. Kube and Config must be set.
type Client struct {
	Kube   kubernetes.Interface
	Config *rest.Config // of the same API server; for attach streams
}

// Event reports one thing about a tap. Exactly one of the fields from Starts on is set.
type Event struct {
	Tap    Tap            // as it was last seen
	Starts string         // why the container does not run yet, as the kubelet reports it; there is an event for each change
	Record *Record        // a record
	Notice string         // a line of the tap's log that is not a record, without its line feed, shortened to maxNotice. It may contain anything
	Lost   uint64         // number of records that are missing in the log
	Ended  *Ended         // the tap has ended, or can no longer be followed; the last event of the tap
	Stream *StreamChanged // the connection to the log broke or is back
}

// maxNotice bounds Notice, in bytes.
const maxNotice = 4 << 10

// Ended reports that a tap has ended, or that nothing more can be known about it.
type Ended struct {
	Reason   string // a few words
	ExitCode int32
	Known    bool // the container is known to have ended
	Failed   bool // it ended for another reason than its time or its client
}

// StreamChanged reports that the log stream broke (Err is set) or works again. Nothing is lost if it comes back while the tap runs.
type StreamChanged struct{ Err error }

// Explain adds to a refusal by the API server the missing right and the command that prints it. An empty namespace means all namespaces. It
// returns other errors unchanged.
func Explain(err error, verb, resource, namespace string) error {
	if !refused(err) || strings.Contains(err.Error(), "PodSecurity") {
		return err
	}
	where, prints := fmt.Sprintf("namespace %q", namespace), "`kubectl meshtls rbac` prints a Role"
	if namespace == "" {
		where, prints = "all namespaces", "`kubectl meshtls rbac -A` prints a ClusterRole"
	}
	return fmt.Errorf("%w\nmissing right: verb %q on %q in %s; %s with all rights that are needed", err, verb, resource, where, prints)
}

// refused reports whether the API server has refused a request. For a stream, the error has the server's text and not its status.
func refused(err error) bool {
	return err != nil && (apierrors.IsForbidden(err) || strings.Contains(err.Error(), " is forbidden: "))
}

// pause waits for d. It returns false if ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// gone reports whether an object does not exist.
func gone(err error) bool { return apierrors.IsNotFound(err) }

// unreachable reports whether err may be due to the connection, and not to the request.
func unreachable(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status) || apierrors.IsInternalError(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsTimeout(err)
}

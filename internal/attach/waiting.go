package attach

import (
	"fmt"
	"slices"
	"time"
)

// Reasons for which a container waits (k8s.io/kubernetes pkg/kubelet/images and pkg/kubelet/kuberuntime). The kubelet tries again, but without a
// change from outside it will hardly succeed.
var (
	imageReasons = []string{"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"}
	startReasons = []string{"CreateContainerError", "CreateContainerConfigError", "RunContainerError"}
)

// stuck reports whether a container waits for something other than its usual start.
func (t *Tap) stuck() bool {
	return t.State == Waiting && (slices.Contains(imageReasons, t.Reason) || slices.Contains(startReasons, t.Reason))
}

// waits returns why a container does not run yet.
func (t *Tap) waits() string {
	switch {
	case t.Reason == "":
		return "the kubelet has not reported it yet"
	case t.Message == "":
		return t.Reason
	}
	return t.Reason + ": " + t.Message
}

// NotStartedError reports that a tap does not run, and that it may still start.
type NotStartedError struct{ Tap Tap }

// Error returns why the tap does not run, and what happens to its container.
func (e *NotStartedError) Error() string {
	t := &e.Tap
	return fmt.Sprintf("it has not started (%s), so it captures nothing and cannot be told to end. Kubernetes cannot remove it from the pod, and the kubelet keeps trying: %s",
		t.waits(), t.IfStarted())
}

// IfStarted returns what a tap that waits does if it starts when nobody attaches to it, as a sentence without its period.
func (t *Tap) IfStarted() string {
	switch {
	case t.silent > 0:
		return fmt.Sprintf("if it starts later, it ends by itself within %s, because no client is attached to it", short(max(t.silent, firstTime)))
	case t.lasts > 0:
		return fmt.Sprintf("if it starts later, it runs for %s and ends by itself", short(t.lasts))
	}
	return "if it starts later, it runs until it is stopped or its pod ends"
}

// firstTime is how long `tap pcap --wait` waits for its client.
const firstTime = 30 * time.Second

// endsAlone returns when a tap that runs ends without its client, as the end of a sentence.
func (t *Tap) endsAlone() string {
	if t.silent == 0 {
		return t.endsLater()
	}
	text := "; it ends by itself when it has heard nothing of its client for " + short(t.silent)
	if !t.Ends.IsZero() {
		text += ", at " + t.Ends.UTC().Format(time.TimeOnly) + " UTC at the latest"
	}
	return text
}

// endsLater returns when a tap ends by itself, as the end of a sentence.
func (t *Tap) endsLater() string {
	if t.Ends.IsZero() {
		return "; it ends with its pod"
	}
	return "; it ends by itself at " + t.Ends.UTC().Format(time.TimeOnly) + " UTC"
}

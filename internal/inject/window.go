package inject

import (
	"fmt"
	"time"
)

// envWindow and envInterval are the variables with the time between the regular records of a finding and of an edge.
const (
	envWindow   = "TAP_WINDOW"
	envInterval = "TAP_POSTURE_INTERVAL"
)

// leastWindow is the shortest such time that the webhook injects. A shorter one would cause too many records: each
// tapped pod publishes a record for each edge in every posture interval, and for open findings in every window.
const leastWindow = 10 * time.Second

// checkWindow returns an error for a value of envWindow or envInterval that is invalid or shorter than leastWindow.
func checkWindow(v string) error {
	if d, err := time.ParseDuration(v); err != nil || d < leastWindow {
		return fmt.Errorf("expected a duration of %s or more, such as 10m", leastWindow)
	}
	return nil
}

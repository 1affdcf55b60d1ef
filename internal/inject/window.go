package inject

import (
	"fmt"
	"time"
)

const envWindow = "TAP_WINDOW"

// leastWindow is the shortest window that the webhook injects: every tapped pod sends one posture
// record in each.
const leastWindow = 10 * time.Second

// checkWindow returns an error for a value of TAP_WINDOW that the tap would refuse, or that is too short.
func checkWindow(v string) error {
	if d, err := time.ParseDuration(v); err != nil || d < leastWindow {
		return fmt.Errorf("expected a duration of %s or more, such as 10m", leastWindow)
	}
	return nil
}

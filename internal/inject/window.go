package inject

import (
	"fmt"
	"time"
)

const envWindow = "TAP_WINDOW"

// leastWindow is the shortest window (TAP_WINDOW) that the webhook injects. A shorter one would cause too many records:
// each tapped pod sends a posture record in every window.
const leastWindow = 10 * time.Second

// checkWindow returns an error for a value of TAP_WINDOW that is invalid or shorter than leastWindow.
func checkWindow(v string) error {
	if d, err := time.ParseDuration(v); err != nil || d < leastWindow {
		return fmt.Errorf("expected a duration of %s or more, such as 10m", leastWindow)
	}
	return nil
}

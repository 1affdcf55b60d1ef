package afpacket

import (
	"errors"
	"fmt"
	"net"
)

// ErrNoInterface is what Open's error wraps when the interface does not exist, and Run's
// when it was deleted or moved to another network namespace. The remedy is the same for
// both: Open once there is such an interface.
var ErrNoInterface = errors.New("no such interface")

// ErrFilterMemory is what Open's error wraps when the kernel has no room for the filter. A
// shorter one may fit, and none always does.
var ErrFilterMemory = errors.New("not enough memory for it")

// OpError says which step failed on which interface, and what can be done about it.
// Its text is one line. errors.Is(err, os.ErrPermission) holds where a capability is
// missing, errors.Is(err, ErrNoInterface) where the interface is.
type OpError struct {
	Interface string
	Op        string // the step, in words
	Err       error  // a syscall.Errno, ErrNoInterface, errors.ErrUnsupported or an error in Config
	Advice    string // what to do; empty: there is none
}

// Error implements error.
func (e *OpError) Error() string {
	var advice string
	if e.Advice != "" {
		advice = ": " + e.Advice
	}
	return fmt.Sprintf("capture on %s: %s: %v%s", e.Interface, e.Op, e.Err, advice)
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// Interfaces returns the names of the interfaces that there are, in the kernel's order.
func Interfaces() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(all))
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names, nil
}

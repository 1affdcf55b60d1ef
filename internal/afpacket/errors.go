package afpacket

import (
	"errors"
	"fmt"
	"net"
)

// ErrNoInterface is wrapped by Open's error if the interface does not exist, and by Run's if
// it was deleted or moved to another network namespace. The remedy is the same: call Open once
// there is such an interface.
var ErrNoInterface = errors.New("no such interface")

// ErrFilterMemory is wrapped by Open's error if the filter does not fit into the kernel's memory
// for filters. A shorter filter may fit. Without a filter this error does not occur.
var ErrFilterMemory = errors.New("not enough memory for it")

// OpError reports which step failed on which interface, and what to do about it. Its text is
// one line. errors.Is(err, os.ErrPermission) is true if a capability is missing,
// errors.Is(err, ErrNoInterface) if the interface is missing.
type OpError struct {
	Interface string
	Op        string // the step, as a verb phrase
	Err       error  // a syscall.Errno, ErrNoInterface, errors.ErrUnsupported or an error in Config
	Advice    string // what to do; may be empty
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

// Interfaces returns the names of all interfaces, in the kernel's order.
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

//go:build !linux

package afpacket

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/net/bpf"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Handle is the capture of an interface. Captures exist only on Linux.
type Handle struct{}

// Open returns an error that names the system.
func Open(c Config) (*Handle, error) { return nil, unsupported(c.Interface) }

// Link returns an error that names the system.
func Link(name string) (wire.LinkType, error) { return 0, unsupported(name) }

func unsupported(name string) error {
	return &OpError{
		Interface: name,
		Op:        "open",
		Err:       fmt.Errorf("live capture on %s: %w", runtime.GOOS, errors.ErrUnsupported),
		Advice:    "live capture needs Linux; capture files can be read on any system",
	}
}

// Run cannot be called, because Open returns no Handle.
func (*Handle) Run(func(*Block)) error { return errors.ErrUnsupported }

// SetFilter cannot be called.
func (*Handle) SetFilter([]bpf.RawInstruction) error { return errors.ErrUnsupported }

// Close cannot be called.
func (*Handle) Close() error { return nil }

// Stats cannot be called.
func (*Handle) Stats() (Stats, error) { return Stats{}, errors.ErrUnsupported }

// Index cannot be called.
func (*Handle) Index() int { return 0 }

// LinkType cannot be called.
func (*Handle) LinkType() wire.LinkType { return 0 }

package live

import (
	"errors"
	"fmt"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
)

// checkRing is the size in bytes of the ring that CheckSocket opens.
const checkRing = 256 << 10

// CheckSocket opens a packet socket on an interface with a filter, as the capture does, and closes it again. Its error includes advice.
func CheckSocket(name string, filter func(pcapfilter.Config) (pcapfilter.Program, error)) error {
	link, err := afpacket.Link(name)
	if err != nil {
		return err
	}
	program, err := filter(pcapfilter.Config{Link: link, Live: true})
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	h, err := afpacket.Open(afpacket.Config{Interface: name, Filter: program, RingBytes: checkRing})
	if errors.Is(err, afpacket.ErrFilterMemory) { // the tap then applies the filter itself
		h, err = afpacket.Open(afpacket.Config{Interface: name, RingBytes: checkRing})
	}
	if err != nil {
		return err
	}
	return h.Close()
}

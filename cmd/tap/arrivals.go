package main

import (
	"context"
	"errors"
	"io"
	"math"
	"time"
)

// Times of `tap pcap --wait`: how long it waits for its client, and how long the client may be silent afterwards.
const (
	clientTime = 30 * time.Second
	silentTime = 20 * time.Second
)

// arrivals reads in to its end, and signals on the channel that something has arrived. At the end it closes the channel. A signal is
// dropped if the one before was not received.
func arrivals(in io.Reader) <-chan struct{} {
	c := make(chan struct{}, 1)
	go func() {
		defer close(c)
		for b := make([]byte, 64); ; {
			if _, err := in.Read(b); err != nil {
				return
			}
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}()
	return c
}

// keepalive is what an attached client sends, and how long it may be silent. The zero value expects nothing.
type keepalive struct {
	arrived <-chan struct{}
	silent  time.Duration
}

// timer returns a timer for the silence.
func (k *keepalive) timer() *time.Timer {
	if k.arrived == nil {
		return time.NewTimer(math.MaxInt64)
	}
	return time.NewTimer(k.silent)
}

// awaitClient waits until the client has sent something. Output that is written before a client is attached would reach nobody.
func awaitClient(ctx context.Context, k *keepalive) error {
	limit := time.NewTimer(clientTime)
	defer limit.Stop()
	select {
	case _, open := <-k.arrived:
		if open {
			return nil
		}
		return errors.New("--wait: standard input ended before anything arrived on it")
	case <-limit.C:
		return errors.New("--wait: nothing arrived on standard input within " + clientTime.String())
	case <-ctx.Done():
		return ctx.Err()
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
)

func newStopCommand(o *options) *cobra.Command {
	var s selection
	c := &cobra.Command{
		Use:   "stop [POD|TYPE/NAME]... [-l SELECTOR] [-n NAMESPACE|-A]",
		Short: "End attached taps",
		Long: `End taps that were attached to running pods: those of the named pods, or all taps of a namespace
(-n) or of the cluster (-A). A tap ends when its standard input is closed; it then writes its last
records. The pods keep running. The ended containers stay in the pods' specs until the pods are
deleted.

A container that has not started, for example because its image cannot be pulled, cannot be told to
end, and Kubernetes cannot remove it. It is listed with the reason, and the exit status is 1. If a
tap of this program starts later, it ends within 30 seconds, because no client is attached to it.

Sidecars that the webhook added are part of their pods and are not ended; 'disable' turns them off
for a whole namespace.`,
		Example: `  # End all attached taps in the cluster.
  kubectl meshtls stop -A

  # End the taps of one deployment.
  kubectl meshtls stop deploy/checkout -n shop`,
		RunE: func(c *cobra.Command, args []string) error {
			s.names = args
			return o.stop(c.Context(), &s)
		},
		ValidArgsFunction: o.completeTargets,
	}
	s.addFlags(c)
	return c
}

// stop ends the attached taps of the selected pods.
func (o *options) stop(ctx context.Context, s *selection) error {
	client, config, err := o.client()
	if err != nil {
		return err
	}
	found, err := o.survey(ctx, client, s)
	if err != nil {
		return err
	}
	a := &attach.Client{Kube: client, Config: config}
	var stopped, failed int
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 5)
	for _, t := range found.taps {
		if t.State == attach.Terminated {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			err := a.Stop(ctx, t)
			pod, container := clean(t.String()), clean(t.Container)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, attach.ErrSidecar):
				fmt.Fprintf(o.Out, "%s: %s is a sidecar and was not ended. To turn off the sidecars of the namespace: kubectl meshtls disable %s\n", pod, container, t.Namespace)
			case err != nil:
				failed++
				fmt.Fprintf(o.Out, "%s: %s could not be ended: %s\n", pod, container, clean(err.Error()))
			default:
				stopped++
				fmt.Fprintf(o.Out, "%s: %s has ended\n", pod, container)
			}
		})
	}
	wg.Wait()
	fmt.Fprintf(o.Out, "%s ended. %s\n", plural(stopped, "attached tap"), found.scope())
	for _, line := range found.unproven {
		fmt.Fprintln(o.Out, "Not known: "+line)
	}
	if failed > 0 {
		return fmt.Errorf("%s could not be ended: the reasons are above", plural(failed, "tap"))
	}
	if len(found.unproven) > 0 {
		return errUnproven
	}
	return nil
}

// Command agent replaces istio-cni and ztunnel on a node of a real cluster, in tests.
//
// The container runtime runs it as the last of a chain of CNI plugins; CNI_COMMAND is then set. This plugin asks the
// agent to enroll the pod, before the pod's first container starts.
//
// Without CNI_COMMAND the command is the agent, which runs in the node's namespaces. It installs the redirection in
// each pod of one Kubernetes namespace and opens the proxy's sockets inside the pod. Its standard output has a JSON
// object for each event. The kind of an event is one of package standin's or one of those below. Every event except
// ready names a pod. The agent ends when its standard input ends.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/meshtls-tap/meshtls-tap/test/ambient/standin"
)

// socket is the path of the socket at which plugins reach the agent.
const socket = "/run/meshtls-ambient.sock"

// Kinds of events in addition to those of package standin.
const (
	ready     = "ready"      // from now on plugins can reach the agent; the event names no pod
	enrolled  = "enrolled"   // a pod of the mesh has its redirection and sockets
	leftAlone = "left alone" // a pod belongs to another Kubernetes namespace
)

// request is a plugin's request. The response is an error message, which is empty if there was no error.
type request struct {
	Namespace, Name string     // namespace and name of the pod
	Netns           string     // path of the pod's network namespace
	Address         netip.Addr // the pod's address
}

func main() {
	if command := os.Getenv("CNI_COMMAND"); command != "" {
		os.Exit(plugin(command))
	}
	namespace := flag.String("namespace", "", "Kubernetes namespace whose pods are enrolled")
	port := flag.Uint("port", 8080, "port at which pods are reached through the mesh")
	flag.Parse()
	if err := serve(*namespace, uint16(*port)); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

// agent enrolls pods.
type agent struct {
	namespace string
	port      uint16
	node      *standin.Namespace
	authority *standin.Authority

	mu   sync.Mutex // enrolls one pod at a time
	pods []netip.Addr

	out sync.Mutex
}

func serve(namespace string, port uint16) (err error) {
	a := &agent{namespace: namespace, port: port}
	if a.authority, err = standin.NewAuthority(); err != nil {
		return err
	}
	if a.node, err = standin.OpenNamespace("/proc/self/ns/net"); err != nil {
		return err
	}
	if err = a.node.RewriteProbes(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.node.RestoreProbes()) }()
	if err = os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) { // an agent that was killed may have left the socket
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer l.Close()
	a.print("", standin.Event{Time: time.Now(), Kind: ready})
	go a.accept(l)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func (a *agent) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var r request
			err := json.NewDecoder(c).Decode(&r)
			if err == nil {
				err = a.answer(r)
			}
			text := ""
			if err != nil {
				text = err.Error()
			}
			_ = json.NewEncoder(c).Encode(text)
		}()
	}
}

// answer enrolls the pod of a request if it belongs to the mesh.
func (a *agent) answer(r request) error {
	kind := leftAlone
	if r.Namespace == a.namespace {
		kind = enrolled
		if err := a.enroll(r); err != nil {
			return err
		}
	}
	a.print(r.Name, standin.Event{Time: time.Now(), Kind: kind})
	return nil
}

// enroll installs the redirection and opens the proxy's sockets. The agent has no access to the API server, so the
// name of the pod serves as the name of its service account. The pod's proxy knows the pods that were enrolled
// earlier. The proxy runs until the agent ends.
func (a *agent) enroll(r request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	ns, err := standin.OpenNamespace(r.Netns)
	if err != nil {
		return err
	}
	id, err := a.authority.Identity(r.Namespace, r.Name)
	if err != nil {
		return err
	}
	mesh := standin.Mesh{}
	for _, pod := range a.pods {
		mesh[netip.AddrPortFrom(pod, a.port)] = standin.Hop{Via: netip.AddrPortFrom(pod, standin.PortHBONE)}
	}
	a.pods = append(a.pods, r.Address)
	log := &standin.Log{Each: func(e standin.Event) { a.print(r.Name, e) }}
	p := &standin.Proxy{Pod: ns, Address: r.Address, Identity: id, Mesh: mesh, Log: log}
	if err := p.Start(); err != nil {
		return err
	}
	return errors.Join(ns.Redirect(), a.node.RewriteProbes(r.Address))
}

func (a *agent) print(pod string, e standin.Event) {
	a.out.Lock()
	defer a.out.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(struct {
		Pod string
		standin.Event
	}{pod, e})
}

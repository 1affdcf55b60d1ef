package attach

import (
	"context"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// stream attaches to the standard streams of a tap that are not nil, until the container or ctx ends, or the connection breaks.
func (c *Client) stream(ctx context.Context, tap *Tap, stdin io.Reader, stdout, stderr io.Writer) error {
	request := c.Kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(tap.Namespace).Name(tap.Pod).SubResource("attach").
		VersionedParams(&corev1.PodAttachOptions{
			Container: tap.Container, Stdin: stdin != nil, Stdout: stdout != nil, Stderr: stderr != nil,
		}, scheme.ParameterCodec)
	return c.execute(ctx, request, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Stderr: stderr})
}

// Exec runs a command in the container of a tap until it or ctx ends. The error of a command that fails has its exit status
// (k8s.io/client-go/util/exec.ExitError).
func (c *Client) Exec(ctx context.Context, tap *Tap, command []string, stdout, stderr io.Writer) error {
	request := c.Kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(tap.Namespace).Name(tap.Pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: tap.Container, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	err := c.execute(ctx, request, remotecommand.StreamOptions{Stdout: stdout, Stderr: stderr})
	return Explain(err, "create", "pods/exec", tap.Namespace)
}

// execute connects to the standard streams of a container by WebSocket, or by SPDY where that is not supported.
func (c *Client) execute(ctx context.Context, request *rest.Request, o remotecommand.StreamOptions) error {
	url := request.URL()
	socket, err := remotecommand.NewWebSocketExecutor(c.Config, "GET", url.String())
	if err != nil {
		return err
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.Config, "POST", url)
	if err != nil {
		return err
	}
	executor, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, o)
}

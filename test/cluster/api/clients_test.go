package api_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestClientCertificate: a webhook that requires a client certificate responds to the API server and to nobody else.
// The API server has a certificate from apiserver.sh.
func TestClientCertificate(t *testing.T) {
	c, h := installed(t)
	before := h.env
	t.Cleanup(func() {
		h.env = before
		h.restart(t, c)
	})
	answers := func() error {
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
		}}
		response, err := client.Post(fmt.Sprintf("https://127.0.0.1:%d/inject", h.port), "application/json", strings.NewReader("{}"))
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	if err := answers(); err != nil {
		t.Errorf("without the setting everybody is answered: %v", err)
	}
	h.env = append(slices.Clone(before), "WEBHOOK_CLIENT_CA_FILE="+filepath.Join(c.PKI(), "ca.crt"), "WEBHOOK_CLIENT_NAMES=kube-apiserver")
	h.restart(t, c)
	h.works(t, c, c.Namespace(t, tapped))
	if err := answers(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a caller without a certificate: %v", err)
	}
}

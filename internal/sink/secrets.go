package sink

import (
	"fmt"
	"os"
	"strings"
)

// retryWithNewSecrets retries at once if a secret file has changed since the last attempt.
func (k *Kafka) retryWithNewSecrets() {
	if k.cluster.ok || k.failedSecrets == "" || k.failedSecrets == k.secrets() {
		return
	}
	k.failedSecrets = ""
	k.retryNow()
}

// secrets returns a string that changes when the modification time or size of a certificate, key,
// password or token file changes. The string is empty if no such file is configured.
func (k *Kafka) secrets() string {
	var names []string
	if t := k.cfg.TLS; t != nil {
		names = append(names, t.CAFile, t.CertFile, t.KeyFile)
	}
	if s := k.cfg.SASL; s != nil {
		names = append(names, s.PasswordFile, s.TokenFile)
	}
	var state strings.Builder
	for _, name := range names {
		if name == "" {
			continue
		}
		state.WriteString(name)
		if info, err := os.Stat(name); err == nil {
			fmt.Fprint(&state, info.ModTime().UnixNano(), info.Size())
		}
	}
	return state.String()
}

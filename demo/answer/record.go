package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// record has what is used here of the tap's published record; schema/ has all of it.
type record struct {
	Event struct {
		Dataset  string    `json:"dataset"`
		Created  time.Time `json:"created"`
		Severity int       `json:"severity"`
	} `json:"event"`
	Message     string   `json:"message"`
	Rule        rule     `json:"rule"`
	Source      endpoint `json:"source"`
	Destination endpoint `json:"destination"`
	Network     struct {
		Protocol string `json:"protocol"`
	} `json:"network"`
	HTTP struct {
		Version string `json:"version"`
	} `json:"http"`
	TLS struct {
		Version string `json:"version"`
		Cipher  string `json:"cipher"`
	} `json:"tls"`
	Kubernetes struct {
		Namespace string `json:"namespace"`
		Pod       struct {
			Name string `json:"name"`
		} `json:"pod"`
	} `json:"kubernetes"`
	Observer struct {
		Ingress struct {
			Interface struct {
				Name string `json:"name"`
			} `json:"interface"`
		} `json:"ingress"`
	} `json:"observer"`
	Meshtls struct {
		Verdict     string   `json:"verdict"`
		Scope       string   `json:"scope"`
		Mesh        string   `json:"mesh"`
		Expectation string   `json:"expectation"`
		Reasons     []string `json:"reasons"`
		Finding     struct {
			State string `json:"state"`
		} `json:"finding"`
		TLS struct {
			ClientAuth string `json:"client_auth"`
			Basis      string `json:"client_auth_basis"`
			Outcome    string `json:"outcome"`
		} `json:"tls"`
	} `json:"meshtls"`
}

type rule struct {
	ID string `json:"id"`
}

type endpoint struct {
	IP   string    `json:"ip"`
	Port int       `json:"port"`
	NAT  *endpoint `json:"nat"`
}

func (e endpoint) String() string { return net.JoinHostPort(e.IP, strconv.Itoa(e.Port)) }

// pod is the pod of the tap that wrote the record, as NAMESPACE-NAME; empty in what was read from a capture.
func (r *record) pod() string {
	if r.Kubernetes.Namespace == "" {
		return ""
	}
	return r.Kubernetes.Namespace + "-" + r.Kubernetes.Pod.Name
}

// judged is what a flow was judged to be, for comparison and for the reader.
func (r *record) judged() string {
	m := &r.Meshtls
	out := []string{r.Source.String() + " > " + r.Destination.String(), m.Scope, m.Verdict, r.Network.Protocol}
	if r.TLS.Version != "" {
		out = append(out, "TLS "+r.TLS.Version, r.TLS.Cipher, m.TLS.ClientAuth, m.TLS.Basis, m.TLS.Outcome)
	}
	return strings.Join(out, " ")
}

const (
	flows    = "meshtls.flow"
	findings = "meshtls.finding"
)

// load reads the records of a dataset from the files that match a pattern.
func load(pattern, dataset string) ([]*record, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var out []*record
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		records, err := decode(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, r := range records {
			if r.Event.Dataset == dataset {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// decode reads JSON lines.
func decode(in io.Reader) ([]*record, error) {
	var out []*record
	d := json.NewDecoder(bufio.NewReader(in))
	for {
		r := new(record)
		if err := d.Decode(r); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("record %d: %w", len(out)+1, err)
		}
		out = append(out, r)
	}
}

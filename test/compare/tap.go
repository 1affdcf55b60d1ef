package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// record has the fields of the tap's record that are compared.
type record struct {
	Event struct {
		Start time.Time `json:"start"`
		End   time.Time `json:"end"`
	} `json:"event"`
	Source      end `json:"source"`
	Destination end `json:"destination"`
	Network     struct {
		Transport string `json:"transport"`
	} `json:"network"`
	TLS *struct {
		Version  string `json:"version"`
		Protocol string `json:"version_protocol"`
		Cipher   string `json:"cipher"`
		Client   struct {
			ServerName string `json:"server_name"`
			JA3        string `json:"ja3"`
		} `json:"client"`
		Server struct {
			JA3S string `json:"ja3s"`
			Hash struct {
				SHA256 string `json:"sha256"`
			} `json:"hash"`
		} `json:"server"`
	} `json:"tls"`
	Meshtls struct {
		TLS struct {
			ALPN       []string `json:"alpn_offered"`
			ClientAuth string   `json:"client_auth"`
		} `json:"tls"`
	} `json:"meshtls"`
}

type end struct {
	IP   netip.Addr `json:"ip"`
	Port uint16     `json:"port"`
}

func (e end) address() netip.AddrPort { return netip.AddrPortFrom(e.IP, e.Port) }

// readTap returns the connections that the tap finds in a capture. If the capture is broken, readTap returns the
// connections before the error, and the error.
func readTap(tap, file string, names suites) ([]*connection, error) {
	out, err := run(tap, "read", "--output=json", "--emit=flows", file)
	if err != nil {
		err = fmt.Errorf("tap: %w", err)
	}
	found, broken := parseTap(out, names)
	return found, errors.Join(err, broken)
}

// parseTap returns the connections of the tap's records.
func parseTap(out []byte, names suites) ([]*connection, error) {
	var found []*connection
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var r record
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return found, err
		}
		if r.Network.Transport == "tcp" || r.Network.Transport == "udp" {
			found = append(found, r.connection(names))
		}
	}
}

func (r *record) connection(names suites) *connection {
	c := &connection{transport: r.Network.Transport, from: r.Source.address(), to: r.Destination.address(), start: r.Event.Start, end: r.Event.End}
	if r.TLS == nil {
		return c
	}
	c.values = [fields]string{
		version:    r.TLS.Version,
		cipher:     names.name(r.TLS.Cipher),
		serverName: r.TLS.Client.ServerName,
		ja3:        r.TLS.Client.JA3,
		ja3s:       r.TLS.Server.JA3S,
		alpn:       strings.Join(r.Meshtls.TLS.ALPN, " "),
	}
	if p := r.TLS.Protocol; c.values[version] != "" && p != "tls" {
		c.values[version] = p + " " + c.values[version]
	}
	if r.TLS.Server.Hash.SHA256 != "" {
		c.values[serverCert] = "yes"
	}
	switch r.Meshtls.TLS.ClientAuth {
	case "presented":
		c.values[clientCert] = "yes"
	case "declined", "not_requested":
		c.values[clientCert] = "no"
	}
	return c
}

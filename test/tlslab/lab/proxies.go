package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// configure writes a proxy's configuration to a file in the work folder, and returns the path of the file.
func (l *lab) configure(name, text string) string {
	path := filepath.Join(l.work, name)
	_ = os.WriteFile(path, []byte(text), 0o644) // after an error the proxy reports that the file is missing
	return path
}

func pick(s string, m map[string]string) string { return m[s] }

// nginx returns nginx as a server. If it cannot verify the client's certificate, or requires one and gets none, it
// completes the handshake and responds with status 400.
func nginx() *stack {
	return &stack{
		name: "nginx", needs: []string{"nginx"}, release: output(`\d+\.\d+\.\d+`, "nginx", "-v"),
		server: func(l *lab, e endpoint) []string {
			verify := pick(e.auth, map[string]string{"": "off", "optional": "optional", "required": "on"})
			conf := l.configure("nginx.conf", fmt.Sprintf(`
daemon off; master_process off; pid %[1]s/nginx.pid; error_log stderr info;
events {}
http {
	log_format truth 'truth verify=$ssl_client_verify reused=$ssl_session_reused subject="$ssl_client_s_dn" status=$status $ssl_protocol';
	access_log /dev/stdout truth;
	client_body_temp_path %[1]s/nginx.tmp; proxy_temp_path %[1]s/nginx.tmp; fastcgi_temp_path %[1]s/nginx.tmp; uwsgi_temp_path %[1]s/nginx.tmp; scgi_temp_path %[1]s/nginx.tmp;
	keepalive_timeout 0;
	server {
		listen %[2]s:%[3]s ssl; server_name _;
		ssl_certificate %[4]s; ssl_certificate_key %[5]s; ssl_client_certificate %[6]s; ssl_verify_client %[7]s; ssl_verify_depth 5; ssl_protocols TLSv%[8]s;
		%[9]s
		location / { return 200 lab-pong; }
	}
}`, l.work, serverAddr, port, l.certs.pem(e.serverCert()), l.certs.key(e.serverCert()), l.certs.ca(), verify, e.version(), strings.Join(e.options, "\n")))
			return []string{"nginx", "-e", "stderr", "-c", conf}
		},
		said: func(log string) []seen {
			var all []seen
			for _, line := range regexp.MustCompile(`(?m)^(truth .*|.*SSL_do_handshake\(\) failed.*)$`).FindAllString(log, -1) {
				if !strings.HasPrefix(line, "truth") {
					all = append(all, seen{certs: -1, err: line})
					continue
				}
				s := seen{resumed: strings.Contains(line, "reused=r")}
				if !strings.Contains(line, "verify=NONE") {
					s.certs = 1
				}
				all = append(all, s)
			}
			return all
		},
	}
}

func haproxy() *stack {
	return &stack{
		name: "HAProxy", needs: []string{"haproxy"}, release: output(`\d+\.\d+\.\d+`, "haproxy", "-v"),
		server: func(l *lab, e endpoint) []string {
			verify := pick(e.auth, map[string]string{"": "none", "optional": "optional", "required": "required"})
			const truth = `truth crt=%[ssl_c_used] verify=%[ssl_c_verify] resumed=%[ssl_fc_is_resumed] early=%[ssl_fc_has_early] error=%[ssl_fc_err_str]`
			conf := l.configure("haproxy.cfg", fmt.Sprintf(`
global
	log stdout format raw local0
defaults
	mode http
	log global
	timeout client 5s
	timeout server 5s
	timeout connect 5s
	option http-server-close
	log-format "%[1]s"
	error-log-format "%[1]s"
frontend lab
	bind %[2]s:%[3]s ssl crt %[4]s ca-file %[5]s verify %[6]s ssl-min-ver TLSv%[7]s ssl-max-ver TLSv%[7]s %[8]s
	http-request return status 200 content-type text/plain string lab-pong
`, truth, serverAddr, port, l.certs.both(e.serverCert()), l.certs.ca(), verify, e.version(), strings.Join(e.options, " ")))
			return []string{"haproxy", "-db", "-f", conf}
		},
		said: func(log string) []seen {
			var all []seen
			for _, m := range regexp.MustCompile(`(?m)truth crt=(\S*) verify=(\S*) resumed=(\S*) early=(\S*) error=(.*)$`).FindAllStringSubmatch(log, -1) {
				s := seen{resumed: m[3] == "1", early: m[4] == "1", err: strings.Trim(m[5], "- ")}
				switch {
				case m[1] == "1":
					s.certs = 1
				case s.err != "":
					s.certs = -1
				}
				all = append(all, s)
			}
			return all
		},
	}
}

func stunnel() *stack {
	level := func(e endpoint) string {
		return fmt.Sprintf("sslVersionMin = TLSv%[1]s\nsslVersionMax = TLSv%[1]s\n", e.version())
	}
	return &stack{
		name: "stunnel", needs: []string{"stunnel"}, release: output(`\d+\.\d+`, "stunnel", "-version"),
		server: func(l *lab, e endpoint) []string {
			verify := ""
			switch e.auth {
			case "optional":
				verify = "verify = 1\nCAfile = " + l.certs.ca()
			case "required":
				verify = "verifyChain = yes\nrequireCert = yes\nCAfile = " + l.certs.ca()
			}
			conf := l.configure("stunnel.conf", fmt.Sprintf("foreground = yes\npid =\ndebug = 7\n[lab]\naccept = %s:%s\nexec = /bin/sh\nexecArgs = sh -c \"read x; echo HTTP/1.0 200 lab-pong; echo\"\ncert = %s\nkey = %s\n%s%s\n%s\n",
				serverAddr, port, l.certs.pem(e.serverCert()), l.certs.key(e.serverCert()), level(e), verify, strings.Join(e.options, "\n")))
			return []string{"stunnel", conf}
		},
		said: func(log string) []seen {
			var all []seen
			for _, p := range split(log, "accepted connection from") {
				s := seen{certs: strings.Count(p, "Certificate accepted at depth="), resumed: strings.Contains(p, "previous session reused")}
				s.err = first(`(SSL_accept: [^\n]*|CERT: Pre-verification error: [^\n]*|SSL_accept:[^\n]*)`, p)
				if strings.Contains(p, "TLS accepted") {
					s.err = ""
				} else if s.certs == 0 {
					s.certs = -1
				}
				all = append(all, s)
			}
			return all
		},
		proxy: func(l *lab, e endpoint) []string {
			text := fmt.Sprintf("foreground = yes\npid =\ndebug = 5\n[lab]\nclient = yes\naccept = %s:%s\nconnect = %s:%s\nsni = %s\nverifyChain = yes\nCAfile = %s\n%s", clientAddr, plainPort, serverAddr, port, serverName, l.certs.ca(), level(e))
			if e.cert != "" {
				text += "cert = " + l.certs.pem(e.cert) + "\nkey = " + l.certs.key(e.cert) + "\n"
			}
			return []string{"stunnel", l.configure("stunnel.client.conf", text)}
		},
		client: plainClient,
	}
}

// plainClient returns the commands that send plaintext requests to a proxy in the client's namespace.
func plainClient(_ *lab, e endpoint) [][]string {
	var all [][]string
	for range e.count() {
		all = append(all, []string{"curl", "-s", "-S", "-i", "-m", "5", "--http1.1", "-H", "Host: " + serverName, "-H", "Connection: close", "http://" + clientAddr + ":" + plainPort + "/ping"})
	}
	return all
}

type object = map[string]any

// envoy returns Envoy, which uses BoringSSL. The access log of its listener includes handshakes that were refused.
func envoy(venv string) *stack {
	binary := ""
	if found, _ := filepath.Glob(venv + "/lib/python3*/site-packages/envoy/_bin/envoy"); found != nil {
		binary = found[0]
	} else {
		binary = filepath.Join(venv, "envoy")
	}
	const log = "envoy.access"
	const admin = "15000"
	tlsOf := func(l *lab, e endpoint, cert string) object {
		params := object{"tls_minimum_protocol_version": "TLSv1_" + e.version()[2:], "tls_maximum_protocol_version": "TLSv1_" + e.version()[2:]}
		for _, o := range e.options {
			if key, value, ok := strings.Cut(o, "="); ok {
				params[key] = strings.Split(value, ",")
			}
		}
		common := object{"tls_params": params}
		if cert != "" {
			common["tls_certificates"] = []object{{"certificate_chain": object{"filename": l.certs.pem(cert)}, "private_key": object{"filename": l.certs.key(cert)}}}
		}
		return common
	}
	address := func(host, port string) object {
		n, _ := strconv.Atoi(port)
		return object{"socket_address": object{"address": host, "port_value": n}}
	}
	run := func(l *lab, name string, listener, cluster object) []string {
		resources := object{"listeners": []object{listener}}
		if cluster != nil {
			resources["clusters"] = []object{cluster}
		}
		b, _ := json.Marshal(object{"static_resources": resources, "admin": object{"address": address("127.0.0.1", admin)}})
		return []string{binary, "-c", l.configure(name, string(b)), "--concurrency", "1", "--disable-hot-restart", "-l", "warning", "--component-log-level", "connection:debug"}
	}
	return &stack{
		name: "Envoy", needs: []string{binary}, release: output(`\d+\.\d+\.\d+`, binary, "--version"), file: log,
		server: func(l *lab, e endpoint) []string {
			_ = os.Remove(filepath.Join(l.work, log))
			common := tlsOf(l, e, e.serverCert())
			if e.auth != "" {
				common["validation_context"] = object{"trusted_ca": object{"filename": l.certs.ca()}}
			}
			down := object{"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": common, "require_client_certificate": e.auth == "required"}
			access := []object{{"name": "file", "typed_config": object{"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": filepath.Join(l.work, log),
				"log_format": object{"text_format_source": object{"inline_string": "truth peer=%DOWNSTREAM_PEER_FINGERPRINT_256% version=%DOWNSTREAM_TLS_VERSION% session=%DOWNSTREAM_TLS_SESSION_ID% error=%DOWNSTREAM_TRANSPORT_FAILURE_REASON%\n"}}}}}
			answer := object{"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "lab", "http_filters": []object{{"name": "router", "typed_config": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}},
				"route_config": object{"virtual_hosts": []object{{"name": "lab", "domains": []string{"*"}, "routes": []object{{"match": object{"prefix": "/"}, "direct_response": object{"status": 200, "body": object{"inline_string": "lab-pong"}}}}}}}}
			return run(l, "envoy.server.json", object{
				"name": "lab", "address": address(serverAddr, port), "access_log": access,
				"filter_chains": []object{{"transport_socket": object{"name": "tls", "typed_config": down}, "filters": []object{{"name": "http", "typed_config": answer}}}},
			}, nil)
		},
		said: func(log string) []seen {
			var all []seen
			for _, m := range regexp.MustCompile(`(?m)^truth peer=(\S*) version=(\S*) session=(\S*) error=(.*)$`).FindAllStringSubmatch(log, -1) {
				s := seen{err: strings.Trim(m[4], "- ")}
				switch {
				case len(m[1]) > 1:
					s.certs = 1
				case s.err != "":
					s.certs = -1
				}
				all = append(all, s)
			}
			if reused, _ := strconv.Atoi(first(`ssl\.session_reused: (\d+)`, log)); reused > 0 && reused < len(all) {
				for i := len(all) - reused; i < len(all); i++ {
					all[i].resumed = true
				}
			}
			return all
		},
		ask: []string{"curl", "-s", "-m", "2", "http://127.0.0.1:" + admin + "/stats?filter=session_reused"},
		proxy: func(l *lab, e endpoint) []string {
			common := tlsOf(l, e, e.cert)
			common["validation_context"] = object{"trusted_ca": object{"filename": l.certs.ca()}}
			up := object{"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": common, "sni": serverName}
			if e.n == 0 {
				up["max_session_keys"] = 0
			}
			forward := object{"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "lab", "cluster": "lab"}
			return run(l, "envoy.client.json",
				object{"name": "plain", "address": address(clientAddr, plainPort), "filter_chains": []object{{"filters": []object{{"name": "tcp", "typed_config": forward}}}}},
				object{"name": "lab", "type": "STATIC", "connect_timeout": "5s", "transport_socket": object{"name": "tls", "typed_config": up},
					"load_assignment": object{"cluster_name": "lab", "endpoints": []object{{"lb_endpoints": []object{{"endpoint": object{"address": address(serverAddr, port)}}}}}}})
		},
		client: plainClient,
	}
}

{{/*
tap.variables: the variables of the tap (cmd/tap/config.go), with the values that the tap accepts. `one` is a regular expression for the
whole value, `each` one for each item of a comma-separated list; `expected` describes them. A variable without either has any value, or one
that tap.checkVariable checks. TestTapVariables in test/cluster/chart compares the names with those of the tap.
*/}}
{{- define "tap.variables" -}}
{{- $bool := "one: '1|t|T|TRUE|true|True|0|f|F|FALSE|false|False', expected: true or false" }}
{{- $duration := "one: '[+]?(0|(([0-9]+[.]?[0-9]*|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+)', expected: a duration such as 3s" }}
{{- $bytes := "one: '[+]?[0-9]*[1-9][0-9]*(Ki|Mi|Gi)?', expected: a number of bytes such as 64Mi" }}
{{- $number := "one: '[+]?0*[1-9][0-9]{0,8}', expected: a number of 1 or more" }}
{{- $port := "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])" }}
{{- $topic := "one: '([a-zA-Z0-9._-]|[{]namespace[}]){1,249}', expected: the name of a topic" }}
{{- $rules := "plaintext-edge|tls-not-mutual|mtls-downgrade|tls-version-weak|cipher-weak|certificate-expired|certificate-expiring|certificate-weak|handshake-failed|plaintext-accepted|identity-mismatch|edge-unjudged|key-exchange-downgrade|key-exchange-not-post-quantum|credentials-in-clear" }}
TAP_AMBIENT: {one: istio|cilium, expected: istio or cilium}
TAP_ANNOUNCEMENTS: { {{- $number -}} }
TAP_CLUSTER_CIDRS: {}
TAP_CONFIG_ALLOW: {one: '[ ,]*none[ ,]*|[ ,]*((enabled|until|mute|expect) *(,[ ,]*|$))*', expected: 'a list of enabled, until, mute, expect; or none'}
TAP_EMIT: {each: findings|posture|flows, expected: 'a list of findings, posture, flows'}
TAP_EVIDENCE_AGE: {one: '[1-9][0-9]{0,4}(h([0-9]{1,3}m)?|m)', expected: a duration such as 24h}
TAP_EXPECT: {}
TAP_FILTER: {}
TAP_FORMAT: {one: ecs|ocsf, expected: ecs or ocsf}
TAP_FORWARDED: { {{- $bool -}} }
TAP_GRACE: { {{- $duration -}} }
TAP_INTERFACES: {one: '.*[^ ,].*', expected: one or more names}
TAP_KAFKA_BATCH_BYTES: { {{- $bytes -}} }
TAP_KAFKA_BATCH_SIZE: { {{- $number -}} }
TAP_KAFKA_BATCH_TIMEOUT: { {{- $duration -}} }
TAP_KAFKA_BROKERS: {each: '[^ ,]+:{{ $port }}', expected: 'a list of host:port'}
TAP_KAFKA_COMPRESSION: {one: zstd|lz4|snappy|gzip|none, expected: 'zstd, lz4, snappy, gzip or none'}
TAP_KAFKA_EVIDENCE_TOPIC: { {{- $topic -}} }
TAP_KAFKA_FLOWS_TOPIC: { {{- $topic -}} }
TAP_KAFKA_POSTURE_TOPIC: { {{- $topic -}} }
TAP_KAFKA_SASL_MECHANISM: {one: '(?i:plain|scram-sha-256|scram-sha-512|oauthbearer)', expected: 'plain, scram-sha-256, scram-sha-512 or oauthbearer'}
TAP_KAFKA_SASL_PASSWORD: {}
TAP_KAFKA_SASL_USERNAME: {}
TAP_KAFKA_TLS: { {{- $bool -}} }
TAP_KAFKA_TLS_SERVER_NAME: {}
TAP_KAFKA_TOPIC: { {{- $topic -}} }
TAP_LOG_LEVEL: {one: '(?i:debug|info|warn|error)([+-][0-9]{1,4})?', expected: 'debug, info, warn or error'}
TAP_MEMORY: { {{- $bytes -}} }
TAP_MESH: {one: osm|istio|istio_ambient|linkerd|consul|kuma, expected: 'osm, istio, istio_ambient, linkerd, consul or kuma'}
TAP_METRICS_PORTS: {one: 'none|[ ,]*({{ $port }} *(,[ ,]*|$))*', expected: 'a list of ports, or none'}
TAP_MUTE: {bare: '{{ $rules }}|tap-blind', port: '{{ $port }}', expected: 'mutes as rule=RULE,until=YYYY-MM-DD,reason=TEXT, with semicolons between them'}
TAP_NODE_ENCRYPTION: {}
TAP_POSTURE_INTERVAL: {}
TAP_PROBE_PORTS: {each: '({{ $port }}|none)(/.*)?', expected: 'a list of PORT[/PATH]'}
TAP_REDACT: {one: strict|default|none, expected: 'strict, default or none'}
TAP_SELF_TEST: { {{- $bool -}} }
TAP_SEVERITY: {each: '({{ $rules }})=[+]?0*(0|21|47|73|99)', expected: 'a list of RULE=SEVERITY, with a severity of 0, 21, 47, 73 or 99'}
TAP_SINK: {one: stdout|kafka, expected: stdout or kafka}
TAP_THIN: { {{- $bool -}} }
TAP_WINDOW: {}
{{- end }}

{{/* tap.checkVariable (list NAME VALUE) fails for a variable of tap.extraEnv that the tap does not have, or whose value it refuses. */}}
{{- define "tap.checkVariable" -}}
{{- $name := index . 0 }}{{ $value := index . 1 }}{{ $where := printf "tap.extraEnv: %s" $name }}
{{- $variables := include "tap.variables" . | fromYaml }}
{{- if not (hasKey $variables $name) }}{{ fail (printf "%s: the tap has no such variable" $where) }}{{ end }}
{{- $form := get $variables $name }}
{{- if not $value }}
{{- else if eq $name "TAP_FILTER" }}{{ include "tap.checkFilter" (list $where $value) }}
{{- else if has $name (list "TAP_WINDOW" "TAP_POSTURE_INTERVAL") }}{{ include "tap.checkWindow" (list $where $value) }}
{{- else if eq $name "TAP_EXPECT" }}{{ range splitList "," $value }}{{ if trim . }}{{ include "tap.checkExpect" (list $where .) }}{{ end }}{{ end }}
{{- else if eq $name "TAP_MUTE" }}
{{- $field := printf "rule *= *(%s)|until *= *20[0-9]{2}-[0-9]{2}-[0-9]{2}|peer *= *[a-zA-Z0-9._:/-]+|port *= *%s|class *= *(tap|dns|kubernetes_api|mesh_control|metrics|probe|node)" $form.bare $form.port }}
{{- range splitList ";" (replace "\n" ";" $value) }}
{{- $keyed := and (regexMatch (printf "^[ ,]*((%s) *, *)+reason *= *[^ ].*$" $field) .) (regexMatch "rule *=.*reason" .) (regexMatch "until *=.*reason" .) }}
{{- if not (or $keyed (regexMatch (printf "^[ ,]*((%s) *(,[ ,]*|$))*$" $form.bare) .)) }}{{ fail (printf "%s=%s: expected %s" $where $value $form.expected) }}{{ end }}
{{- end }}
{{- else if eq $name "TAP_CLUSTER_CIDRS" }}
{{- range splitList "," $value }}{{ if and (trim .) (not (include "tap.prefix" (trim .))) }}{{ fail (printf "%s: %s: expected an address or a CIDR such as 10.0.0.0/8" $where .) }}{{ end }}{{ end }}
{{- else if $form.one }}
{{- if not (regexMatch (printf "^(%s)$" $form.one) $value) }}{{ fail (printf "%s=%s: expected %s" $where $value $form.expected) }}{{ end }}
{{- else if $form.each }}
{{- range splitList "," $value }}{{ if and (trim .) (not (regexMatch (printf "^(%s)$" $form.each) (trim .))) }}{{ fail (printf "%s=%s: expected %s" $where $value $form.expected) }}{{ end }}{{ end }}
{{- end }}
{{- end }}

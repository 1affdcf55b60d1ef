{{/*
Checks that values.schema.json cannot express: combinations of values, and values that the webhook would reject at its start
(internal/inject, Settings.check). test/cluster/chart/refused_test.go tests both with the same table.
*/}}
{{- define "tap.checks" -}}
{{- include "tap.checkWebhook" . }}
{{- include "tap.checkKafka" . }}
{{- include "tap.checkTap" . }}
{{- include "tap.checkNamespaceLabel" . }}
{{- end }}

{{- define "tap.checkWebhook" -}}
{{- $webhook := .Values.webhook }}{{ $tls := $webhook.tls }}
{{- if and (eq $tls.mode "existingSecret") (not $tls.secretName) }}
{{- fail "webhook.tls.mode existingSecret needs webhook.tls.secretName" }}
{{- end }}
{{- if and (eq $tls.mode "existingSecret") (not $tls.caBundle) }}
{{- fail "webhook.tls.mode existingSecret needs webhook.tls.caBundle, the authority that the API server is to trust" }}
{{- end }}
{{- if and (ne $tls.mode "existingSecret") (or $tls.secretName $tls.caBundle) }}
{{- fail (printf "webhook.tls.secretName and webhook.tls.caBundle are used only with webhook.tls.mode existingSecret, and the mode is %s" $tls.mode) }}
{{- end }}
{{- if and $tls.certManager.issuerRef (ne $tls.mode "certManager") }}
{{- fail (printf "webhook.tls.certManager.issuerRef is used only with webhook.tls.mode certManager, and the mode is %s" $tls.mode) }}
{{- end }}
{{- if and $tls.certManager.issuerRef (not $tls.certManager.issuerRef.name) }}
{{- fail "webhook.tls.certManager.issuerRef needs a name" }}
{{- end }}
{{- if eq (include "tap.port" .) (toString $webhook.metricsPort) }}
{{- fail "webhook.port and webhook.metricsPort must differ" }}
{{- end }}
{{- if and $webhook.hostNetwork (has (include "tap.port" .) (list "10250")) }}
{{- fail "webhook.port 10250 is the kubelet's on every node: with webhook.hostNetwork choose another, or 0 for 10269" }}
{{- end }}
{{- if and $webhook.hostNetwork (eq (toString $webhook.metricsPort) "10250") }}
{{- fail "webhook.metricsPort 10250 is the kubelet's on every node: with webhook.hostNetwork choose another" }}
{{- end }}
{{- if and $webhook.hostNetwork (not $webhook.hostUsers) }}
{{- fail "webhook.hostUsers false and webhook.hostNetwork exclude each other in Kubernetes" }}
{{- end }}
{{- if and $webhook.clientCA.secretName $webhook.clientCA.configMapName }}
{{- fail "webhook.clientCA: expected a Secret or a ConfigMap, not both" }}
{{- end }}
{{- if and $webhook.clientNames (not $webhook.clientCA.secretName) (not $webhook.clientCA.configMapName) }}
{{- fail "webhook.clientNames needs webhook.clientCA, which verifies the certificates" }}
{{- end }}
{{- $own := list "POD_NAMESPACE" "POD_NAME" }}
{{- range $webhook.extraEnv }}
{{- if or (has .name $own) (and (hasPrefix "WEBHOOK_" .name) (not (has .name (list "WEBHOOK_DRAIN" "WEBHOOK_CERT_HOSTS")))) }}
{{- fail (printf "webhook.extraEnv: %s is set by the chart" .name) }}
{{- end }}
{{- if and (eq .name "WEBHOOK_CERT_HOSTS") $webhook.url.host }}{{ fail "webhook.extraEnv: WEBHOOK_CERT_HOSTS is set by the chart, from webhook.url.host" }}{{ end }}
{{- if and (eq .name "WEBHOOK_DRAIN") (not (regexMatch "^([0-9]{1,6}([.][0-9]{1,6})?(ms|s|m|h))+$" (.value | default ""))) }}
{{- fail (printf "webhook.extraEnv: WEBHOOK_DRAIN=%s: expected a duration such as 5s" (.value | default "")) }}
{{- end }}
{{- end }}
{{- include "tap.checkResources" (list "webhook.resources" $webhook.resources) }}
{{- $names := list "not-host-network" "not-windows" "not-mirror" }}
{{- range .Values.injection.matchConditions }}
{{- if has .name $names }}{{ fail (printf "injection.matchConditions: the name %s is already used" .name) }}{{ end }}
{{- $names = append $names .name }}
{{- end }}
{{- range $name, $selector := dict "injection.namespaceSelector" .Values.injection.namespaceSelector "injection.objectSelector" .Values.injection.objectSelector }}
{{- if hasKey ($selector.matchLabels | default dict) "meshtls-tap" }}{{ fail (printf "%s: the selector already has the label meshtls-tap" $name) }}{{ end }}
{{- range $selector.matchExpressions }}
{{- if ne (has .operator (list "In" "NotIn")) (gt (len (.values | default list)) 0) }}{{ fail (printf "%s: operator %s of %s: In and NotIn need values, and the other operators must not have any" $name .operator .key) }}{{ end }}
{{- end }}
{{- end }}
{{- with .Values.injection.protect }}
{{- if and .enabled (not .groups) (not .users) }}{{ fail "injection.protect needs groups or users: without them nobody could change the reserved objects" }}{{ end }}
{{- if .enabled }}{{ range $.Values.tap.extraEnv }}{{ if eq .name "TAP_SINK" }}{{ fail "tap.extraEnv: TAP_SINK is set by the chart, and with injection.protect it marks the tap" }}{{ end }}{{ end }}{{ end }}
{{- if and .enabled (not (semverCompare ">=1.30-0" $.Capabilities.KubeVersion.Version)) }}{{ fail "injection.protect needs Kubernetes 1.30, which has ValidatingAdmissionPolicy" }}{{ end }}
{{- end }}
{{- end }}

{{- define "tap.checkKafka" -}}
{{- $kafka := .Values.kafka }}{{ $sasl := $kafka.sasl }}
{{- range $kafka.brokers }}
{{- if not (include "tap.isPort" (regexFind "[0-9]+$" .)) }}{{ fail (printf "kafka.brokers: %s: expected host:port with a port from 1 to 65535" .) }}{{ end }}
{{- end }}
{{- if and $kafka.tls.ca.secretName $kafka.tls.ca.configMapName }}
{{- fail "kafka.tls.ca: expected a Secret or a ConfigMap, not both" }}
{{- end }}
{{- $variables := list }}{{ range .Values.tap.extraEnv }}{{ $variables = append $variables .name }}{{ end }}
{{- if and (eq $sasl.mechanism "oauthbearer") (not $sasl.token.audience) }}
{{- fail "kafka.sasl.mechanism oauthbearer needs kafka.sasl.token.audience" }}
{{- else if and $sasl.mechanism (ne $sasl.mechanism "oauthbearer") (not $sasl.username) }}
{{- fail (printf "kafka.sasl.mechanism %s needs kafka.sasl.username" $sasl.mechanism) }}
{{- else if and $sasl.mechanism (ne $sasl.mechanism "oauthbearer") (not $sasl.password.secretName) (not (has "TAP_KAFKA_SASL_PASSWORD" $variables)) }}
{{- fail (printf "kafka.sasl.mechanism %s needs kafka.sasl.password.secretName" $sasl.mechanism) }}
{{- end }}
{{- if and (not $sasl.mechanism) (or $sasl.username $sasl.password.secretName $sasl.token.audience) }}
{{- fail "kafka.sasl.username, password and token need kafka.sasl.mechanism" }}
{{- end }}
{{- end }}

{{- define "tap.checkTap" -}}
{{- $tap := .Values.tap }}
{{- include "tap.checkResources" (list "tap.resources" $tap.resources) }}
{{- $floors := dict "requests.cpu" "1m" "limits.cpu" "20m" "requests.memory" "8Mi" "limits.memory" "48Mi" }}
{{- range $place, $least := $floors }}
{{- $path := splitList "." $place }}
{{- $value := dig (index $path 0) (index $path 1) "" $tap.resources }}
{{- if and (ne (toString $value) "") (lt (include "tap.quantity" $value | float64) (include "tap.quantity" $least | float64)) }}
{{- fail (printf "tap.resources.%s: %v: expected %s or more" $place $value $least) }}
{{- end }}
{{- end }}
{{- include "tap.checkWindow" (list "tap.window" $tap.window) }}
{{- include "tap.checkWindow" (list "tap.postureInterval" $tap.postureInterval) }}
{{- range $tap.expect }}{{ include "tap.checkExpect" (list "tap.expect" .) }}{{ end }}
{{- range $tap.mute }}{{ include "tap.checkMute" . }}{{ end }}
{{- range $tap.clusterCIDRs }}
{{- if not (include "tap.prefix" .) }}{{ fail (printf "tap.clusterCIDRs: %s: expected an address or a CIDR such as 10.0.0.0/8" .) }}{{ end }}
{{- end }}
{{- with $tap.filter }}{{ include "tap.checkFilter" (list "tap.filter" .) }}{{ end }}
{{- with $tap.spool }}
{{- if lt (include "tap.quantity" . | float64) 1048576.0 }}{{ fail (printf "tap.spool: %s: expected 1Mi or more" .) }}{{ end }}
{{- end }}
{{- with $tap.evidence }}
{{- if lt (include "tap.quantity" . | float64) 262144.0 }}{{ fail (printf "tap.evidence: %s: expected 256Ki or more" .) }}{{ end }}
{{- if eq $tap.redact "strict" }}{{ fail "tap.evidence: TLS handshakes contain names, so it cannot be set with tap.redact strict" }}{{ end }}
{{- end }}
{{- include "tap.checkEnv" . }}
{{- end }}

{{/* Variables in tap.extraEnv: only those of the tap (_environment.tpl), and none that the webhook sets (inject.reserved). Their values must pass the tap's checks. */}}
{{- define "tap.checkEnv" -}}
{{- $reserved := list "TAP_CLUSTER" "TAP_WORKLOAD_KIND" "TAP_WORKLOAD_NAME" "TAP_LOCAL_PROXY" "TAP_DECLARED_SKIP" "TAP_UNTIL" "TAP_OWN_UNTIL" "TAP_FOR" "TAP_KEEPALIVE" "TAP_LISTEN" "TAP_LISTEN_AFTER" "TAP_CONFIG_DIR" "TAP_SPOOL_DIR" "TAP_SPOOL_MAX" "TAP_EVIDENCE_DIR" "TAP_EVIDENCE_FILES" "TAP_EVIDENCE_FILE_MAX" "TAP_KAFKA_TLS_CA_FILE" "TAP_KAFKA_TLS_CERT_FILE" "TAP_KAFKA_TLS_KEY_FILE" "TAP_KAFKA_SASL_PASSWORD_FILE" "TAP_KAFKA_SASL_TOKEN_FILE" }}
{{- range .Values.tap.extraEnv }}
{{- $where := printf "tap.extraEnv: %s" .name }}
{{- if not (regexMatch "^TAP_[A-Z0-9_]+$" .name) }}{{ fail (printf "%s is not a TAP_ variable" $where) }}{{ end }}
{{- if has .name $reserved }}{{ fail (printf "%s is set by the webhook" $where) }}{{ end }}
{{- include "tap.checkVariable" (list .name (.value | default "")) }}
{{- end }}
{{- end }}

{{/* tap.checkWindow (list WHERE DURATION) fails for durations shorter than 10 s, as inject.checkWindow does. */}}
{{- define "tap.checkWindow" -}}
{{- $where := index . 0 }}{{ $text := index . 1 }}
{{- if not (regexMatch "^([0-9]{1,6}(ms|s|m|h))+$" $text) }}{{ fail (printf "%s: %s: expected a duration such as 10m" $where $text) }}{{ end }}
{{- $ms := 0 }}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" $text -1 }}
{{- $ms = add $ms (mul (include "tap.decimal" (regexFind "[0-9]+" .) | int64) (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) (regexFind "[a-z]+" .))) }}
{{- end }}
{{- if lt $ms 10000 }}{{ fail (printf "%s: %s: expected 10s or more: each pod publishes records each time" $where $text) }}{{ end }}
{{- end }}

{{/* tap.checkResources (list WHERE RESOURCES) fails if a request exceeds its limit. */}}
{{- define "tap.checkResources" -}}
{{- $where := index . 0 }}{{ $resources := index . 1 }}
{{- range $name, $request := $resources.requests }}
{{- $limit := dig $name "" ($resources.limits | default dict) }}
{{- if and (ne (toString $limit) "") $request (gt (include "tap.quantity" $request | float64) (include "tap.quantity" $limit | float64)) }}
{{- fail (printf "%s: the request of %s (%v) exceeds its limit (%v)" $where $name $request $limit) }}
{{- end }}
{{- end }}
{{- end }}

{{/* tap.quantity: a resource quantity as a plain decimal number. */}}
{{- define "tap.quantity" -}}
{{- if kindIs "string" . }}
{{- $factor := get (dict "" 1 "m" 0.001 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776) (regexFind "[A-Za-z]*$" .) }}
{{- mulf (regexFind "^[0-9.]+" . | float64) ($factor | float64) }}
{{- else }}{{ . }}
{{- end }}
{{- end }}

{{/* A chart cannot label the namespace that Helm creates, so this checks the label. Without a cluster the label is unknown. */}}
{{- define "tap.checkNamespaceLabel" -}}
{{- if and .Values.namespace.requireRestricted (eq (include "tap.namespaceLevel" .) "other") }}
{{- fail (printf "namespace %s does not enforce Pod Security restricted, which namespace.requireRestricted requires: create it yourself, without --create-namespace, and kubectl label namespace %s pod-security.kubernetes.io/enforce=restricted" (include "tap.namespace" .) (include "tap.namespace" .)) }}
{{- end }}
{{- end }}

{{/* tap.namespaceLevel: "restricted", "other", or "" if there is no cluster (helm template) or the chart renders the namespace. If the
     namespace does not exist, Helm creates it later (--create-namespace), without labels. */}}
{{- define "tap.namespaceLevel" -}}
{{- if not .Values.namespace.create }}
{{- with lookup "v1" "Namespace" "" (include "tap.namespace" .) }}
{{- eq (dig "metadata" "labels" "pod-security.kubernetes.io/enforce" "" .) "restricted" | ternary "restricted" "other" }}
{{- else }}
{{- if lookup "v1" "Namespace" "" "kube-system" }}other{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* tap.kafkaTLS: "true" if the tap uses TLS for the brokers. Any setting in kafka.tls enables it. */}}
{{- define "tap.kafkaTLS" -}}
{{- $tls := .Values.kafka.tls }}
{{- if or $tls.enabled $tls.serverName $tls.ca.secretName $tls.ca.configMapName $tls.clientCertificate.secretName }}true{{ end }}
{{- end }}

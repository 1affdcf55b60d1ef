{{- define "tap.name" -}}
{{- .Values.nameOverride | default "meshtls-tap" | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* The release's full name: short enough for "zz-" before it and "-webhook" behind it. */}}
{{- define "tap.fullname" -}}
{{- $name := include "tap.name" . }}
{{- .Values.fullnameOverride | default (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "tap.configurationName" -}}
{{- .Values.webhook.configurationName | default (printf "zz-%s" (include "tap.fullname" .)) }}
{{- end }}

{{- define "tap.annotateName" -}}
{{- printf "aa-%s" (include "tap.fullname" .) }}
{{- end }}

{{/* Whether the second configuration is needed, which adds annotations before a mesh's webhook reads them. */}}
{{- define "tap.annotates" -}}
{{- if or .Values.injection.excludeKafkaPort (has "exclude-kafka-port" .Values.injection.allowedAnnotations) (has "*" .Values.injection.allowedAnnotations) }}true{{ end }}
{{- end }}

{{- define "tap.serviceAccountName" -}}
{{- if .Values.webhook.serviceAccount.create }}
{{- .Values.webhook.serviceAccount.name | default (include "tap.fullname" .) }}
{{- else }}
{{- required "webhook.serviceAccount.name is needed where the chart does not create it" .Values.webhook.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tap.selector" -}}
app.kubernetes.io/name: {{ include "tap.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: webhook
{{- end }}

{{- define "tap.labels" -}}
{{ include "tap.selector" . }}
app.kubernetes.io/part-of: meshtls-tap
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* tap.image (list $ IMAGE): its full name; a digest wins over the tag. */}}
{{- define "tap.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 }}
{{- $name := $image.repository }}
{{- with $root.Values.image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end }}
{{- if $image.digest }}{{ printf "%s@%s" $name $image.digest }}{{ else }}{{ printf "%s:%s" $name ($image.tag | default $root.Chart.AppVersion) }}{{ end }}
{{- end }}

{{/* Namespaces that are never looked at: a webhook that answers for its own namespace cannot be started without itself. */}}
{{- define "tap.excluded" -}}
{{- append .Values.injection.excludedNamespaces .Release.Namespace | uniq | sortAlpha | toJson }}
{{- end }}

{{/* Pods that cannot or must not be tapped are not even sent: should the webhook be away, they cannot be hurt by it. */}}
{{- define "tap.matchConditions" -}}
- name: not-host-network
  expression: "!has(object.spec.hostNetwork) || !object.spec.hostNetwork"
- name: not-windows
  expression: >-
    !(has(object.spec.os) && object.spec.os.name == 'windows') &&
    !(has(object.spec.nodeSelector) && 'kubernetes.io/os' in object.spec.nodeSelector && object.spec.nodeSelector['kubernetes.io/os'] == 'windows')
- name: not-mirror
  expression: "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)"
{{- end }}

{{/* What of tap.tenantMay the namespace's ConfigMap can set. */}}
{{- define "tap.configAllow" -}}
{{- $may := list }}
{{- range list "enabled" "until" "mute" "expect" }}
{{- if or (has . $.Values.tap.tenantMay) (has "*" $.Values.tap.tenantMay) }}{{ $may = append $may . }}{{ end }}
{{- end }}
{{- join "," $may | default "none" }}
{{- end }}

{{/* Whether the ValidatingAdmissionPolicy is there, which needs Kubernetes 1.30. */}}
{{- define "tap.policy" -}}
{{- if and .Values.webhook.policy (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) }}true{{ end }}
{{- end }}

{{/* Whether the webhook may ask by dry runs. */}}
{{- define "tap.dryRuns" -}}
{{- if or (eq .Values.webhook.dryRuns "always") (and (eq .Values.webhook.dryRuns "auto") (include "tap.policy" .)) }}true{{ end }}
{{- end }}

{{- define "tap.checks" -}}
{{- if and (eq .Values.webhook.tls.mode "existingSecret") (not .Values.webhook.tls.secretName) }}
{{- fail "webhook.tls.mode existingSecret needs webhook.tls.secretName" }}
{{- end }}
{{- if and (eq .Values.webhook.tls.mode "existingSecret") (not .Values.webhook.tls.caBundle) }}
{{- fail "webhook.tls.mode existingSecret needs webhook.tls.caBundle: the API server trusts nobody else" }}
{{- end }}
{{- if eq (int .Values.webhook.port) (int .Values.webhook.metricsPort) }}
{{- fail "webhook.port and webhook.metricsPort have to differ" }}
{{- end }}
{{- if and .Values.kafka.tls.ca.secretName .Values.kafka.tls.ca.configMapName }}
{{- fail "kafka.tls.ca: a Secret or a ConfigMap, not both" }}
{{- end }}
{{- $sasl := .Values.kafka.sasl }}
{{- if and (eq $sasl.mechanism "oauthbearer") (not $sasl.token.audience) }}
{{- fail "kafka.sasl.mechanism oauthbearer needs kafka.sasl.token.audience" }}
{{- else if and $sasl.mechanism (ne $sasl.mechanism "oauthbearer") (not $sasl.username) }}
{{- fail "kafka.sasl.mechanism needs kafka.sasl.username" }}
{{- end }}
{{- range .Values.tap.extraEnv }}
{{- if not (hasPrefix "TAP_" .name) }}{{ fail (printf "tap.extraEnv: %s is not a TAP_ variable" .name) }}{{ end }}
{{- end }}
{{- end }}

{{- /* The namespace that `helm test` tries. */}}
{{- define "tap.checkNamespace" -}}
{{- .Values.tests.namespace | default (printf "%s-check" (include "tap.fullname" .)) }}
{{- end }}

{{- define "tap.name" -}}
{{- .Values.nameOverride | default "meshtls-tap" | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* tap.fullname: the full name of the release, short enough for the prefix "zz-" and the suffix "-webhook". */}}
{{- define "tap.fullname" -}}
{{- $name := include "tap.name" . }}
{{- .Values.fullnameOverride | default (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* tap.namespace: the namespace of all namespaced objects. */}}
{{- define "tap.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{/* tap.pullSecrets: a pod's imagePullSecrets, from names and from {name: ...} (global.imagePullSecrets may have both). */}}
{{- define "tap.pullSecrets" -}}
{{- $names := list }}
{{- range concat .Values.imagePullSecrets (.Values.global.imagePullSecrets | default list) }}
{{- if kindIs "map" . }}{{ $names = append $names .name }}{{ else }}{{ $names = append $names . }}{{ end }}
{{- end }}
{{- with uniq $names }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* tap.port: the port of the webhook's server. In the node's network it is not 10250, which is the kubelet's. */}}
{{- define "tap.port" -}}
{{- .Values.webhook.port | default (ternary 10269 10250 .Values.webhook.hostNetwork) }}
{{- end }}

{{/* The host in webhook.url.host, without its port and brackets. */}}
{{- define "tap.urlHost" -}}
{{- regexReplaceAll ":[0-9]+$" .Values.webhook.url.host "" | replace "[" "" | replace "]" "" }}
{{- end }}

{{- define "tap.configurationName" -}}
{{- .Values.webhook.configurationName | default (printf "zz-%s" (include "tap.fullname" .)) }}
{{- end }}

{{- define "tap.annotateName" -}}
{{- printf "aa-%s" (include "tap.fullname" .) }}
{{- end }}

{{/* Whether the second configuration is needed. It adds annotations before a mesh's webhook reads them. */}}
{{- define "tap.annotates" -}}
{{- if or .Values.injection.excludeKafkaPort (has "exclude-kafka-port" .Values.injection.allowedAnnotations) (has "*" .Values.injection.allowedAnnotations) }}true{{ end }}
{{- end }}

{{- define "tap.serviceAccountName" -}}
{{- if .Values.webhook.serviceAccount.create }}
{{- .Values.webhook.serviceAccount.name | default (include "tap.fullname" .) }}
{{- else }}
{{- required "webhook.serviceAccount.name is required if the chart does not create the service account" .Values.webhook.serviceAccount.name }}
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

{{/* tap.imageName (list $ IMAGE): the name of an image without tag and digest. global.imageRegistry replaces the host of the registry. */}}
{{- define "tap.imageName" -}}
{{- $root := index . 0 }}{{ $image := index . 1 }}
{{- $registry := $root.Values.image.registry }}
{{- with $root.Values.global.imageRegistry }}{{ $registry = regexReplaceAll "^[^/]*" $registry . }}{{ end }}
{{- with $registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- end }}

{{/* tap.image (list $ IMAGE): the full name of an image, as NAME:TAG or NAME:TAG@DIGEST. */}}
{{- define "tap.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 }}
{{- include "tap.imageName" . }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* The excluded namespaces. The release's namespace is one of them: a webhook for its own pods could keep them from starting. */}}
{{- define "tap.excluded" -}}
{{- append .Values.injection.excludedNamespaces (include "tap.namespace" .) | uniq | sortAlpha | toJson }}
{{- end }}

{{/* Conditions that keep the API server from calling the webhook for pods that cannot or must not be tapped: a failure of the webhook does not affect them. */}}
{{- define "tap.matchConditions" -}}
- name: not-host-network
  expression: "!has(object.spec.hostNetwork) || !object.spec.hostNetwork"
- name: not-windows
  expression: >-
    !(has(object.spec.os) && object.spec.os.name == 'windows') &&
    !(has(object.spec.nodeSelector) && 'kubernetes.io/os' in object.spec.nodeSelector && object.spec.nodeSelector['kubernetes.io/os'] == 'windows')
- name: not-mirror
  expression: "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)"
{{- with .Values.injection.matchConditions }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* tap.configAllow: the entries of tap.tenantMay that are keys of the namespace's ConfigMap. */}}
{{- define "tap.configAllow" -}}
{{- $may := list }}
{{- range list "enabled" "until" "mute" "expect" }}
{{- if or (has . $.Values.tap.tenantMay) (has "*" $.Values.tap.tenantMay) }}{{ $may = append $may . }}{{ end }}
{{- end }}
{{- join "," $may | default "none" }}
{{- end }}

{{/* tap.severities SEVERITIES: the value of TAP_SEVERITY. */}}
{{- define "tap.severities" -}}
{{- $list := list }}
{{- range $rule, $severity := . }}{{ $list = append $list (printf "%s=%d" $rule (int64 $severity)) }}{{ end }}
{{- join "," $list }}
{{- end }}

{{/* tap.mute MUTES: the value of TAP_MUTE. */}}
{{- define "tap.mute" -}}
{{- $list := list }}
{{- range . }}
{{- $fields := list (printf "rule=%s" .rule) }}
{{- range .peers }}{{ $fields = append $fields (printf "peer=%s" .) }}{{ end }}
{{- range .ports }}{{ $fields = append $fields (printf "port=%d" (int64 .)) }}{{ end }}
{{- range .classes }}{{ $fields = append $fields (printf "class=%s" .) }}{{ end }}
{{- $list = append $list (join "," (concat $fields (list (printf "until=%s" .until) (printf "reason=%s" .reason)))) }}
{{- end }}
{{- join ";" $list }}
{{- end }}

{{/* Whether the ValidatingAdmissionPolicy is rendered. It needs Kubernetes 1.30. */}}
{{- define "tap.policy" -}}
{{- if and .Values.webhook.policy (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) }}true{{ end }}
{{- end }}

{{/* tap.dryRuns: whether the webhook does dry runs. */}}
{{- define "tap.dryRuns" -}}
{{- if or (eq .Values.webhook.dryRuns "always") (and (eq .Values.webhook.dryRuns "auto") (include "tap.policy" .)) }}true{{ end }}
{{- end }}

{{- /* The namespace that `helm test` tries. */}}
{{- define "tap.checkNamespace" -}}
{{- .Values.tests.namespace | default (printf "%s-check" (include "tap.fullname" .)) }}
{{- end }}

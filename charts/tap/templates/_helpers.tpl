{{- define "tap.name" -}}
{{- .Values.nameOverride | default "meshtls-tap" | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* The release's full name: short enough for "zz-" before it and "-webhook" behind it. */}}
{{- define "tap.fullname" -}}
{{- $name := include "tap.name" . }}
{{- .Values.fullnameOverride | default (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* The namespace of all objects that have one. */}}
{{- define "tap.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{/* tap.pullSecrets: a pod's imagePullSecrets, of names and of {name: ...} (global.imagePullSecrets is either). */}}
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

{{/* The port of the webhook's own server: on a node 10250 is the kubelet's. */}}
{{- define "tap.port" -}}
{{- .Values.webhook.port | default (ternary 10269 10250 .Values.webhook.hostNetwork) }}
{{- end }}

{{/* The host of webhook.url without its port and brackets. */}}
{{- define "tap.urlHost" -}}
{{- regexReplaceAll ":[0-9]+$" .Values.webhook.url.host "" | replace "[" "" | replace "]" "" }}
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

{{/* tap.imageName (list $ IMAGE): its name without tag and digest. global.imageRegistry takes the place of the registry's host. */}}
{{- define "tap.imageName" -}}
{{- $root := index . 0 }}{{ $image := index . 1 }}
{{- $registry := $root.Values.image.registry }}
{{- with $root.Values.global.imageRegistry }}{{ $registry = regexReplaceAll "^[^/]*" $registry . }}{{ end }}
{{- with $registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- end }}

{{/* tap.image (list $ IMAGE): its full name, as NAME:TAG or NAME:TAG@DIGEST. */}}
{{- define "tap.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 }}
{{- include "tap.imageName" . }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* Namespaces that are never looked at: a webhook that answers for its own namespace cannot be started without itself. */}}
{{- define "tap.excluded" -}}
{{- append .Values.injection.excludedNamespaces (include "tap.namespace" .) | uniq | sortAlpha | toJson }}
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
{{- with .Values.injection.matchConditions }}
{{ toYaml . }}
{{- end }}
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

{{- /* The namespace that `helm test` tries. */}}
{{- define "tap.checkNamespace" -}}
{{- .Values.tests.namespace | default (printf "%s-check" (include "tap.fullname" .)) }}
{{- end }}

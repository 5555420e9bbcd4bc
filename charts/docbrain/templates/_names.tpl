{{/* Names, labels and images. */}}

{{- define "docbrain.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters, so that what is added behind still fits into a name of Kubernetes. */}}
{{- define "docbrain.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "docbrain.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "docbrain.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects pods: it must never change. Takes (list $ component). */}}
{{- define "docbrain.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ include "docbrain.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* Takes (list $ component); the component may be empty. */}}
{{- define "docbrain.labels" -}}
{{- $root := first . -}}
{{ include "docbrain.selector" . }}
app.kubernetes.io/part-of: docbrain
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Takes (list $ image key-of-digest). */}}
{{- define "docbrain.image" -}}
{{- $root := first . -}}
{{- $image := $root.Values.image -}}
{{- $name := printf "%s/%s" $image.registry (index . 1) -}}
{{- $digest := get $image.digests (index . 2) -}}
{{- if $digest -}}
{{- printf "%s@%s" $name $digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Takes (list $ component). */}}
{{- define "docbrain.serviceAccountName" -}}
{{- $root := first . -}}
{{- $component := index . 1 -}}
{{- default (printf "%s-%s" (include "docbrain.fullname" $root) $component) (get $root.Values $component).serviceAccount.name -}}
{{- end -}}

{{- define "docbrain.secretName" -}}
{{- default (include "docbrain.fullname" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{- define "docbrain.databaseSecretName" -}}
{{- default (printf "%s-database" (include "docbrain.fullname" .)) .Values.database.existingSecret.name -}}
{{- end -}}

{{/* The role that the operator takes in each tenant's namespace. */}}
{{- define "docbrain.tenantSecretsRole" -}}
{{- printf "%s-tenant-secrets" (include "docbrain.fullname" .) -}}
{{- end -}}

{{/* Where people reach the installation. */}}
{{- define "docbrain.publicUrl" -}}
{{- if .Values.publicUrl -}}
{{- .Values.publicUrl -}}
{{- else if .Values.ingress.enabled -}}
{{- printf "%s://%s" (ternary "https" "http" (ne .Values.ingress.tls.secretName "")) .Values.ingress.host -}}
{{- else if .Values.httpRoute.enabled -}}
{{- printf "https://%s" (first .Values.httpRoute.hostnames) -}}
{{- else -}}
http://127.0.0.1:8080
{{- end -}}
{{- end -}}

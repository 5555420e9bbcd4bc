{{/* What pods have in common. */}}

{{/* Annotations of a pod. Takes (list $ values-of-component). */}}
{{- define "docbrain.podAnnotations" -}}
{{- $root := first . -}}
checksum/secrets: {{ include "docbrain.secretsChecksum" $root }}
{{- with (index . 1).podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The first fields of a pod's spec. Takes (list $ component values-of-component). */}}
{{- define "docbrain.podSpec" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index . 2 -}}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
enableServiceLinks: false
{{- end -}}

{{/* Spread over nodes and zones. Takes (list $ component values-of-component). */}}
{{- define "docbrain.spread" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index . 2 -}}
topologySpreadConstraints:
{{- if $values.topologySpreadConstraints }}
  {{- toYaml $values.topologySpreadConstraints | nindent 2 }}
{{- else }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "docbrain.selector" (list $root $component) | nindent 8 }}
    # Pods of another revision do not count: during a rollout they are on their way out.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

{{/* A variable out of a Secret. Takes (list variable secret key). */}}
{{- define "docbrain.secretVariable" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end -}}

{{/* A variable with a value, where it has one. Takes (list variable value). */}}
{{- define "docbrain.variable" -}}
{{- $value := index . 1 | toString -}}
{{- if $value -}}
- name: {{ index . 0 }}
  value: {{ $value | quote }}
{{- end -}}
{{- end -}}

{{/* How logs are written, and where traces and reports go. */}}
{{- define "docbrain.telemetryVariables" -}}
{{- $log := .Values.telemetry.log -}}
{{ include "docbrain.variable" (list "LOG_FORMAT" $log.format) }}
{{ include "docbrain.variable" (list "RUST_LOG" $log.filter) }}
{{ include "docbrain.variable" (list "OTEL_EXPORTER_OTLP_ENDPOINT" .Values.telemetry.otlpEndpoint) }}
{{- with .Values.telemetry.sentryDsnSecret }}
{{- if .name }}
{{ include "docbrain.secretVariable" (list "SENTRY_DSN" .name .key) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Postgres as the owner of the schema. */}}
{{- define "docbrain.ownerVariables" -}}
{{ include "docbrain.secretVariable" (list "DATABASE_URL" (include "docbrain.databaseSecretName" .) .Values.database.existingSecret.keys.url) }}
{{ include "docbrain.secretVariable" (list "DOCBRAIN_ROLE_SECRET" (include "docbrain.secretName" .) .Values.secrets.keys.roleSecret) }}
{{- end -}}

{{/* A part of the database's address: what values say, else what its Secret holds. Takes (list $ variable value key). */}}
{{- define "docbrain.databasePart" -}}
{{- $root := index . 0 -}}
{{- if index . 2 -}}
{{ include "docbrain.variable" (list (index . 1) (index . 2)) }}
{{- else -}}
{{ include "docbrain.secretVariable" (list (index . 1) (include "docbrain.databaseSecretName" $root) (index . 3)) }}
{{- end -}}
{{- end -}}

{{/* Postgres as the role of the API: Kubernetes puts the parts together. */}}
{{- define "docbrain.apiDatabaseVariables" -}}
{{- $database := .Values.database -}}
{{- $keys := $database.existingSecret.keys -}}
{{- $parameters := $database.parameters -}}
{{- if and (not $parameters) $database.url -}}
{{- $parameters = (urlParse $database.url).query -}}
{{- end -}}
{{ include "docbrain.databasePart" (list . "DATABASE_HOST" $database.host $keys.host) }}
{{ include "docbrain.databasePart" (list . "DATABASE_PORT" $database.port $keys.port) }}
{{ include "docbrain.databasePart" (list . "DATABASE_NAME" $database.name $keys.database) }}
{{ include "docbrain.secretVariable" (list "DOCBRAIN_API_PASSWORD" (include "docbrain.secretName" .) .Values.secrets.keys.apiPassword) }}
- name: DOCBRAIN_API_DATABASE_URL
  value: {{ printf "postgres://docbrain_api:$(DOCBRAIN_API_PASSWORD)@$(DATABASE_HOST):$(DATABASE_PORT)/$(DATABASE_NAME)%s" (empty $parameters | ternary "" (printf "?%s" $parameters)) | quote }}
{{- end -}}

{{/* The embedding model of tenants that choose none. */}}
{{- define "docbrain.embeddingVariables" -}}
{{- with .Values.models.embedding }}
{{- if .baseUrl }}
{{ include "docbrain.variable" (list "DOCBRAIN_EMBEDDING_BASE_URL" .baseUrl) }}
{{ include "docbrain.variable" (list "DOCBRAIN_EMBEDDING_MODEL" .model) }}
{{ include "docbrain.variable" (list "DOCBRAIN_EMBEDDING_KIND" .kind) }}
{{- if .apiKeySecret.name }}
{{ include "docbrain.secretVariable" (list "DOCBRAIN_EMBEDDING_API_KEY" .apiKeySecret.name .apiKeySecret.key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* All variables of docbrain-api. */}}
{{- define "docbrain.apiVariables" -}}
{{- $secret := include "docbrain.secretName" . -}}
{{- $keys := .Values.secrets.keys -}}
- name: DOCBRAIN_CONTROL_PLANE
  value: kubernetes
- name: DOCBRAIN_LISTEN
  value: 0.0.0.0:8080
{{ include "docbrain.variable" (list "DOCBRAIN_PUBLIC_URL" (include "docbrain.publicUrl" .)) }}
{{ include "docbrain.apiDatabaseVariables" . }}
{{ include "docbrain.variable" (list "DOCBRAIN_DATABASE_CONNECTIONS" .Values.api.databaseConnections) }}
{{ include "docbrain.secretVariable" (list "DOCBRAIN_ADMIN_TOKEN" $secret $keys.adminToken) }}
{{ include "docbrain.secretVariable" (list "DOCBRAIN_SIGNING_KEYS" $secret $keys.signingKeys) }}
{{ include "docbrain.secretVariable" (list "DOCBRAIN_ENCRYPTION_KEYS" $secret $keys.encryptionKeys) }}
{{ include "docbrain.variable" (list "DOCBRAIN_REGISTRATION" .Values.accounts.registration) }}
{{ include "docbrain.variable" (list "DOCBRAIN_TRUSTED_PROXIES" (join "," .Values.networks.trustedProxies)) }}
{{ include "docbrain.variable" (list "DOCBRAIN_ALLOWED_NETWORKS" (join "," .Values.networks.allowed)) }}
{{- with .Values.accounts.oidc }}
{{- if .issuer }}
{{ include "docbrain.variable" (list "DOCBRAIN_OIDC_ISSUER" .issuer) }}
{{ include "docbrain.variable" (list "DOCBRAIN_OIDC_CLIENT_ID" .clientId) }}
{{ include "docbrain.secretVariable" (list "DOCBRAIN_OIDC_CLIENT_SECRET" .clientSecret.name .clientSecret.key) }}
{{- end }}
{{- end }}
{{ include "docbrain.embeddingVariables" . }}
{{- with .Values.models.chat }}
{{- if .baseUrl }}
{{ include "docbrain.variable" (list "DOCBRAIN_CHAT_BASE_URL" .baseUrl) }}
{{ include "docbrain.variable" (list "DOCBRAIN_CHAT_MODEL" .model) }}
{{- if .apiKeySecret.name }}
{{ include "docbrain.secretVariable" (list "DOCBRAIN_CHAT_API_KEY" .apiKeySecret.name .apiKeySecret.key) }}
{{- end }}
{{- end }}
{{- end }}
- name: DOCBRAIN_DRAIN_SECONDS
  value: {{ .Values.api.drainSeconds | quote }}
{{ include "docbrain.telemetryVariables" . }}
{{- end -}}

{{/* All variables of docbrain-operator. */}}
{{- define "docbrain.operatorVariables" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: DOCBRAIN_SERVICE_ACCOUNT
  valueFrom:
    fieldRef:
      fieldPath: spec.serviceAccountName
- name: DOCBRAIN_SECRETS_ROLE
  value: {{ include "docbrain.tenantSecretsRole" . }}
- name: DOCBRAIN_LISTEN
  value: 0.0.0.0:8081
{{ include "docbrain.ownerVariables" . }}
{{ include "docbrain.variable" (list "DOCBRAIN_DATABASE_CONNECTIONS" .Values.operator.databaseConnections) }}
{{ include "docbrain.secretVariable" (list "DOCBRAIN_ENCRYPTION_KEYS" (include "docbrain.secretName" .) .Values.secrets.keys.encryptionKeys) }}
- name: DOCBRAIN_INGEST_IMAGE
  value: {{ include "docbrain.image" (list . "ingest-job" "ingestJob") }}
- name: DOCBRAIN_INGEST_IMAGE_PULL_POLICY
  value: {{ .Values.image.pullPolicy }}
{{ include "docbrain.variable" (list "DOCBRAIN_RUN_SECONDS" (int64 .Values.operator.runSeconds)) }}
{{ include "docbrain.variable" (list "DOCBRAIN_PUBLIC_URL" (include "docbrain.publicUrl" .)) }}
{{ include "docbrain.variable" (list "DOCBRAIN_ALLOWED_NETWORKS" (join "," .Values.networks.allowed)) }}
{{ include "docbrain.variable" (list "DOCBRAIN_CLUSTER_NETWORKS" (join "," .Values.networks.cluster)) }}
{{ include "docbrain.embeddingVariables" . }}
{{ include "docbrain.telemetryVariables" . }}
{{- end -}}

{{/* A list of variables without the empty lines of those that are not set. */}}
{{- define "docbrain.compact" -}}
{{- regexReplaceAll "\\n(\\s*\\n)+" . "\n" | trim -}}
{{- end -}}

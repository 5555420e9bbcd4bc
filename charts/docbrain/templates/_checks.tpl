{{/* What a schema cannot say: which values go together. Each message names the value to set. */}}
{{- define "docbrain.check" -}}
{{- $database := .Values.database -}}
{{- $sources := 0 -}}
{{- if $database.existingSecret.name -}}{{- $sources = add1 $sources -}}{{- end -}}
{{- if $database.url -}}{{- $sources = add1 $sources -}}{{- end -}}
{{- if $database.development.enabled -}}{{- $sources = add1 $sources -}}{{- end -}}
{{- if ne (int $sources) 1 -}}
{{- fail "\n\nDocBrain needs PostgreSQL with pgvector. Say where it is, in exactly one way:\n  database.existingSecret.name      a Secret with the owner's URL, such as CloudNativePG writes\n  database.url                      the owner's URL; it then stands in the release's values\n  database.development.enabled      a single pod of this chart, to try DocBrain with\n" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "\n\ningress.enabled needs ingress.host, such as docs.example.com\n" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (or (not .Values.httpRoute.parentRefs) (not .Values.httpRoute.hostnames)) -}}
{{- fail "\n\nhttpRoute.enabled needs httpRoute.parentRefs (the Gateway) and httpRoute.hostnames\n" -}}
{{- end -}}
{{- if and .Values.accounts.oidc.issuer (or (not .Values.accounts.oidc.clientId) (not .Values.accounts.oidc.clientSecret.name)) -}}
{{- fail "\n\naccounts.oidc.issuer needs accounts.oidc.clientId and accounts.oidc.clientSecret.name\n" -}}
{{- end -}}
{{- with .Values.api.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail "\n\napi.autoscaling.minReplicas must not be above api.autoscaling.maxReplicas\n" -}}
{{- end -}}
{{- end -}}
{{- end -}}

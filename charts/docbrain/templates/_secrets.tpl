{{/*
Secrets that the chart makes, each one once: while it is in the cluster, it is not rendered, and no upgrade, rollback or
uninstallation touches it. (As an ordinary object of the release, a rollback would bring back the keys of that revision,
and what was encrypted since could not be read any more.) Within one rendering, templates that hash a Secret must see what
it will hold: so it is remembered in .Values.
*/}}

{{/* Sets .Values.made.keys, the data of the release's own Secret, encoded, and whether it is there already. */}}
{{- define "docbrain.makeKeys" -}}
{{- if not (hasKey (get .Values "made" | default dict) "keys") -}}
{{- $kept := (lookup "v1" "Secret" .Release.Namespace (include "docbrain.fullname" .) | default dict).data | default dict -}}
{{- $keys := .Values.secrets.keys -}}
{{- $month := now | date "2006-01" -}}
{{- $data := dict
  $keys.adminToken (randAlphaNum 48 | b64enc)
  $keys.signingKeys (printf "%s:%s" $month (randBytes 32) | b64enc)
  $keys.encryptionKeys (printf "%s:%s" $month (randBytes 32) | b64enc)
  $keys.roleSecret (randAlphaNum 48 | b64enc)
  $keys.apiPassword (randAlphaNum 48 | b64enc)
-}}
{{- if $kept -}}{{- $data = $kept -}}{{- end -}}
{{- $_ := set .Values "made" (merge (dict "keys" $data "keysAreThere" (not (empty $kept))) (get .Values "made" | default dict)) -}}
{{- end -}}
{{- end -}}

{{/* Sets .Values.made.database: the data of the database's Secret, encoded; of the form that CloudNativePG writes. */}}
{{- define "docbrain.makeDatabase" -}}
{{- if not (hasKey (get .Values "made" | default dict) "database") -}}
{{- $data := dict -}}
{{- $there := false -}}
{{- $name := .Values.database.existingSecret.keys -}}
{{- if .Values.database.url -}}
{{- $url := urlParse .Values.database.url -}}
{{- $host := regexReplaceAll ":[0-9]+$" $url.host "" -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default "5432" -}}
{{- $data = dict
  $name.url (.Values.database.url | b64enc)
  $name.host ($host | b64enc)
  $name.port ($port | b64enc)
  $name.database (trimPrefix "/" $url.path | b64enc)
-}}
{{- else -}}
{{- $host := printf "%s-postgres.%s.svc" (include "docbrain.fullname" .) .Release.Namespace -}}
{{- $kept := (lookup "v1" "Secret" .Release.Namespace (include "docbrain.databaseSecretName" .) | default dict).data | default dict -}}
{{- $there = not (empty $kept) -}}
{{- $password := (get $kept "password" | default "" | b64dec) | default (randAlphaNum 48) -}}
{{- $data = dict
  $name.url (printf "postgres://docbrain_owner:%s@%s:5432/docbrain" $password $host | b64enc)
  $name.host ($host | b64enc)
  $name.port ("5432" | b64enc)
  $name.database ("docbrain" | b64enc)
  "username" ("docbrain_owner" | b64enc)
  "password" ($password | b64enc)
-}}
{{- end -}}
{{- $_ := set .Values "made" (merge (dict "database" $data "databaseIsThere" $there) (get .Values "made" | default dict)) -}}
{{- end -}}
{{- end -}}

{{/* Changes when a Secret that the chart makes does: pods read it only when they start. */}}
{{- define "docbrain.secretsChecksum" -}}
{{- $seen := dict -}}
{{- if not .Values.secrets.existingSecret -}}
{{- include "docbrain.makeKeys" . -}}
{{- $_ := set $seen "keys" .Values.made.keys -}}
{{- end -}}
{{- if not .Values.database.existingSecret.name -}}
{{- include "docbrain.makeDatabase" . -}}
{{- $_ := set $seen "database" .Values.made.database -}}
{{- end -}}
{{- toJson $seen | sha256sum -}}
{{- end -}}

{{/* Annotations of a Secret that is made once. */}}
{{- define "docbrain.madeOnce" -}}
helm.sh/hook: pre-install,pre-upgrade
# It is rendered only while there is none.
helm.sh/hook-delete-policy: before-hook-creation
{{- end -}}

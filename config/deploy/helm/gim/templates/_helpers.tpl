{{- /* Labels of everything that belongs to one service: (dict "root" $ "service" "conn"). */ -}}
{{- define "gim.selector" -}}
app.kubernetes.io/name: gim
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end }}

{{- define "gim.labels" -}}
{{ include "gim.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- /* The name of what belongs to one service. */ -}}
{{- define "gim.name" -}}
{{ .root.Release.Name }}-{{ .service }}
{{- end }}

{{- define "gim.image" -}}
{{- with .root.Values.image -}}
{{ if .registry }}{{ .registry }}/{{ end }}gim-{{ $.service }}:{{ .tag | default $.root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /* The pod's settings for what all services have in common. */ -}}
{{- define "gim.pod" -}}
enableServiceLinks: false
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "gim.selector" . | nindent 8 }}
{{- end }}

{{- define "gim.container" -}}
image: {{ include "gim.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: { drop: [ALL] }
resources: {{ toJson (get .root.Values .service).resources }}
{{- /* A start may wait for a database for as long as it is away. */}}
startupProbe:
  httpGet: { path: /healthz, port: admin }
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: { path: /healthz, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{- /* Settings that are keys of the Secret: a pod sees its files change, its environment it never would. Each is
       (list "SETTING_OF_THE_FILE" "key"). */ -}}
{{- define "gim.secretsOf" -}}
{{- $keys := list (list "GRPC__INTERNAL_TOKEN_FILE" "internal-token") (list "GRPC__ACCEPTED_TOKENS_FILE" "accepted-tokens") }}
{{- if eq .service "logic" }}
{{- $keys = concat $keys (list (list "DATABASE__URL_FILE" "logic-database-url") (list "SHARED_STATE__URL_FILE" "redis-url")) }}
{{- else if eq .service "business" }}
{{- $keys = append $keys (list "DATABASE__URL_FILE" "business-database-url") }}
{{- end }}
{{- toJson $keys }}
{{- end }}

{{- /* What all services are told, and where the Secret is. */ -}}
{{- define "gim.environment" -}}
{{- $prefix := printf "GIM_%s_" (upper .service) }}
{{- range include "gim.secretsOf" . | fromJsonArray }}
- { name: {{ $prefix }}{{ index . 0 }}, value: /etc/gim-access/{{ index . 1 }} }
{{- end }}
# Kubernetes puts what is new into the place of what was there, settings, Secrets and certificates alike.
- { name: {{ $prefix }}ADMIN__FILES_INTERVAL_MS, value: "10000" }
{{- if .root.Values.serviceTls.secretName }}
- { name: {{ $prefix }}GRPC__CERTIFICATE, value: /etc/gim-service-tls/tls.crt }
- { name: {{ $prefix }}GRPC__KEY, value: /etc/gim-service-tls/tls.key }
- { name: {{ $prefix }}GRPC__SERVER_CA, value: /etc/gim-service-tls/ca.crt }
{{- end }}
{{- end }}

{{- /* How services are called. */ -}}
{{- define "gim.scheme" -}}
{{ ternary "https" "http" (ne .Values.serviceTls.secretName "") }}
{{- end }}

{{- /* The pod's name and index, for variables below it to name. */ -}}
{{- define "gim.identity" -}}
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: POD_INDEX
  valueFrom: { fieldRef: { fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']" } }
{{- end }}

{{- /* The settings file, and a Secret whose keys are files. */ -}}
{{- define "gim.mounts" -}}
- { name: settings, mountPath: /etc/gim, readOnly: true }
- { name: access, mountPath: /etc/gim-access, readOnly: true }
{{- if .root.Values.serviceTls.secretName }}
- { name: service-tls, mountPath: /etc/gim-service-tls, readOnly: true }
{{- end }}
{{- if (get .root.Values .service).secretFiles }}
- { name: secrets, mountPath: /etc/gim-secrets, readOnly: true }
{{- end }}
{{- end }}

{{- define "gim.volumes" -}}
- { name: settings, configMap: { name: {{ include "gim.name" . }} } }
- name: access
  secret:
    secretName: {{ .root.Values.secretName }}
    defaultMode: 0440
    items:
      {{- range include "gim.secretsOf" . | fromJsonArray }}
      - { key: {{ index . 1 }}, path: {{ index . 1 }} }
      {{- end }}
{{- with .root.Values.serviceTls.secretName }}
- { name: service-tls, secret: { secretName: {{ . }}, defaultMode: 0440 } }
{{- end }}
{{- with (get .root.Values .service).secretFiles }}
- { name: secrets, secret: { secretName: {{ . }} } }
{{- end }}
{{- end }}

{{- /* With restartOnSettings a change of the settings starts the pods anew, one by one. */ -}}
{{- define "gim.annotations" -}}
{{- if .root.Values.restartOnSettings }}
checksum/settings: {{ (get .root.Values .service).settings | sha256sum }}
{{- end }}
{{- with .root.Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

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

{{- /* A variable from the Secret: (list "NAME" "key" $). */ -}}
{{- define "gim.secret" -}}
- name: {{ index . 0 }}
  valueFrom: { secretKeyRef: { name: {{ (index . 2).Values.secretName }}, key: {{ index . 1 }} } }
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
{{- if (get .root.Values .service).secretFiles }}
- { name: secrets, mountPath: /etc/gim-secrets, readOnly: true }
{{- end }}
{{- end }}

{{- define "gim.volumes" -}}
- { name: settings, configMap: { name: {{ include "gim.name" . }} } }
{{- with (get .root.Values .service).secretFiles }}
- { name: secrets, secret: { secretName: {{ . }} } }
{{- end }}
{{- end }}

{{- /* A change of the settings starts the pods anew, one by one. */ -}}
{{- define "gim.annotations" -}}
checksum/settings: {{ (get .root.Values .service).settings | sha256sum }}
{{- with .root.Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

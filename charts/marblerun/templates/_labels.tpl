{{/* Labels that every object has. Takes a list: root, component, name, version. */}}
{{- define "marblerun.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/component: {{ index . 1 | quote }}
app.kubernetes.io/created-by: {{ $root.Values.global.createdBy | quote }}
app.kubernetes.io/name: {{ index . 2 | quote }}
app.kubernetes.io/part-of: marblerun
app.kubernetes.io/version: {{ index . 3 | quote }}
{{- end -}}

{{/* Labels of the control plane; selectors consist of them, so they never change. Takes a list: root, component. */}}
{{- define "marblerun.control-plane" -}}
{{- $root := index . 0 -}}
{{ $root.Values.global.coordinatorComponentLabel }}: {{ index . 1 }}
{{ $root.Values.global.coordinatorNamespaceLabel }}: {{ $root.Release.Namespace | quote }}
{{- end -}}

{{/* What the pods of the Coordinator are selected by. */}}
{{- define "marblerun.coordinator.selector" -}}
{{- include "marblerun.control-plane" (list . "coordinator") -}}
{{- end -}}

{{/* Labels of an object of the Coordinator. Takes a list: root, component, name. */}}
{{- define "marblerun.coordinator.labels" -}}
{{- $root := index . 0 -}}
{{- include "marblerun.labels" (list $root (index . 1) (index . 2) (include "marblerun.coordinator.version" $root)) -}}
{{- end -}}

{{/* Labels of an object of the injector. Takes a list: root, component, name. */}}
{{- define "marblerun.injector.labels" -}}
{{- $root := index . 0 -}}
{{- include "marblerun.labels" (list $root (index . 1) (index . 2) (include "marblerun.injector.version" $root)) -}}
{{- end -}}

{{/* What the pods of the injector are selected by. */}}
{{- define "marblerun.injector.selector" -}}
app.kubernetes.io/name: marble-injector
app.kubernetes.io/part-of: marblerun
{{- end -}}

{{/* Labels of a pod: the chart's own, and where they do not contradict, global.podLabels. Takes a list: root, labels as YAML. */}}
{{- define "marblerun.pod-labels" -}}
{{- $root := index . 0 -}}
{{- merge (index . 1 | fromYaml) ($root.Values.global.podLabels | default dict) | toYaml -}}
{{- end -}}

{{/* The release of the Coordinator: the tag of its image and the value of the label app.kubernetes.io/version. */}}
{{- define "marblerun.coordinator.version" -}}
{{- .Values.coordinator.version | default .Chart.AppVersion -}}
{{- end -}}

{{/* The release of the injector. */}}
{{- define "marblerun.injector.version" -}}
{{- .Values.marbleInjector.version | default .Chart.AppVersion -}}
{{- end -}}

{{- define "marblerun.coordinator.image" -}}
{{- $c := .Values.coordinator -}}
{{ $c.repository }}/{{ $c.image }}:{{ include "marblerun.coordinator.version" . }}{{ with $c.hash }}@{{ . }}{{ end }}
{{- end -}}

{{- define "marblerun.injector.image" -}}
{{- $i := .Values.marbleInjector -}}
{{ $i.repository | default .Values.coordinator.repository }}/{{ $i.image }}:{{ include "marblerun.injector.version" . }}{{ with $i.hash }}@{{ . }}{{ end }}
{{- end -}}

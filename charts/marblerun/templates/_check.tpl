{{/*
Refuses values that contradict each other, with what to do; every template asks first, as Helm renders them in no order to rely on.
*/}}
{{- define "marblerun.check" -}}
{{- $c := .Values.coordinator -}}
{{- range list "networkPolicy" "metrics" "stateParts" "podDisruptionBudget" "topologySpread" "rollingUpdate" -}}
{{- if not (hasKey $c .) -}}
{{- fail (printf "coordinator.%s is missing. If this upgrades a release of another chart, use `helm upgrade --reset-then-reuse-values`: with --reuse-values, values that are new in this chart have no default." .) -}}
{{- end -}}
{{- end -}}
{{- if not $c.repository -}}
{{- fail "coordinator.repository is not set. Name the registry and path of your images, without image name and tag: --set coordinator.repository=registry.example.com/marblerun" -}}
{{- end -}}
{{- if and (eq (include "marblerun.on-volume" .) "true") (gt (int $c.replicas) 1) -}}
{{- fail (printf "coordinator.replicas is %d, but the state is on one volume, which only one Coordinator can use. Set coordinator.distributedDeployment=true and coordinator.storeBackend=k8s-secret, or coordinator.replicas=1." (int $c.replicas)) -}}
{{- end -}}
{{- if and $c.simulation (has $c.tee (list "tdx" "snp")) -}}
{{- fail (printf "coordinator.simulation is set, but coordinator.tee is %s. Set coordinator.simulation=false to be protected by it, or coordinator.tee=simulation to be not protected." $c.tee) -}}
{{- end -}}
{{- if and $c.metrics.serviceMonitor.enabled (not $c.metrics.enabled) -}}
{{- fail "coordinator.metrics.serviceMonitor.enabled is set, but there are no metrics to read. Set coordinator.metrics.enabled=true, too." -}}
{{- end -}}
{{- end -}}

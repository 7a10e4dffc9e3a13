{{/* The trusted execution environment that the Coordinator must find. */}}
{{- define "marblerun.tee" -}}
{{- if .Values.coordinator.simulation }}simulation{{ else }}{{ .Values.coordinator.tee }}{{ end -}}
{{- end -}}

{{/* "true" where the Coordinator may run in SGX, so that it needs what the cluster's SGX device plugin gives. */}}
{{- define "marblerun.sgx" -}}
{{- has (include "marblerun.tee" .) (list "sgx" "auto") -}}
{{- end -}}

{{/* "true" where the state is in files on a volume. */}}
{{- define "marblerun.on-volume" -}}
{{- $c := .Values.coordinator -}}
{{- or (not $c.distributedDeployment) (not $c.storeBackend) -}}
{{- end -}}

{{/* "true" where the chart makes the Secret with Azure credentials; else it may be the user's. */}}
{{- define "marblerun.own-azure-secret" -}}
{{- $a := .Values.coordinator.azureCredentials -}}
{{- and (not $a.secretName) (not $a.enableWorkloadIdentity) (not (empty $a.clientID)) (not (empty $a.tenantID)) (not (empty $a.clientSecret)) -}}
{{- end -}}

{{/* Resources and tolerations of the SGX device plugins of Intel, Azure and Alibaba. */}}
{{- define "marblerun.sgx-keys" -}}
- sgx.intel.com/epc
- sgx.intel.com/enclave
- sgx.intel.com/provision
- kubernetes.azure.com/sgx_epc_mem_in_MiB
- alibabacloud.com/sgx_epc_MiB
{{- end -}}

{{/* Resources of the Coordinator: outside of SGX without those of SGX, for which its pod would wait for ever. */}}
{{- define "marblerun.coordinator.resources" -}}
{{- $resources := deepCopy (.Values.coordinator.resources | default dict) -}}
{{- if ne (include "marblerun.sgx" .) "true" -}}
{{- range $key := include "marblerun.sgx-keys" . | fromYamlArray -}}
{{- range list "limits" "requests" -}}
{{- with index $resources . }}{{ $_ := unset . $key }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range list "limits" "requests" -}}
{{- if not (index $resources .) }}{{ $_ := unset $resources . }}{{ end -}}
{{- end -}}
{{- with $resources }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* Tolerations of the Coordinator, likewise. */}}
{{- define "marblerun.coordinator.tolerations" -}}
{{- $sgx := eq (include "marblerun.sgx" .) "true" -}}
{{- $keys := include "marblerun.sgx-keys" . | fromYamlArray -}}
{{- $tolerations := list -}}
{{- range .Values.tolerations -}}
{{- if or $sgx (not (has .key $keys)) }}{{ $tolerations = append $tolerations . }}{{ end -}}
{{- end -}}
{{- with $tolerations }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* Names of the Coordinator's certificates: first those of the original chart, in its order. */}}
{{- define "marblerun.dns-names" -}}
{{- $ns := .Release.Namespace -}}
{{- $c := .Values.coordinator -}}
{{- $services := list "coordinator-mesh-api" "coordinator-client-api" -}}
{{- $names := list -}}
{{- with $c.hostname }}{{ $names = append $names . }}{{ end -}}
{{- $names = append $names "localhost" -}}
{{- range $services }}{{ $names = append $names . }}{{ end -}}
{{- range $services }}{{ $names = append $names (printf "%s.%s" . $ns) }}{{ end -}}
{{- range $services }}{{ $names = append $names (printf "%s.%s.svc.%s" . $ns $.Values.clusterDomain) }}{{ end -}}
{{- if $c.distributedDeployment -}}
{{- $key := $c.keyAPIName -}}
{{- $names = concat $names (list $key (printf "%s.%s" $key $ns) (printf "%s.%s.svc.%s" $key $ns .Values.clusterDomain)) -}}
{{- $services = append $services $key -}}
{{- end -}}
{{- range $services }}{{ $names = append $names (printf "%s.%s.svc" . $ns) }}{{ end -}}
{{- join "," $names -}}
{{- end -}}

{{/* The file of the SGX quote provider. */}}
{{- define "marblerun.qcnl" -}}
{{- if .Values.dcap.qcnlConfig -}}
{{ .Values.dcap.qcnlConfig }}
{{- else -}}
{
  "pccs_url": {{ .Values.dcap.pccsUrl | toJson }},
  "use_secure_cert": {{ eq (.Values.dcap.useSecureCert | toString | lower) "true" }}
}
{{ end -}}
{{- end -}}

{{/* Annotations of the Coordinator's pod. A changed quote provider's file is mounted only in a new pod, so its hash makes one. */}}
{{- define "marblerun.coordinator.annotations" -}}
{{- $annotations := dict -}}
{{- if .Values.dcap }}{{ $_ := set $annotations "checksum/dcap-config" (include "marblerun.qcnl" . | sha256sum) }}{{ end -}}
{{- with merge $annotations (.Values.global.podAnnotations | default dict) }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* What the pod is given beside its state, the quote provider's file and `/tmp`: files of Secrets and ConfigMaps that the user made, and
parts of the node. Takes a list: the root, and "volumes" or "mounts". */}}
{{- define "marblerun.coordinator.given" -}}
{{- $c := (index . 0).Values.coordinator -}}
{{- $seal := $c.seal -}}
{{- $volumes := list -}}
{{- $mounts := list -}}
{{- with $seal.passphrase.secretName -}}
{{- $items := list (dict "key" $seal.passphrase.secretKey "path" "passphrase") -}}
{{- $volumes = append $volumes (dict "name" "passphrase" "secret" (dict "secretName" . "items" $items)) -}}
{{- $mounts = append $mounts (dict "name" "passphrase" "mountPath" "/etc/marblerun/passphrase" "readOnly" true) -}}
{{- end -}}
{{- with $seal.pkcs11.secretName -}}
{{- $volumes = append $volumes (dict "name" "pkcs11" "secret" (dict "secretName" .)) -}}
{{- $mounts = append $mounts (dict "name" "pkcs11" "mountPath" "/etc/marblerun/pkcs11" "readOnly" true) -}}
{{- end -}}
{{- with $seal.tpm.ownerPasswordSecretName -}}
{{- $items := list (dict "key" $seal.tpm.ownerPasswordSecretKey "path" "password") -}}
{{- $volumes = append $volumes (dict "name" "tpm-owner" "secret" (dict "secretName" . "items" $items)) -}}
{{- $mounts = append $mounts (dict "name" "tpm-owner" "mountPath" "/etc/marblerun/tpm-owner" "readOnly" true) -}}
{{- end -}}
{{- with $c.collateral.configMap -}}
{{- $volumes = append $volumes (dict "name" "collateral" "configMap" (dict "name" .)) -}}
{{- $mounts = append $mounts (dict "name" "collateral" "mountPath" "/etc/marblerun/collateral" "readOnly" true) -}}
{{- end -}}
{{- if $c.configfs -}}
{{- $volumes = append $volumes (dict "name" "configfs" "hostPath" (dict "path" "/sys/kernel/config" "type" "Directory")) -}}
{{- $mounts = append $mounts (dict "name" "configfs" "mountPath" "/sys/kernel/config") -}}
{{- end -}}
{{- range $number, $path := $c.devices -}}
{{- $name := printf "device-%d" $number -}}
{{- $volumes = append $volumes (dict "name" $name "hostPath" (dict "path" $path "type" "CharDevice")) -}}
{{- $mounts = append $mounts (dict "name" $name "mountPath" $path) -}}
{{- end -}}
{{- with ternary $volumes $mounts (eq (index . 1) "volumes") }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* Security context of the container. What makes evidence through configfs must be root, as others cannot make folders there. */}}
{{- define "marblerun.coordinator.security" -}}
{{- $c := .Values.coordinator -}}
{{- $context := deepCopy ($c.securityContext | default dict) -}}
{{- if $c.configfs -}}
{{- range $field, $value := dict "runAsUser" 0 "runAsNonRoot" false -}}
{{- if not (hasKey $context $field) }}{{ $_ := set $context $field $value }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with $context }}{{ toYaml . }}{{ end -}}
{{- end -}}

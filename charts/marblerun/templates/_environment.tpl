{{/* One variable. Takes a list: name, value. */}}
{{- define "marblerun.variable" -}}
- name: {{ index . 0 }}
  value: {{ index . 1 | toString | quote }}
{{ end -}}

{{/* Environment of the Coordinator: first that of the original chart, in its order. */}}
{{- define "marblerun.own-environment" -}}
{{- $c := .Values.coordinator -}}
{{- $a := $c.azureCredentials -}}
{{- if $c.debugLogging }}{{ include "marblerun.variable" (list "EDG_DEBUG_LOGGING" "1") }}{{ end -}}
{{- include "marblerun.variable" (list "EDG_HTTP_ERROR_LOG_LEVEL" $c.httpErrorLogLevel) -}}
{{- include "marblerun.variable" (list "EDG_COORDINATOR_MESH_ADDR" (printf "%s:%d" $c.meshServerHost (int $c.meshServerPort))) -}}
{{- include "marblerun.variable" (list "EDG_COORDINATOR_CLIENT_ADDR" (printf "%s:%d" $c.clientServerHost (int $c.clientServerPort))) -}}
{{- include "marblerun.variable" (list "EDG_COORDINATOR_DNS_NAMES" (include "marblerun.dns-names" .)) -}}
{{- include "marblerun.variable" (list "EDG_COORDINATOR_SEAL_DIR" $c.sealDir) -}}
{{- include "marblerun.variable" (list "OE_SIMULATION" (eq (include "marblerun.tee" .) "simulation" | ternary "1" "0")) -}}
{{- if and (not $a.enableWorkloadIdentity) (or $a.secretName (eq (include "marblerun.own-azure-secret" .) "true")) -}}
{{- range list "AZURE_CLIENT_ID" "AZURE_TENANT_ID" "AZURE_CLIENT_SECRET" -}}
- name: EDG_{{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $a.secretName | default "coordinator-azure-credentials" }}
      key: {{ . }}
{{ end -}}
{{- end -}}
{{- include "marblerun.variable" (list "EDG_AZURE_HSM_KEY_NAME" $c.azureHSM.keyName) -}}
{{- include "marblerun.variable" (list "EDG_AZURE_HSM_KEY_VERSION" $c.azureHSM.keyVersion) -}}
{{- include "marblerun.variable" (list "EDG_AZURE_HSM_VAULT_URL" $c.azureHSM.vaultURL) -}}
{{- include "marblerun.variable" (list "EDG_MAA_URL" $c.azureHSM.maaURL) -}}
{{- if $c.distributedDeployment -}}
{{- include "marblerun.variable" (list "EDG_STORE_BACKEND" $c.storeBackend) -}}
{{- include "marblerun.variable" (list "EDG_K8S_STATE_NAME" $c.stateSecretName) -}}
{{- include "marblerun.variable" (list "EDG_K8S_SERVICE_NAME" $c.keyAPIName) -}}
{{- include "marblerun.variable" (list "EDG_K8S_KEK_MAP" $c.kekConfigMap) -}}
{{- include "marblerun.variable" (list "EDG_K8S_NAMESPACE" .Release.Namespace) -}}
{{- include "marblerun.variable" (list "EDG_DISTRIBUTED_COORDINATOR" "1") -}}
{{- end -}}
{{- include "marblerun.variable" (list "MARBLERUN_TEE" (include "marblerun.tee" .)) -}}
{{- if $c.distributedDeployment -}}
{{- include "marblerun.variable" (list "MARBLERUN_KEY_ADDR" (printf ":%d" (int $c.keyServerPort))) -}}
{{- end -}}
{{- if $c.metrics.enabled -}}
{{- include "marblerun.variable" (list "EDG_COORDINATOR_PROMETHEUS_ADDR" (printf ":%d" (int $c.metrics.port))) -}}
{{- end -}}
{{- with $c.logFormat }}{{ include "marblerun.variable" (list "EDG_LOG_FORMAT" .) }}{{ end -}}
{{- with $c.rollback }}{{ include "marblerun.variable" (list "MARBLERUN_ROLLBACK" .) }}{{ end -}}
{{- with $c.recoveryReset }}{{ include "marblerun.variable" (list "MARBLERUN_RECOVERY_RESET" .) }}{{ end -}}
{{- with $c.marbleGrace }}{{ include "marblerun.variable" (list "MARBLERUN_MARBLE_GRACE" .) }}{{ end -}}
{{- with $c.offlineGrace }}{{ include "marblerun.variable" (list "MARBLERUN_OFFLINE_GRACE" .) }}{{ end -}}
{{- if ne ($c.peerMinSvn | toString) "" }}{{ include "marblerun.variable" (list "MARBLERUN_PEER_MIN_SVN" (int $c.peerMinSvn)) }}{{ end -}}
{{- with $c.stateParts.inlineMax }}{{ include "marblerun.variable" (list "MARBLERUN_STATE_INLINE_MAX" (int .)) }}{{ end -}}
{{- $seal := $c.seal -}}
{{- with $seal.backends }}{{ include "marblerun.variable" (list "MARBLERUN_SEAL" .) }}{{ end -}}
{{- if $seal.passphrase.secretName }}{{ include "marblerun.variable" (list "MARBLERUN_SEAL_PASSPHRASE_FILE" "/etc/marblerun/passphrase/passphrase") }}{{ end -}}
{{- if $seal.pkcs11.secretName }}{{ include "marblerun.variable" (list "MARBLERUN_SEAL_PKCS11_CONFIG" "/etc/marblerun/pkcs11/token.json") }}{{ end -}}
{{- with $seal.pkcs11.keyID }}{{ include "marblerun.variable" (list "MARBLERUN_SEAL_PKCS11_KEY_ID" .) }}{{ end -}}
{{- with $seal.pkcs11.keyLabel }}{{ include "marblerun.variable" (list "MARBLERUN_SEAL_PKCS11_KEY_LABEL" .) }}{{ end -}}
{{- with $seal.tpm.path }}{{ include "marblerun.variable" (list "MARBLERUN_TPM" .) }}{{ end -}}
{{- if ne ($seal.tpm.pcrs | toString) "" }}{{ include "marblerun.variable" (list "MARBLERUN_TPM_PCRS" $seal.tpm.pcrs) }}{{ end -}}
{{- if ne ($seal.tpm.uniquePCRs | toString) "" }}{{ include "marblerun.variable" (list "MARBLERUN_TPM_UNIQUE_PCRS" $seal.tpm.uniquePCRs) }}{{ end -}}
{{- with $seal.tpm.name }}{{ include "marblerun.variable" (list "MARBLERUN_TPM_NAME" .) }}{{ end -}}
{{- with $seal.tpm.counter }}{{ include "marblerun.variable" (list "MARBLERUN_TPM_COUNTER" .) }}{{ end -}}
{{- if $seal.tpm.ownerPasswordSecretName }}{{ include "marblerun.variable" (list "MARBLERUN_TPM_OWNER_PASSWORD_FILE" "/etc/marblerun/tpm-owner/password") }}{{ end -}}
{{- with $seal.snp.productKey }}{{ include "marblerun.variable" (list "MARBLERUN_SNP_PRODUCT_KEY" .) }}{{ end -}}
{{- if ne ($seal.snp.vmpl | toString) "" }}{{ include "marblerun.variable" (list "MARBLERUN_SNP_VMPL" (int $seal.snp.vmpl)) }}{{ end -}}
{{- with $c.collateral.url | default (and $c.collateral.configMap "/etc/marblerun/collateral") }}{{ include "marblerun.variable" (list "MARBLERUN_COLLATERAL" .) }}{{ end -}}
{{- with $c.collateral.cacheDir }}{{ include "marblerun.variable" (list "MARBLERUN_COLLATERAL_CACHE" .) }}{{ end -}}
{{- with $c.collateral.kdsURL }}{{ include "marblerun.variable" (list "MARBLERUN_KDS_URL" .) }}{{ end -}}
{{- end -}}

{{/* The same, and what the user adds. A name that comes twice would make it a matter of luck which value counts. */}}
{{- define "marblerun.coordinator.environment" -}}
{{- $own := include "marblerun.own-environment" . -}}
{{- $names := list -}}
{{- range fromYamlArray $own }}{{ $names = append $names .name }}{{ end -}}
{{- range .Values.coordinator.extraEnv -}}
{{- if has .name $names -}}
{{- fail (printf "coordinator.extraEnv has %s, which is set already, by another value of the chart or by another entry. Take it out, and set that value instead." .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $own -}}
{{- with .Values.coordinator.extraEnv }}{{ toYaml . }}{{ end -}}
{{- end -}}

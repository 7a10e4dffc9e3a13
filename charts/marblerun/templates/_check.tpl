{{/*
Refuses values that contradict each other, with what to do; every template asks first, as Helm renders them in no order to rely on.
*/}}
{{- define "marblerun.check" -}}
{{- $c := .Values.coordinator -}}
{{- range list "networkPolicy" "metrics" "stateParts" "podDisruptionBudget" "topologySpread" "rollingUpdate" "seal" "collateral" -}}
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
{{- include "marblerun.check-seal" . -}}
{{- include "marblerun.check-hardware" . -}}
{{- end -}}

{{/* Sealing backends: each needs what it seals with, in an environment where it is believed. */}}
{{- define "marblerun.check-seal" -}}
{{- $c := .Values.coordinator -}}
{{- $seal := $c.seal -}}
{{- $tee := include "marblerun.tee" . -}}
{{- $given := dict -}}
{{- range $c.extraEnv }}{{ $_ := set $given .name true }}{{ end -}}
{{- $slots := list -}}
{{- if and $seal.backends (ne $seal.backends "auto") }}{{ $slots = splitList "," $seal.backends }}{{ end -}}
{{- $backends := splitList "," (join "," $slots | replace "+" ",") -}}
{{- if and (has "passphrase" $backends) (not $seal.passphrase.secretName) -}}
{{- fail "coordinator.seal.backends names passphrase, but no Secret has it. Make one, such as with `kubectl create secret generic marblerun-passphrase --from-file=passphrase`, and set coordinator.seal.passphrase.secretName to its name." -}}
{{- end -}}
{{- if and $seal.passphrase.secretName (not (has "passphrase" $backends)) -}}
{{- fail "coordinator.seal.passphrase.secretName is set, but coordinator.seal.backends does not name passphrase. Add it there, or take the Secret out." -}}
{{- end -}}
{{- if and (has "pkcs11" $backends) (not $seal.pkcs11.secretName) -}}
{{- fail "coordinator.seal.backends names pkcs11, but no Secret has the configuration of the token. Make one, such as with `kubectl create secret generic marblerun-token --from-file=token.json --from-file=pin`, and set coordinator.seal.pkcs11.secretName to its name." -}}
{{- end -}}
{{- if and (has "pkcs11" $backends) (not $seal.pkcs11.keyID) (not $seal.pkcs11.keyLabel) -}}
{{- fail "coordinator.seal.backends names pkcs11, but no key of the token. Set coordinator.seal.pkcs11.keyID, coordinator.seal.pkcs11.keyLabel, or both." -}}
{{- end -}}
{{- if and (or $seal.pkcs11.secretName $seal.pkcs11.keyID $seal.pkcs11.keyLabel) (not (has "pkcs11" $backends)) -}}
{{- fail "coordinator.seal.pkcs11 is set, but coordinator.seal.backends does not name pkcs11. Add it there, or take coordinator.seal.pkcs11 out." -}}
{{- end -}}
{{- $tpm := $seal.tpm -}}
{{- if and (or $tpm.path $tpm.name $tpm.counter $tpm.ownerPasswordSecretName (ne ($tpm.pcrs | toString) "") (ne ($tpm.uniquePCRs | toString) "")) (not (has "tpm" $backends)) -}}
{{- fail "coordinator.seal.tpm is set, but coordinator.seal.backends does not name tpm. Add it there, or take coordinator.seal.tpm out." -}}
{{- end -}}
{{- if has "azure-hsm" $backends -}}
{{- $a := $c.azureCredentials -}}
{{- if not (and $c.azureHSM.keyName $c.azureHSM.vaultURL $c.azureHSM.maaURL) -}}
{{- fail "coordinator.seal.backends names azure-hsm: set coordinator.azureHSM.keyName, coordinator.azureHSM.vaultURL and coordinator.azureHSM.maaURL." -}}
{{- end -}}
{{- if not (or $a.secretName $a.enableWorkloadIdentity (eq (include "marblerun.own-azure-secret" .) "true")) -}}
{{- fail "coordinator.seal.backends names azure-hsm, but there are no credentials for it. Set coordinator.azureCredentials.secretName to the name of a Secret, or coordinator.azureCredentials.enableWorkloadIdentity=true." -}}
{{- end -}}
{{- end -}}
{{- if and (has "host-key" $backends) (not (hasKey $given "MARBLERUN_SIMULATION_HOST_KEY")) -}}
{{- fail "coordinator.seal.backends names host-key: name the file that plays the host, as MARBLERUN_SIMULATION_HOST_KEY in coordinator.extraEnv." -}}
{{- end -}}
{{- if has $tee (list "sgx" "tdx" "snp") -}}
{{- range $slot := $slots -}}
{{- $parts := splitList "+" $slot -}}
{{- if or (has "host-key" $parts) (has "plain" $parts) -}}
{{- fail (printf "coordinator.seal.backends names %s, which is for simulation only, but coordinator.tee is %s. Take it out of coordinator.seal.backends." $slot $tee) -}}
{{- end -}}
{{- if not (or (has "platform" $parts) (has "tpm" $parts) (has "azure-hsm" $parts)) -}}
{{- fail (printf "coordinator.seal.backends names %s, which may not open the state by itself in %s, as anyone could have made that state. Join it to a backend that proves what runs: %s+%s." $slot $tee (ternary "tpm" "platform" (eq $tee "tdx")) $slot) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq $tee "tdx") (or (has "platform" $backends) (and (not $slots) (not (hasKey $given "MARBLERUN_SEAL")))) -}}
{{- fail "coordinator.tee is tdx, which has no seal key of its own. Set coordinator.seal.backends to what to seal with instead, such as tpm." -}}
{{- end -}}
{{- end -}}

{{/* Collateral, and what the pod gets of its node. */}}
{{- define "marblerun.check-hardware" -}}
{{- $c := .Values.coordinator -}}
{{- if and $c.collateral.url $c.collateral.configMap -}}
{{- fail "coordinator.collateral.url and coordinator.collateral.configMap are both set. Collateral comes from one of them: take the other out." -}}
{{- end -}}
{{- if and $c.configfs (not (has (include "marblerun.tee" .) (list "tdx" "snp" "auto"))) -}}
{{- fail (printf "coordinator.configfs is set, but coordinator.tee is %s, which has no use for it. Set coordinator.configfs=false." (include "marblerun.tee" .)) -}}
{{- end -}}
{{- if and $c.devices (not $c.runtimeClassName) (not (dig "privileged" false ($c.securityContext | default dict))) -}}
{{- fail "coordinator.devices are mounted, but a container may not open them. Have a device plugin give them instead (coordinator.resources.limits), or set coordinator.securityContext.privileged=true and coordinator.securityContext.allowPrivilegeEscalation=true." -}}
{{- end -}}
{{- end -}}

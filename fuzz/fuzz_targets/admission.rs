//! A review as any pod's author may cause it: it never fails, what it adds can be added, and nothing is added twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marblerun_injector::admission::{Decision, Refusal, Rules, SgxResource, answer, decide};

fuzz_target!(|bytes: &[u8]| {
    let rules = Rules {
        coordinator: "coordinator-mesh-api.marblerun:2001".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        sgx: SgxResource::Intel,
    };
    if let Ok(answer) = answer(bytes, &rules) {
        assert!(!matches!(answer.decision, Decision::Denied(Refusal::Fault { .. })));
    }
    // The pod alone, so that the bytes need not find the review around it.
    let Ok(mut pod) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let Ok(Decision::Injected { patch, .. }) = decide(&pod, "default", "uid", &rules) else { return };
    json_patch::patch(&mut pod, &patch).expect("the patch applies");
    let Ok(Decision::Injected { patch, .. }) = decide(&pod, "default", "another", &rules) else {
        panic!("what was a pod is none any more");
    };
    assert!(patch.0.is_empty(), "added twice: {patch}");
});

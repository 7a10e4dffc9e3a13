//! Reviews and their answers: upstream's rows, and what is better here.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use json_patch::Patch;
use serde_json::{Value, json};

use super::*;

mod mutation;
mod property;
mod warnings;

const UID: &str = "0b1c2d3e-0000-4000-8000-000000000001";
const VOLUME: &str = "uuid-file-0b1c2d3e-0000-4000-8000-000000000001";

fn rules(sgx: &str) -> Rules {
    Rules {
        coordinator: "coordinator-mesh-api.marblerun:2001".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        sgx: sgx.parse().unwrap(),
    }
}

fn review(pod: &Value) -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": UID,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "inj",
            "operation": "CREATE",
            "userInfo": {"username": "alice"},
            "object": pod,
            "oldObject": null,
            "dryRun": false
        }
    })
}

fn pod(labels: Value, spec: Value) -> Value {
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p", "creationTimestamp": null, "labels": labels},
        "spec": spec,
        "status": {}
    })
}

fn voting() -> Value {
    pod(json!({"marblerun/marbletype": "Voting"}), json!({"containers": [{"name": "c", "image": "i"}]}))
}

fn body_of(review: &Value) -> Vec<u8> {
    serde_json::to_vec(review).unwrap()
}

fn answer_to(review: &Value) -> Value {
    serde_json::from_str(&answer(&body_of(review), &rules(INTEL)).unwrap().body).unwrap()
}

fn error_of(body: &[u8]) -> String {
    answer(body, &rules(INTEL)).unwrap_err().to_string()
}

/// Decides, and applies what was decided as the API server does.
fn decided(pod: &Value, rules: &Rules) -> (Value, Vec<String>) {
    match decide(pod, "inj", UID, rules).unwrap() {
        Decision::Injected { patch, warnings, .. } => {
            let mut decided = pod.clone();
            json_patch::patch(&mut decided, &patch).unwrap();
            (decided, warnings)
        }
        Decision::Denied(refusal) => panic!("{refusal}"),
    }
}

fn refusal(pod: &Value) -> String {
    match decide(pod, "inj", UID, &rules(INTEL)).unwrap() {
        Decision::Denied(refusal) => refusal.to_string(),
        Decision::Injected { patch, .. } => panic!("{patch}"),
    }
}

#[test]
fn what_is_no_review_is_an_error_in_upstreams_words() {
    for body in ["", "{", "7", "\"x\"", "{\"request\": 7}", "{\"request\": {\"uid\": 7}}", "{} {}"] {
        let error = error_of(body.as_bytes());
        assert!(error.starts_with("invalid admission review: "), "{body}: {error}");
    }
    let mut other = review(&voting());
    other["apiVersion"] = json!("admission.k8s.io/v2");
    assert!(error_of(&body_of(&other)).starts_with("invalid admission review: apiVersion \"admission.k8s.io/v2\""));
    let mut other = review(&voting());
    other["kind"] = json!("ConversionReview");
    assert!(error_of(&body_of(&other)).contains("ConversionReview"));
}

#[test]
fn a_review_without_a_request_is_an_error_in_upstreams_words() {
    for body in
        ["{}", "{\"request\": null}", "{\"kind\": \"AdmissionReview\", \"apiVersion\": \"admission.k8s.io/v1\"}"]
    {
        assert_eq!(error_of(body.as_bytes()), "empty admission request", "{body}");
    }
}

#[test]
fn what_is_no_pod_is_an_error_that_says_where() {
    let labels = json!({"marblerun/marbletype": "t"});
    for (pod, says) in [
        (json!(7), "request.object is not an object"),
        (json!({"kind": "Deployment", "metadata": {"labels": labels}}), "its kind is \"Deployment\""),
        (pod(json!([]), json!({})), "/metadata/labels is not an object"),
        (pod(json!({"marblerun/marbletype": 1}), json!({})), "/metadata/labels/marblerun~1marbletype is not a string"),
        (pod(labels.clone(), json!([])), "/spec is not an object"),
        (pod(labels.clone(), json!({"containers": {}})), "/spec/containers is not a list"),
        (pod(labels.clone(), json!({"containers": [null]})), "/spec/containers/0 is not an object"),
        (
            pod(labels.clone(), json!({"containers": [{"env": [{"name": 1}]}]})),
            "/spec/containers/0/env/0/name is not a string",
        ),
        (pod(labels.clone(), json!({"volumes": "x"})), "/spec/volumes is not a list"),
        (pod(labels.clone(), json!({"tolerations": true})), "/spec/tolerations is not a list"),
        (pod(labels.clone(), json!({"hostNetwork": "yes"})), "/spec/hostNetwork is not a boolean"),
        (
            pod(labels, json!({"containers": [{"resources": {"limits": []}}]})),
            "/spec/containers/0/resources/limits is not an object",
        ),
    ] {
        let error = error_of(&body_of(&review(&pod)));
        assert_eq!(error, format!("invalid pod: {says}"));
    }
    for object in [None, Some(Value::Null)] {
        let mut review = review(&voting());
        review["request"]["operation"] = json!("DELETE");
        match object {
            None => drop(review["request"].as_object_mut().unwrap().remove("object")),
            Some(value) => review["request"]["object"] = value,
        }
        let error = error_of(&body_of(&review));
        assert!(error.starts_with("invalid pod: request.object is missing (operation DELETE)"), "{error}");
    }
}

#[test]
fn a_pod_without_a_type_is_denied_in_upstreams_words_and_gets_no_patch() {
    for (labels, message) in [
        (json!(null), "Missing [marblerun/marbletype] label, request denied"),
        (json!({}), "Missing [marblerun/marbletype] label, request denied"),
        (json!({"app": "x"}), "Missing [marblerun/marbletype] label, request denied"),
        (json!({"marblerun/marbletype": null}), "Missing [marblerun/marbletype] label, request denied"),
        (json!({"marblerun/marbletype": ""}), "Empty [marblerun/marbletype] label, request denied"),
    ] {
        let answer = answer_to(&review(&pod(labels, json!({"containers": [{"name": "c"}]}))));
        assert_eq!(
            answer["response"],
            json!({
                "uid": UID,
                "allowed": false,
                "status": {"metadata": {}, "status": "Failure", "message": message}
            })
        );
    }
}

#[test]
fn an_answer_has_upstreams_form_and_order() {
    let body = answer(&body_of(&review(&voting())), &rules(INTEL)).unwrap().body;
    let start = format!(
        "{{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"response\":{{\"uid\":\"{UID}\",\"allowed\":true,\
         \"status\":{{\"metadata\":{{}},\"status\":\"Success\",\
         \"message\":\"Mutation request for pod of marble type [Voting] successful\"}},\"patch\":\""
    );
    assert!(body.starts_with(&start), "{body}");
    assert!(body.contains("\",\"patchType\":\"JSONPatch\"") && !body.contains('\n'), "{body}");
}

#[test]
fn each_version_is_answered_in_itself() {
    for (asked, answered) in [
        (json!("admission.k8s.io/v1"), "admission.k8s.io/v1"),
        (json!("admission.k8s.io/v1beta1"), "admission.k8s.io/v1beta1"),
        (json!(""), "admission.k8s.io/v1"),
        (json!(null), "admission.k8s.io/v1"),
    ] {
        let mut review = review(&voting());
        review["apiVersion"] = asked;
        assert_eq!(answer_to(&review)["apiVersion"], answered);
    }
}

#[test]
fn a_pod_that_has_everything_is_allowed_without_a_patch() {
    let (marble, _) = decided(&voting(), &rules(INTEL));
    let response = answer_to(&review(&marble))["response"].clone();
    assert_eq!(response["allowed"], true);
    // The API server refuses one without the other.
    assert!(response.get("patch").is_none() && response.get("patchType").is_none(), "{response}");
}

#[test]
fn the_namespace_is_that_of_the_request_and_else_default() {
    for (namespace, expected) in [(json!("shop"), "shop"), (json!(""), "default"), (json!(null), "default")] {
        let mut review = review(&voting());
        review["request"]["namespace"] = namespace;
        // Upstream does not read it either: the API server has not filled it in yet.
        review["request"]["object"]["metadata"]["namespace"] = json!("other");
        let answer = answer(&body_of(&review), &rules(INTEL)).unwrap();
        assert_eq!(answer.namespace, expected);
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        let patch = BASE64_STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
        let patch = String::from_utf8(patch).unwrap();
        assert!(patch.contains(&format!("voting,voting.{expected},voting.{expected}.svc.cluster.local")), "{patch}");
    }
}

#[test]
fn the_log_knows_a_pod_by_its_name_or_what_its_name_will_begin_with() {
    let mut review = review(&voting());
    assert_eq!(answer(&body_of(&review), &rules(INTEL)).unwrap().pod, "p");
    review["request"]["object"]["metadata"] =
        json!({"generateName": "voting-", "labels": {"marblerun/marbletype": "Voting"}});
    let answer = answer(&body_of(&review), &rules(INTEL)).unwrap();
    assert_eq!((answer.pod.as_str(), answer.uid.as_str()), ("voting-", UID));
}

#[test]
fn a_fault_of_ours_refuses_the_pod() {
    let decision = contain(UID, || panic!("a fault")).unwrap();
    let Decision::Denied(refusal) = &decision else { panic!("{decision:?}") };
    assert!(refusal.to_string().contains(UID), "{refusal}");
}

#[test]
fn the_patch_in_the_answer_is_the_one_decided_on() {
    let answer = answer(&body_of(&review(&voting())), &rules(INTEL)).unwrap();
    let Decision::Injected { patch, .. } = answer.decision else { panic!() };
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let sent = BASE64_STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Patch>(&sent).unwrap(), patch);
}

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::json;

use super::*;

fn app() -> App {
    App {
        rules: Rules {
            coordinator: "c:1".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            sgx: admission::SgxResource::None,
        },
        bodies: BodyBudget::new(1 << 20, 4096, Duration::from_secs(1)),
    }
}

async fn ask(method: &str, path: &str, content_type: Option<&str>, body: &str) -> (StatusCode, String, String) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(content_type) = content_type {
        request = request.header(CONTENT_TYPE, content_type);
    }
    let response = app().answer(request.body(Full::<Bytes>::from(body.to_owned())).unwrap()).await;
    let (head, body) = response.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, content_type.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
}

fn review() -> String {
    let pod = json!({"metadata": {"labels": {"marblerun/marbletype": "t"}}, "spec": {"containers": [{"name": "c"}]}});
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "u", "object": pod}})
        .to_string()
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: Option<&str> = Some("application/json");

#[tokio::test]
async fn requests_that_are_none_are_refused_in_upstreams_words() {
    for method in ["GET", "PUT", "DELETE", "HEAD"] {
        let (status, content_type, body) = ask(method, "/mutate", JSON, &review()).await;
        assert_eq!((status.as_u16(), content_type.as_str()), (400, TEXT));
        assert_eq!(body, "unable to handle requests other than POST\n");
    }
    for content_type in [None, Some("text/plain"), Some("application/yaml"), Some("application/json2"), Some("")] {
        let (status, answered, body) = ask("POST", "/mutate", content_type, &review()).await;
        assert_eq!((status.as_u16(), answered.as_str(), body.as_str()), (400, TEXT, "wrong application type\n"));
    }
    for (body, says) in [
        ("{", "unable to mutate request: invalid admission review: "),
        ("{}", "unable to mutate request: empty admission request\n"),
        ("{\"request\": {\"object\": 7}}", "unable to mutate request: invalid pod: "),
    ] {
        let (status, content_type, answered) = ask("POST", "/mutate", JSON, body).await;
        assert_eq!((status.as_u16(), content_type.as_str()), (500, TEXT));
        assert!(answered.starts_with(says) && answered.ends_with('\n'), "{answered}");
    }
}

#[tokio::test]
async fn a_review_is_answered_whatever_parameters_its_type_has() {
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/JSON ;x=y"] {
        for path in ["/mutate", "/mutate?timeout=10s"] {
            let (status, answered, body) = ask("POST", path, Some(content_type), &review()).await;
            assert_eq!((status.as_u16(), answered.as_str()), (200, "application/json"), "{content_type}");
            assert!(body.starts_with("{\"kind\":\"AdmissionReview\""), "{body}");
        }
    }
}

#[tokio::test]
async fn a_review_that_is_too_large_is_refused() {
    let (status, _, body) = ask("POST", "/mutate", JSON, &" ".repeat(5000)).await;
    assert_eq!((status.as_u16(), body.as_str()), (413, "the request body is larger than 4096 bytes\n"));
}

#[tokio::test]
async fn health_is_told_to_any_method_and_other_paths_are_not_found() {
    for method in ["GET", "HEAD", "POST"] {
        let (status, _, body) = ask(method, "/healthz", None, "").await;
        assert_eq!((status.as_u16(), body.as_str()), (200, ""));
    }
    for path in ["/", "/mutate/", "/metrics", "/healthz/x"] {
        assert_eq!(ask("POST", path, JSON, &review()).await.0.as_u16(), 404, "{path}");
    }
}

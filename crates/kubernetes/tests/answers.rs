//! What a server answers that is no API server, or one in trouble; over plain HTTP, so that each byte is the test's.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use marblerun_kubernetes::{Access, Changed, Kubernetes, KubernetesConfig, KubernetesPlace, Names};
use marblerun_state::BootId;
use marblerun_store::cluster::{Content, Notes, PlaceError, SharedPlace as _, WriteFailure};

/// Answers each request with the next answer, or the last one again, and closes the connection.
struct Server {
    requests: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<Vec<Vec<u8>>>>,
    place: KubernetesPlace,
    _runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn server() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (requests, answers) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<Vec<u8>>>>::default());
    let (seen, next) = (Arc::clone(&requests), Arc::clone(&answers));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            seen.lock().unwrap().push(request(&mut stream));
            let mut answers = next.lock().unwrap();
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            drop(answers);
            let _ = stream.write_all(&answer);
        }
    });
    let (runtime, folder, kubernetes) = connected(&url);
    let place = kubernetes.place();
    Server { requests, answers, place, _runtime: runtime, _folder: folder }
}

fn connected(url: &str) -> (tokio::runtime::Runtime, tempfile::TempDir, Kubernetes) {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: '{url}'}}}}]\n\
         users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let config = KubernetesConfig {
        access: Access { kubeconfig: Some(kubeconfig.into()), ..Access::default() },
        names: Names::new("ns", "state", "keys", "service").unwrap(),
        boot: BootId([7; 16]),
        pod: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let kubernetes = runtime.block_on(Kubernetes::connect(config)).unwrap();
    (runtime, folder, kubernetes)
}

/// Head and body of a request.
fn request(stream: &mut std::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0_usize) {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return text,
        }
    }
}

impl Server {
    fn says(&self, answers: &[Vec<u8>]) {
        self.requests.lock().unwrap().clear();
        *self.answers.lock().unwrap() = answers.to_vec();
    }

    fn asked(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|text| text.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

fn content(byte: u8) -> Content {
    Content { sealed_data: vec![byte; 3], sealed_key: None, parts: None, notes: Notes::default() }
}

fn secret(name: &str, uid: &str, revision: &str, data: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{name}","uid":"{uid}","resourceVersion":"{revision}"}},"data":{{{data}}}}}"#
    )
}

const ONE: &str = r#""sealed_data":"AQEB""#;

#[track_caller]
fn assert_doubt<T: std::fmt::Debug>(answer: Result<T, WriteFailure>) {
    assert!(matches!(answer, Err(WriteFailure::InDoubt { conflict: false, .. })), "{answer:?}");
}

#[test]
fn no_answer_makes_anything_be_sent_twice() {
    for status in ["429 Too Many Requests", "500 Internal", "502 Bad", "503 Unavailable", "504 Timeout", "409 Conflict"]
    {
        let mut server = server();
        server.says(&[http(status, "", "{}")]);
        let created = server.place.create(&content(1));
        assert!(
            matches!(created, Err(WriteFailure::InDoubt { conflict, .. }) if conflict == status.starts_with("409"))
        );
        assert_eq!(server.asked().len(), 1, "{status}");
        assert!(server.asked()[0].starts_with("PATCH /api/v1/namespaces/ns/secrets/state?"));
        assert!(server.asked()[0].contains("fieldManager=marblerun-0707070707070707"), "{:?}", server.asked());
        assert!(!server.asked()[0].contains("force"), "{:?}", server.asked());
        if !status.starts_with("409") {
            assert!(matches!(server.place.read(), Err(PlaceError::Unreachable(_))));
            assert_eq!(server.asked().len(), 2, "{status}");
        }
    }
}

#[test]
fn who_asks_to_be_left_alone_is_left_alone_for_as_long() {
    let mut server = server();
    server.says(&[
        http("429 Too Many Requests", "Retry-After: 2\r\n", "{}"),
        http("200 OK", "", &secret("state", "u", "1", ONE)),
    ]);
    let answer = server.place.create(&content(1));
    let two = Duration::from_secs(2);
    assert!(matches!(answer, Err(WriteFailure::InDoubt { retry_after, .. }) if retry_after == Some(two)), "{answer:?}");
    let start = Instant::now();
    assert!(matches!(server.place.read(), Err(PlaceError::Unreachable(_))));
    let held = server.place.create(&content(1));
    assert!(matches!(held, Err(WriteFailure::InDoubt { retry_after: Some(wait), .. }) if wait <= two), "{held:?}");
    assert_eq!(server.asked().len(), 1);
    while server.place.read().is_err() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(start.elapsed() > Duration::from_millis(1800));
}

#[test]
fn an_answer_that_is_not_the_object_is_no_answer() {
    let mut server = server();
    let truncated = http("200 OK", "", &secret("state", "u", "1", ONE)).split_last_chunk::<9>().unwrap().0.to_vec();
    let foreign = [
        http("200 OK", "", "<html>welcome</html>"),
        http("200 OK", "", "{}"),
        http("200 OK", "", ""),
        http("200 OK", "", &secret("another", "u", "1", ONE)),
        http("200 OK", "", &secret("state", "", "1", ONE)),
        http("200 OK", "", &secret("state", "u", "", ONE)),
        http("200 OK", "", &secret("state", "u", "1", r#""sealed_data":"not base64!""#)),
        http("404 Not Found", "", "<html>nothing here</html>"),
        http("302 Found", "Location: /login\r\n", ""),
        truncated,
        b"SSH-2.0-OpenSSH\r\n".to_vec(),
        Vec::new(),
    ];
    for answer in foreign {
        let text = String::from_utf8_lossy(&answer).into_owned();
        server.says(&[answer]);
        let read = server.place.read();
        assert!(matches!(read, Err(PlaceError::Malformed(_) | PlaceError::Unreachable(_))), "{text}: {read:?}");
        let version = server.place.version();
        assert!(matches!(version, Err(PlaceError::Malformed(_) | PlaceError::Unreachable(_))), "{text}: {version:?}");
        assert_doubt(server.place.create(&content(1)));
    }
}

#[test]
fn only_what_was_sent_is_an_acknowledgement() {
    let mut server = server();
    for other in [r#""sealed_data":"AgIC""#, "", r#""sealed_data":"AQEB","sealed_key":"AA==""#] {
        server.says(&[http("201 Created", "", &secret("state", "u", "1", other))]);
        assert_doubt(server.place.create(&content(1)));
    }
    server.says(&[http("200 OK", "", &secret("state", "u", "1", ONE))]);
    let base = server.place.read().unwrap().unwrap().version;
    let two = r#""sealed_data":"AgIC""#;
    server.says(&[http("200 OK", "", &secret("state", "v", "2", two))]);
    assert_doubt(server.place.replace(&base, &content(2)));
    server.says(&[http("202 Accepted", "", &secret("state", "u", "2", two))]);
    assert_doubt(server.place.replace(&base, &content(2)));
    server.says(&[http("200 OK", "", &secret("state", "u", "2", two))]);
    let version = server.place.replace(&base, &content(2)).unwrap();
    assert_eq!((version.uid.as_str(), version.revision.as_str()), ("u", "2"));
    let sent = server.requests.lock().unwrap()[0].clone();
    assert!(
        sent.starts_with("PUT ") && sent.contains(r#""uid":"u""#) && sent.contains(r#""resourceVersion":"1""#),
        "{sent}"
    );
}

#[test]
fn an_endless_answer_is_cut_off() {
    let mut server = server();
    let mut endless = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n{\"a\":\"".to_vec();
    endless.resize(20 << 20, b'a');
    server.says(&[endless]);
    let read = server.place.read();
    assert!(matches!(read, Err(PlaceError::Unreachable(_))), "{read:?}");
}

#[test]
fn a_validation_takes_only_a_list_of_this_one_object() {
    let mut server = server();
    let list = |kind: &str, items: &str| http("200 OK", "", &format!(r#"{{"kind":"{kind}","items":[{items}]}}"#));
    let item = |name: &str| {
        format!(r#"{{"kind":"PartialObjectMetadata","metadata":{{"name":"{name}","uid":"u","resourceVersion":"9"}}}}"#)
    };
    let partial = "PartialObjectMetadataList";
    server.says(&[list(partial, &item("state"))]);
    assert_eq!(server.place.version().unwrap().unwrap().revision, "9");
    let asked = server.asked()[0].clone();
    assert!(asked.contains("fieldSelector=metadata.name%3Dstate") && asked.contains("limit=1"), "{asked}");
    assert!(!asked.contains("resourceVersion"), "{asked}");
    assert!(server.requests.lock().unwrap()[0].contains("as=PartialObjectMetadataList"));
    server.says(&[list(partial, "")]);
    assert_eq!(server.place.version(), Ok(None));
    server.says(&[http("200 OK", "", r#"{"kind":"PartialObjectMetadataList","items":null}"#)]);
    assert_eq!(server.place.version(), Ok(None));
    for other in
        [list("SecretList", ""), list(partial, &item("other")), list(partial, &format!("{0},{0}", item("state")))]
    {
        server.says(&[other]);
        assert!(matches!(server.place.version(), Err(PlaceError::Malformed(_))));
    }
}

/// Answers lists with nothing, and watches as told.
fn watched(watch: &[u8]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let (seen, watch) = (Arc::clone(&asked), watch.to_vec());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (seen, watch) = (Arc::clone(&seen), watch.clone());
            std::thread::spawn(move || {
                let line = request(&mut stream).lines().next().unwrap_or_default().to_owned();
                let list = r#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"5"},"items":null}"#;
                let answer = if line.contains("watch=true") { watch } else { http("200 OK", "", list) };
                seen.lock().unwrap().push(line);
                let _ = stream.write_all(&answer);
            });
        }
    });
    (url, asked)
}

#[test]
fn a_watch_that_was_forgotten_begins_anew_and_one_that_fails_at_once_is_not_hurried() {
    let gone = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#;
    let endings = [
        http("200 OK", "", &format!("{gone}\n")),
        http("410 Gone", "", r#"{"kind":"Status","message":"gone","reason":"Expired","code":410}"#),
        http("200 OK", "", ""),
        http("500 Internal Server Error", "", "{}"),
        http("200 OK", "", "garbage\n"),
    ];
    for ending in endings {
        let text = String::from_utf8_lossy(&ending).into_owned();
        let (url, asked) = watched(&ending);
        let (runtime, _folder, kubernetes) = connected(&url);
        let changes = Arc::<Mutex<Vec<Changed>>>::default();
        let to = Arc::clone(&changes);
        let watching = runtime.spawn(async move { kubernetes.watch(|changed| to.lock().unwrap().push(changed)).await });
        let start = Instant::now();
        let count = |what| changes.lock().unwrap().iter().filter(|changed| **changed == what).count();
        while [Changed::State, Changed::HostKeys, Changed::Peers].into_iter().any(|what| count(what) < 3) {
            assert!(start.elapsed() < Duration::from_secs(30), "{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
        // Two pauses of a quarter of a second at least.
        assert!(start.elapsed() > Duration::from_millis(450), "{text}: {:?}", start.elapsed());
        watching.abort();
        let asked = asked.lock().unwrap();
        let of_state: Vec<_> = asked.iter().filter(|line| line.contains("/secrets?")).collect();
        assert!(of_state[0].contains("metadata.name%3Dstate") && !of_state[0].contains("watch"), "{of_state:?}");
        assert!(of_state[1].contains("watch=true") && of_state[1].contains("resourceVersion=5"), "{of_state:?}");
        assert!(!of_state[2].contains("watch"), "{text}: {of_state:?}");
    }
}

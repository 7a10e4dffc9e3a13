//! Certificates that are renewed while the webhook serves.

use crate::certificate::{MountedSecret, Pair};
use crate::client::{Kept, health, shown};
use crate::process::Injector;

#[tokio::test]
async fn a_new_certificate_is_shown_to_the_next_connection_and_the_ones_before_go_on() {
    let (old, new, newest) = (Pair::new("old"), Pair::new("new"), Pair::new("newest"));
    let mut secret = MountedSecret::new(&old);
    let injector = Injector::start(&secret, &[]);
    let mut kept = Kept::open(injector.address, &old).await;
    assert_eq!(shown(injector.address, &[&old]).await, old.der());
    for next in [&new, &newest, &old] {
        secret.replace(&next.certificate, &next.key);
        assert_eq!(shown(injector.address, &[&old, &new, &newest]).await, next.der());
    }
    assert_eq!(kept.send(health(injector.address)).await.0.as_u16(), 200);
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_leaves_the_old_one_in_use_and_is_logged_once() {
    let (old, new) = (Pair::new("old"), Pair::new("new"));
    let trusted = [&old, &new];
    let mut secret = MountedSecret::new(&old);
    let mut injector = Injector::start(&secret, &[]);
    for (certificate, key, says) in [
        (&*new.certificate, &*old.key, "cannot be used together"),
        ("", &*new.key, "it has no block CERTIFICATE"),
        (&*new.certificate, "-----BEGIN PRIVATE KEY-----\n", "tls.key is not one in PEM form"),
    ] {
        secret.replace(certificate, key);
        for _ in 0..3 {
            assert_eq!(shown(injector.address, &trusted).await, old.der());
        }
        let line = injector.wait_for_log(says);
        assert_eq!(line["level"], "ERROR");
        assert!(line["message"].as_str().unwrap().ends_with("The certificate before stays in use"), "{line}");
        let times = injector.log().iter().filter(|line| line["message"].as_str().unwrap().contains(says)).count();
        assert_eq!(times, 1, "{says}");
    }
    std::fs::remove_file(secret.path("..data")).unwrap();
    assert_eq!(shown(injector.address, &trusted).await, old.der());
    injector.wait_for_log("cannot be read");
    secret.replace(&new.certificate, &new.key);
    assert_eq!(shown(injector.address, &trusted).await, new.der());
}

#[tokio::test]
async fn files_that_are_written_in_place_one_after_the_other_are_taken_once_both_are_there() {
    let (old, new) = (Pair::new("old"), Pair::new("new"));
    let trusted = [&old, &new];
    let secret = MountedSecret::new(&old);
    let injector = Injector::start(&secret, &[]);
    std::fs::write(secret.path("tls.crt"), &new.certificate).unwrap();
    assert_eq!(shown(injector.address, &trusted).await, old.der());
    std::fs::write(secret.path("tls.key"), &new.key).unwrap();
    assert_eq!(shown(injector.address, &trusted).await, new.der());
}

#[test]
fn a_certificate_that_ends_soon_is_said() {
    let mut injector = Injector::start(&MountedSecret::new(&Pair::valid_for("webhook", 5)), &[]);
    let line = injector.wait_for_log("certificate ends soon");
    assert_eq!(line["level"], "WARN");
    let mut injector = Injector::start(&MountedSecret::new(&Pair::valid_for("webhook", 60)), &[]);
    assert_eq!(injector.wait_for_log("the webhook has a certificate")["level"], "INFO");
}

#[tokio::test]
async fn keys_of_every_form_that_tools_write_are_taken() {
    // Upstream's installation writes PKCS#1, cert-manager PKCS#1 or SEC1, openssl PKCS#8.
    for (algorithm, rewrite) in [("rsa:2048", &["rsa", "-traditional"][..]), ("rsa:2048", &["pkey"]), ("ec", &["ec"])] {
        let dir = tempfile::tempdir().unwrap();
        let openssl = |arguments: &[&str]| {
            let output =
                std::process::Command::new("openssl").args(arguments).current_dir(dir.path()).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let curve = ["-pkeyopt", "ec_paramgen_curve:P-384"];
        let request = ["req", "-x509", "-nodes", "-subj", "/CN=w", "-keyout", "k", "-out", "crt"];
        let extensions = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:false"];
        let curve = if algorithm == "ec" { &curve[..] } else { &[] };
        openssl(&[&request[..], &extensions, &["-newkey", algorithm], curve].concat());
        openssl(&[rewrite, &["-in", "k", "-out", "key"]].concat());
        let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let pair = Pair { certificate: read("crt"), key: read("key") };
        let injector = Injector::start(&MountedSecret::new(&pair), &[]);
        assert_eq!(shown(injector.address, &[&pair]).await, pair.der(), "{rewrite:?}");
    }
}

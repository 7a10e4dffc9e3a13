//! The service against a PCCS that is played: how often it is asked, and what happens when it is not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use marblerun_attestation::{IntelPlatform, PckCa, SnpProduct, Tee, VcekRequest};
use marblerun_collateral::{CollateralSource as _, Place, Service, Settings};

const SYNTHETIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../attestation/tests/fixtures/quotes/synthetic");

/// In the life of the synthetic collateral.
const NOW: u64 = 1_767_225_600;

/// Answers as a PCCS does, from the synthetic collateral.
struct Pccs {
    url: String,
    asked: Arc<AtomicUsize>,
    is_down: Arc<AtomicBool>,
}

impl Pccs {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/sgx/certification/v4/", listener.local_addr().unwrap());
        let (asked, is_down) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, down) = (asked.clone(), is_down.clone());
        std::thread::spawn(move || {
            let json = std::fs::read(Path::new(SYNTHETIC).join("collateral.json")).unwrap();
            let collateral: serde_json::Value = serde_json::from_slice(&json).unwrap();
            for stream in listener.incoming() {
                let (collateral, count, down) = (collateral.clone(), count.clone(), down.clone());
                std::thread::spawn(move || answer(stream.unwrap(), &collateral, &count, &down));
            }
        });
        Self { url, asked, is_down }
    }

    fn settings(&self) -> Settings {
        Settings { intel: Place::Url(self.url.clone()), secure: false, amd: "none".to_owned(), cache: None }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, collateral: &serde_json::Value, asked: &AtomicUsize, is_down: &AtomicBool) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        request.push(byte[0]);
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap();
    let text = |field: &str| collateral[field].as_str().unwrap().to_owned();
    let chain = |name: &str, field: &str| {
        let encoded: String = text(field).bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("{name}: {encoded}\r\n")
    };
    let (headers, body) = match path {
        "/sgx/certification/v4/pckcrl?ca=processor&encoding=der" => {
            (chain("SGX-PCK-CRL-Issuer-Chain", "pck_crl_issuer_chain"), hex::decode(text("pck_crl")).unwrap())
        }
        "/sgx/certification/v4/rootcacrl" => (String::new(), text("root_ca_crl").into_bytes()),
        "/sgx/certification/v4/tcb?fmspc=00A0B0C0D0E0" => (
            chain("SGX-TCB-Info-Issuer-Chain", "tcb_info_issuer_chain"),
            format!(r#"{{"tcbInfo":{},"signature":"{}"}}"#, text("tcb_info"), text("tcb_info_signature")).into_bytes(),
        ),
        "/sgx/certification/v4/qe/identity" => (
            chain("SGX-Enclave-Identity-Issuer-Chain", "qe_identity_issuer_chain"),
            format!(r#"{{"enclaveIdentity":{},"signature":"{}"}}"#, text("qe_identity"), text("qe_identity_signature"))
                .into_bytes(),
        ),
        _ => (String::new(), Vec::new()),
    };
    let status = match (is_down.load(Ordering::SeqCst), body.is_empty()) {
        (true, _) => "503 Service Unavailable",
        (false, true) => "404 Not Found",
        (false, false) => "200 OK",
    };
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).unwrap();
}

fn platform() -> IntelPlatform {
    IntelPlatform { tee: Tee::Sgx, fmspc: [0, 0xa0, 0xb0, 0xc0, 0xd0, 0xe0], ca: PckCa::Processor }
}

fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(30), "it did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_thousand_callers_at_once_ask_once_for_each_thing() {
    let pccs = Pccs::start();
    let service = Service::start(&pccs.settings()).unwrap();
    let barrier = Barrier::new(1000);
    std::thread::scope(|scope| {
        for _ in 0..1000 {
            let body = || {
                barrier.wait();
                service.intel(&platform(), NOW).unwrap();
            };
            std::thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, body).unwrap();
        }
    });
    assert_eq!(pccs.asked(), 4, "the two lists, the TCB info, the identity of the quoting enclave");
    assert_eq!(service.counts().fetched, 1);
    let stored = std::fs::read(Path::new(SYNTHETIC).join("collateral.json")).unwrap();
    let expected = marblerun_attestation::IntelCollateral::from_json(&stored).unwrap();
    assert_eq!(*service.intel(&platform(), NOW).unwrap(), expected, "to the byte");
}

#[test]
fn what_is_kept_serves_while_it_is_renewed_and_while_the_service_is_down() {
    let pccs = Pccs::start();
    let service = Service::start(&pccs.settings()).unwrap();
    let ends = service.intel(&platform(), NOW).unwrap().window().unwrap().until;
    pccs.is_down.store(true, Ordering::SeqCst);
    service.intel(&platform(), NOW + 3600).unwrap();
    assert_eq!(pccs.asked(), 4, "it is new");
    // Half of what was left, or a day.
    let later = NOW + (ends - NOW).min(2 * 86_400) / 2 + 1;
    service.intel(&platform(), later).unwrap();
    until(|| service.counts().failed == 1);
    service.intel(&platform(), ends).unwrap();
    let asked = pccs.asked();
    service.intel(&platform(), ends).unwrap();
    assert_eq!(pccs.asked(), asked, "a service that is down is left alone for a while");
    let error = service.intel(&platform(), ends + 1).unwrap_err().to_string();
    assert!(error.contains("HTTP 503"), "what has ended serves nobody: {error}");
}

#[test]
fn what_was_kept_is_renewed_when_it_is_old() {
    let pccs = Pccs::start();
    let service = Service::start(&pccs.settings()).unwrap();
    let ends = service.intel(&platform(), NOW).unwrap().window().unwrap().until;
    service.intel(&platform(), NOW + (ends - NOW).min(2 * 86_400) / 2 + 1).unwrap();
    until(|| pccs.asked() == 8);
    until(|| service.counts().fetched == 2);
}

#[test]
fn a_folder_keeps_it_over_restarts() {
    let pccs = Pccs::start();
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { cache: Some(dir.path().join("collateral")), ..pccs.settings() };
    let first = Service::start(&settings).unwrap().intel(&platform(), NOW).unwrap();
    assert!(dir.path().join("collateral/sgx-00a0b0c0d0e0-processor.json").is_file());
    pccs.is_down.store(true, Ordering::SeqCst);
    let service = Service::start(&settings).unwrap();
    assert_eq!(service.intel(&platform(), NOW).unwrap(), first);
    std::fs::write(dir.path().join("collateral/sgx-00a0b0c0d0e0-processor.json"), "damaged").unwrap();
    assert!(Service::start(&settings).unwrap().intel(&platform(), NOW).is_err());
}

#[test]
fn who_has_seen_newer_elsewhere_has_it_asked_for_again_but_not_time_after_time() {
    let pccs = Pccs::start();
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { cache: Some(dir.path().to_owned()), ..pccs.settings() };
    let first = Service::start(&settings).unwrap().intel(&platform(), NOW).unwrap();
    let service = Service::start(&settings).unwrap();
    for _ in 0..3 {
        assert_eq!(service.newer_intel(&platform(), NOW).unwrap(), first);
    }
    assert_eq!(pccs.asked(), 8, "what the folder kept was asked for again, once");
    pccs.is_down.store(true, Ordering::SeqCst);
    let service = Service::start(&settings).unwrap();
    for _ in 0..3 {
        assert_eq!(service.newer_intel(&platform(), NOW).unwrap(), first, "there is nothing newer to be had");
    }
    assert_eq!(service.counts().failed, 1);
}

#[test]
fn what_a_service_does_not_know_or_nobody_is_asked_for_is_told() {
    let pccs = Pccs::start();
    let service = Service::start(&pccs.settings()).unwrap();
    let other = IntelPlatform { fmspc: [9; 6], ..platform() };
    let error = service.intel(&other, NOW).unwrap_err().to_string();
    assert!(error.starts_with("Intel SGX FMSPC 090909090909 (processor CA): GET http://127.0.0.1"), "{error}");
    assert!(error.contains("HTTP 404"), "{error}");
    let request = VcekRequest { product: SnpProduct::Milan, chip_id: [1; 64], tcb: [0; 8] };
    assert!(service.vcek(&request, NOW).unwrap_err().to_string().contains("switched off"));
    assert_eq!(service.amd_crl(SnpProduct::Milan, NOW), Ok(None));
    let nobody = Settings { intel: Place::Url("http://127.0.0.1:1/".to_owned()), ..pccs.settings() };
    let error = Service::start(&nobody).unwrap().intel(&platform(), NOW).unwrap_err().to_string();
    assert!(error.contains("GET http://127.0.0.1:1/"), "{error}");
}

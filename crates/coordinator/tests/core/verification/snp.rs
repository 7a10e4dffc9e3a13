//! Marbles in SEV-SNP VMs: their processors are made in the test, with the keys that certify them.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use marblerun_attestation::testing::amd::{self, Endorsement, Processor};
#[cfg(feature = "tpm")]
use marblerun_attestation::testing::paravisor;
use marblerun_attestation::testing::paravisor::Tpm;
use marblerun_attestation::{CollateralSource, NoCollateral, SnpIdentity, SnpProduct};
use marblerun_collateral::{Place, Service, Settings as CollateralSettings};

use super::*;

/// A list's life with the test's time in it.
const LIFE: (u64, u64) = (amd::NOW - 1000, amd::NOW + 100_000);

async fn coordinator(package: serde_json::Value) -> Coordinator {
    coordinator_of(Arc::new(NoCollateral), package).await
}

async fn coordinator_of(collateral: Arc<dyn CollateralSource>, package: serde_json::Value) -> Coordinator {
    coordinator_with(AnyTee::with_roots(collateral, amd::roots()), package).await
}

/// What a Marble in that VM sends.
fn shown(processor: &Processor, vm: &SnpIdentity) -> Vec<u8> {
    processor.evidence(vm, &bound()).into_bytes()
}

fn milan() -> Processor {
    Processor::new(SnpProduct::Milan, 2, Endorsement::Vcek)
}

type Change = fn(&mut SnpIdentity);

/// Firmware changes with its certificate.
async fn activate_changed(coordinator: &Coordinator, product: SnpProduct, change: Change) -> Result<(), String> {
    let mut processor = Processor::new(product, 3, Endorsement::Vcek);
    let mut vm = processor.vm();
    change(&mut vm);
    processor.tcb = vm.tcb;
    activate(coordinator, shown(&processor, &vm)).await
}

#[tokio::test]
async fn a_marble_is_admitted_in_exactly_the_vm_that_its_package_names() {
    let measured = json!({"SNP": {"Measurement": "A1".repeat(48)}});
    let product = json!({
        "SNP": {
            "IDKeyDigest": "b1".repeat(48), "AuthorKeyDigest": "c1".repeat(48),
            "FamilyID": "d1".repeat(16), "ImageID": "e1".repeat(16),
        },
        "SecurityVersion": 4,
    });
    let configured = json!({"SNP": {
        "Measurement": "a1".repeat(48), "HostData": "f1".repeat(32), "Policy": 0x30000, "VMPL": 0,
        "MinTCB": {"Bootloader": 3, "SNP": 8, "Microcode": 115}, "Products": ["Milan", "Genoa"],
    }});
    let debug = json!({"SNP": {"Measurement": "a1".repeat(48)}, "Debug": true});
    let below = json!({"SNP": {"Measurement": "a1".repeat(48), "VMPL": 2}});
    let cases: [(&serde_json::Value, &[(Change, &str)]); 5] = [
        (
            &measured,
            &[
                (|_| (), ""),
                (|vm| vm.measurement[47] ^= 1, "Measurement"),
                // What is not asked is not compared,
                (|vm| (vm.host_data, vm.guest_svn, vm.id_key_digest) = ([0; 32], 0, [0; 48]), ""),
                (|vm| vm.tcb.microcode = 1, ""),
                // but for what opens a VM to others.
                (|vm| vm.policy |= SnpIdentity::POLICY_DEBUG, "Debug"),
                (|vm| vm.policy |= SnpIdentity::POLICY_MIGRATION, "Policy"),
                (|vm| vm.vmpl = 1, "VMPL"),
            ],
        ),
        (
            &product,
            &[
                (|vm| vm.measurement = [0x77; 48], ""),
                (|vm| vm.guest_svn = 5, ""),
                (|vm| vm.guest_svn = 3, "SecurityVersion"),
                (|vm| vm.id_key_digest[0] ^= 1, "IDKeyDigest"),
                (|vm| vm.author_key_digest[0] ^= 1, "AuthorKeyDigest"),
                (|vm| vm.family_id[15] ^= 1, "FamilyID"),
                (|vm| vm.image_id[15] ^= 1, "ImageID"),
                (|vm| (vm.family_id, vm.guest_svn) = ([0; 16], 0), "FamilyID, SecurityVersion"),
            ],
        ),
        (
            &configured,
            &[
                (|_| (), ""),
                (|vm| vm.tcb.snp = 9, ""),
                (|vm| vm.host_data[0] ^= 1, "HostData"),
                (|vm| vm.policy |= 1 << 20, "Policy"),
                (|vm| vm.vmpl = 3, "VMPL"),
                (|vm| vm.tcb.bootloader = 2, "MinTCB.Bootloader"),
                (|vm| vm.tcb.snp = 7, "MinTCB.SNP"),
                (|vm| vm.tcb.microcode = 114, "MinTCB.Microcode"),
            ],
        ),
        (&debug, &[(|vm| vm.policy |= SnpIdentity::POLICY_DEBUG, ""), (|_| (), "Debug")]),
        (&below, &[(|vm| vm.vmpl = 2, ""), (|_| (), "VMPL")]),
    ];
    for (package, changes) in cases {
        let coordinator = coordinator(package.clone()).await;
        for (number, (change, field)) in changes.iter().enumerate() {
            let expected = match *field {
                "" => Ok(()),
                names => Err(format!("PackageProperties not compliant: {names}")),
            };
            let activated = activate_changed(&coordinator, SnpProduct::Milan, *change).await;
            assert_eq!(activated, expected, "{package}: change {number}");
        }
    }
    let configured = coordinator(configured).await;
    activate_changed(&configured, SnpProduct::Genoa, |_| ()).await.unwrap();
    let text = activate_changed(&configured, SnpProduct::Turin, |_| ()).await.unwrap_err();
    assert_eq!(text, "PackageProperties not compliant: Products");
    let turin = json!({"SNP": {"Measurement": "a1".repeat(48), "MinTCB": {"FMC": 2}, "Products": ["Turin"]}});
    let turin = coordinator_of(Arc::new(NoCollateral), turin).await;
    activate_changed(&turin, SnpProduct::Turin, |vm| vm.tcb.fmc = Some(2)).await.unwrap();
    let text = activate_changed(&turin, SnpProduct::Turin, |_| ()).await.unwrap_err();
    assert_eq!(text, "PackageProperties not compliant: MinTCB.FMC");
}

#[tokio::test]
async fn evidence_that_is_not_genuine_is_refused_by_what_is_wrong_before_anything_is_compared() {
    // Nothing that is shown here would fit.
    let coordinator = coordinator(json!({"SNP": {"Measurement": "ff".repeat(48)}})).await;
    let processor = milan();
    let good = processor.vm();
    let report = processor.report(&good, &bound());
    let flipped = {
        let mut report = report.clone();
        report[0x98] ^= 1;
        report
    };
    let with = |change: Change| {
        let mut vm = processor.vm();
        change(&mut vm);
        shown(&processor, &vm)
    };
    let mut expired = milan();
    expired.life.1 = amd::NOW - 1;
    let rented = Processor::new(SnpProduct::Milan, 3, Endorsement::Vlek);
    let mut bare = rented.bundle(rented.report(&rented.vm(), &bound()));
    bare.certificates.clear();
    for (quote, reason) in [
        (processor.bundle(flipped).to_wire(), "the signature of the SEV-SNP report is not its key's"),
        (with(|vm| vm.tcb.snp = 7), "the certificate is for other firmware than the report: expected"),
        (with(|vm| vm.chip_id[0] = 9), "the certificate is for another processor than the report: expected 09"),
        (shown(&expired, &expired.vm()), "AMD's certificate of the key that the report leads to has expired"),
        (bare.to_wire(), "the evidence has no certificate of the key that signed it (VLEK)"),
        (processor.bundle(report[1..].to_vec()).to_wire(), "damaged SEV-SNP report: it has 1183 bytes"),
        (shown(&processor, &good), "PackageProperties not compliant: Measurement"),
        (
            processor.evidence(&good, &ReportData::binding(&[b"another certificate"])).into_bytes(),
            "hash(cert) != report.Data",
        ),
    ] {
        let text = activate(&coordinator, quote).await.unwrap_err();
        assert!(text.starts_with(reason), "{text}");
    }
}

#[tokio::test]
async fn whom_amd_did_not_certify_is_refused_by_a_coordinator_with_amds_own_roots() {
    let package = json!({"SNP": {"Measurement": "a1".repeat(48)}});
    let coordinator = coordinator_with(AnyTee::default(), package).await;
    let processor = milan();
    let text = activate(&coordinator, shown(&processor, &processor.vm())).await.unwrap_err();
    assert_eq!(text, "the VCEK certificate names AMD's key of Milan, but that key did not sign it");
}

#[tokio::test]
async fn a_key_of_a_cloud_provider_will_do_and_hides_its_processor() {
    let coordinator = coordinator(json!({"SNP": {"Measurement": "a1".repeat(48), "Products": ["Genoa"]}})).await;
    let rented = Processor::new(SnpProduct::Genoa, 4, Endorsement::Vlek);
    let vm = SnpIdentity { chip_id: [0; 64], ..rented.vm() };
    activate(&coordinator, shown(&rented, &vm)).await.unwrap();
}

#[tokio::test]
async fn below_a_paravisor_a_marble_is_admitted_by_the_registers_that_its_package_names() {
    let tpm = Tpm::default();
    let named = json!({"SNP": {
        "Measurement": "a1".repeat(48),
        "PCRs": {"4": "04".repeat(32), "7": "07".repeat(32), "11": "0B".repeat(32)},
    }});
    let coordinator = coordinator(named).await;
    let (processor, vm) = (milan(), milan().vm());
    let shown_by = |tpm: &Tpm| tpm.bundle(&processor, &vm, &bound()).to_wire();
    activate(&coordinator, shown_by(&tpm)).await.unwrap();
    let mut other = Tpm::default();
    (other.pcrs[4], other.pcrs[11], other.pcrs[5]) = ([9; 32], [9; 32], [9; 32]);
    let text = activate(&coordinator, shown_by(&other)).await.unwrap_err();
    assert_eq!(text, "PackageProperties not compliant: PCRs.4, PCRs.11");
    let bundle = tpm.bundle(&processor, &vm, &ReportData::binding(&[b"another certificate"]));
    assert!(activate(&coordinator, bundle.to_wire()).await.unwrap_err().starts_with("hash(cert) != report.Data"));
    // A VM that asks the processor itself tells no registers, whatever is measured in it; and the other way round.
    let text = activate(&coordinator, shown(&processor, &vm)).await.unwrap_err();
    assert_eq!(text, "PackageProperties not compliant: TEE");
    let direct = self::coordinator(json!({"SNP": {"Measurement": "a1".repeat(48)}})).await;
    let text = activate(&direct, shown_by(&tpm)).await.unwrap_err();
    assert_eq!(text, "PackageProperties not compliant: TEE");
}

#[tokio::test]
async fn a_package_whose_registers_any_system_could_have_is_refused_and_told_why() {
    let settings = Settings::simulation();
    let state = temporary_state(Phase::AcceptingManifest, "localhost", &settings.clock).unwrap();
    let coordinator = Coordinator::new(Store::in_memory(state), settings);
    let package = json!({"SNP": {"Measurement": "a1".repeat(48), "PCRs": {"11": "0b".repeat(32)}}});
    let manifest = json!({"Packages": {"app": package}, "Marbles": {"web": {"Package": "app"}}});
    let error = coordinator.set_manifest(bytes(&manifest)).await.unwrap_err();
    assert!(error.message.contains("neither 4 nor 7 is among them"), "{}", error.message);
}

/// With a TPM in software, and what the Coordinator's and premain's programs issue with.
#[cfg(feature = "tpm")]
#[tokio::test(flavor = "multi_thread")]
async fn evidence_of_a_real_tpm_is_admitted_until_another_system_is_measured() {
    let (processor, tpm) = (milan(), marblerun_testkit::SoftTpm::start().unwrap());
    tpm.play_paravisor(|modulus| {
        let data = paravisor::runtime_data(modulus, &[1, 0, 1]);
        paravisor::hcl_report(&processor.report(&processor.vm(), &ReportData::binding(&[&data])), &data)
    })
    .unwrap();
    let tcti = tpm.tcti();
    let backend = marblerun_tpm::Vtpm::backend(|name| (name == "MARBLERUN_TPM").then(|| tcti.clone())).unwrap();
    let issuer = backend.issuer;
    let issue = move || {
        let issuer = issuer.clone();
        async move { tokio::task::spawn_blocking(move || issuer.issue(&bound()).unwrap().into_bytes()).await.unwrap() }
    };
    let kds = Kds::start(processor.certificate());
    let zero = "00".repeat(32);
    let package = json!({"SNP": {"Measurement": "a1".repeat(48), "PCRs": {"4": zero, "7": zero, "9": zero}}});
    let coordinator = coordinator_of(kds.service(), package).await;
    activate(&coordinator, issue().await).await.unwrap();
    tpm.extend_pcr(10).unwrap();
    activate(&coordinator, issue().await).await.unwrap();
    tpm.extend_pcr(9).unwrap();
    let text = activate(&coordinator, issue().await).await.unwrap_err();
    assert_eq!(text, "PackageProperties not compliant: PCRs.9");
}

/// AMD's key service, played: has the certificate of one processor, and a list.
struct Kds {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    list: Arc<Mutex<Vec<u8>>>,
}

impl Kds {
    fn start(certificate: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let list = Arc::new(Mutex::new(amd::revocation_list(SnpProduct::Milan, &[], LIFE)));
        let (log, lists) = (asked.clone(), list.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let path = request(&mut stream);
                let body = if path.ends_with("/crl") { lists.lock().unwrap().clone() } else { certificate.clone() };
                log.lock().unwrap().push(path);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).unwrap();
            }
        });
        Self { url, asked, list }
    }

    fn service(&self) -> Arc<Service> {
        let settings = CollateralSettings {
            intel: Place::Url("http://127.0.0.1:1/".to_owned()),
            secure: false,
            amd: self.url.clone(),
            cache: None,
        };
        Arc::new(Service::start(&settings).unwrap())
    }
}

/// Reads a request; answers its path.
fn request(stream: &mut TcpStream) -> String {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap().split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_marbles_of_one_processor_cost_amd_one_question_for_each_thing() {
    let processor = Processor::new(SnpProduct::Milan, 3, Endorsement::Vcek);
    let kds = Kds::start(processor.certificate());
    let coordinator = coordinator_of(kds.service(), json!({"SNP": {"Measurement": "a1".repeat(48)}})).await;
    let vm = processor.vm();
    let marbles = (0..1000u32).map(|number| {
        let certificate = format!("the certificate of Marble {number}").into_bytes();
        let report = processor.report(&vm, &ReportData::binding(&[&certificate]));
        let mut bundle = processor.bundle(report);
        bundle.certificates.clear();
        let coordinator = coordinator.clone();
        tokio::spawn(async move { activate_as(&coordinator, &certificate, bundle.to_wire()).await })
    });
    for marble in marbles.collect::<Vec<_>>() {
        marble.await.unwrap().unwrap();
    }
    let mut asked = kds.asked.lock().unwrap().clone();
    asked.sort();
    let id = hex::encode(processor.chip_id);
    let certificate = format!("/vcek/v1/Milan/{id}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115");
    assert_eq!(asked, [certificate, "/vcek/v1/Milan/crl".to_owned()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_whose_key_amd_revoked_is_admitted_no_more() {
    let processor = milan();
    let kds = Kds::start(processor.certificate());
    let package = json!({"SNP": {"Measurement": "a1".repeat(48)}});
    let before = coordinator_of(kds.service(), package.clone()).await;
    activate(&before, shown(&processor, &processor.vm())).await.unwrap();
    *kds.list.lock().unwrap() = amd::revocation_list(SnpProduct::Milan, &[amd::SERIAL_OF_ASK], LIFE);
    let after = coordinator_of(kds.service(), package).await;
    let text = activate(&after, shown(&processor, &processor.vm())).await.unwrap_err();
    assert_eq!(text, "AMD revoked the certificate of Milan that the evidence leads to");
}

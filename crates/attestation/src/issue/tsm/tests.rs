use super::super::Root;
use super::super::testing::{FakeTsm, Trouble};
use super::*;

const ASKED: ReportData = ReportData([7; 64]);

/// The interface over a fake of which the test keeps hold.
fn tsm(fake: &Arc<FakeTsm>, provider: Provider) -> Tsm {
    Tsm { files: Arc::clone(fake) as Arc<dyn Files>, provider, first_pause: Duration::ZERO }
}

fn echo() -> Arc<FakeTsm> {
    Arc::new(FakeTsm::new("sev_guest", |data| (data.0.to_vec(), b"aux".to_vec())))
}

#[test]
fn a_question_has_a_folder_of_its_own_and_leaves_nothing_behind() {
    let fake = echo();
    let answer = tsm(&fake, Provider::Snp).report(&ASKED).unwrap();
    assert_eq!((answer.outblob.as_slice(), answer.auxblob.as_slice()), (&ASKED.0[..], &b"aux"[..]));
    assert_eq!((fake.made(), fake.left()), (1, 0));
}

#[test]
fn what_passes_is_waited_for() {
    // EBUSY, EINTR, EAGAIN, ETIMEDOUT, EEXIST.
    for errno in [16, 4, 11, 110] {
        for file in ["inblob", "outblob", "auxblob", "generation"] {
            let fake = echo();
            fake.trouble(Trouble::Error { file, errno }, 5);
            tsm(&fake, Provider::Snp).report(&ASKED).unwrap();
            assert_eq!((fake.made(), fake.left()), (6, 0), "{errno} {file}");
        }
    }
    let fake = echo();
    fake.trouble(Trouble::Make { errno: 17 }, 5);
    tsm(&fake, Provider::Snp).report(&ASKED).unwrap();
}

#[test]
fn what_does_not_pass_is_told_with_its_cause() {
    let fake = echo();
    fake.trouble(Trouble::Error { file: "outblob", errno: 16 }, 6);
    let error = tsm(&fake, Provider::Snp).report(&ASKED).unwrap_err();
    assert!(error.contains("/outblob: ") && error.contains("busy"), "{error}");
    assert_eq!((fake.made(), fake.left()), (6, 0));

    let fake = echo();
    fake.trouble(Trouble::Error { file: "outblob", errno: 5 }, 1);
    let error = tsm(&fake, Provider::Snp).report(&ASKED).unwrap_err();
    assert!(error.contains("/outblob: Input/output error"), "{error}");
    assert_eq!((fake.made(), fake.left()), (1, 0), "and not asked again");
}

#[test]
fn somebody_else_who_writes_meanwhile_is_noticed() {
    for generation in [0, 2, 3] {
        let fake = echo();
        fake.trouble(Trouble::Generation { advances: generation }, 5);
        tsm(&fake, Provider::Snp).report(&ASKED).unwrap();
        assert_eq!((fake.made(), fake.left()), (6, 0));

        let fake = echo();
        fake.trouble(Trouble::Generation { advances: generation }, 6);
        let error = tsm(&fake, Provider::Snp).report(&ASKED).unwrap_err();
        assert!(error.contains(&format!("generation went from 3 to {}", 3 + generation)), "{error}");
    }
}

#[test]
fn another_provider_is_not_asked() {
    let fake = echo();
    let error = tsm(&fake, Provider::Tdx).report(&ASKED).unwrap_err();
    assert!(error.contains(r#"is "sev_guest", and not "tdx_guest""#), "{error}");
    assert_eq!((fake.asked(), fake.made(), fake.left()), (0, 1, 0));
    assert!(tsm(&fake, Provider::Snp).is_usable() && !tsm(&fake, Provider::Tdx).is_usable());
}

#[test]
fn a_kernel_without_hardware_behind_the_interface_has_no_provider() {
    let fake = echo();
    fake.trouble(Trouble::Make { errno: NO_DEVICE }, 1);
    assert_eq!(provider(fake.as_ref()), Ok(None));
    fake.trouble(Trouble::Make { errno: 13 }, 1);
    assert!(provider(fake.as_ref()).unwrap_err().contains("/tsm/report: Permission denied"));
    assert_eq!(provider(fake.as_ref()), Ok(Some("sev_guest".to_owned())));
    assert_eq!(fake.left(), 0);
}

#[test]
fn a_host_without_certificates_is_no_error() {
    let fake = echo();
    fake.trouble(Trouble::Error { file: "auxblob", errno: 2 }, 1);
    assert!(tsm(&fake, Provider::Snp).report(&ASKED).unwrap().auxblob.is_empty());
}

#[test]
fn on_a_disk_the_folder_goes_and_what_is_missing_is_named() {
    let root = tempfile::tempdir().unwrap();
    let below = root.path().join(FOLDER.trim_start_matches('/'));
    let files: Arc<dyn Files> = Arc::new(Root(root.path().to_owned()));
    let real = Tsm::new(Arc::clone(&files), Provider::Tdx);
    assert!(!real.is_there());
    assert!(real.report(&ASKED).unwrap_err().contains("/tsm/report: No such file"));
    std::fs::create_dir_all(&below).unwrap();
    assert!(real.is_there() && !real.is_usable());
    let error = real.report(&ASKED).unwrap_err();
    assert!(error.contains("/provider: No such file"), "{error}");
    assert_eq!(std::fs::read_dir(&below).unwrap().count(), 0);
}

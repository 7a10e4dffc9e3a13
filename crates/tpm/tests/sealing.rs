//! What a TPM gives back, and to whom: against a TPM in software.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::sync::Barrier;

use marblerun_sealing::{KeySealer as _, SealError, SealMode, SlotKind};
use marblerun_testkit::SoftTpm;
use marblerun_tpm::{BootState, Config, Params, PcrSet, TpmSealer};
use zeroize::Zeroizing;

fn config(tpm: &SoftTpm) -> Config {
    Config::new(tpm.tcti().parse().unwrap())
}

fn sealer(tpm: &SoftTpm) -> TpmSealer {
    TpmSealer::new(config(tpm))
}

fn not_mine(result: Result<Zeroizing<Vec<u8>>, SealError>) -> String {
    match result {
        Err(SealError::NotMine(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn a_secret_comes_back_after_every_reboot_into_the_same_state() {
    let mut tpm = SoftTpm::start().unwrap();
    let host = sealer(&tpm).host_id().unwrap();
    let product = sealer(&tpm).new_slot(SealMode::ProductKey).unwrap();
    let unique = sealer(&tpm).new_slot(SealMode::UniqueKey).unwrap();
    assert_eq!((sealer(&tpm).kind(), sealer(&tpm).simulated()), (SlotKind::Tpm, false));
    assert_eq!(product.secret.len(), 32);
    assert_ne!(product.secret, unique.secret);
    for _ in 0..2 {
        assert_eq!(sealer(&tpm).slot_secret(&product.params).unwrap(), product.secret);
        assert_eq!(sealer(&tpm).slot_secret(&unique.params).unwrap(), unique.secret);
        assert_eq!(sealer(&tpm).host_id().unwrap(), host);
        tpm.reboot().unwrap();
    }
}

#[test]
fn another_boot_state_is_refused_by_the_name_of_the_register_until_it_is_the_old_one_again() {
    let mut tpm = SoftTpm::start().unwrap();
    let product = sealer(&tpm).new_slot(SealMode::ProductKey).unwrap();
    let unique = sealer(&tpm).new_slot(SealMode::UniqueKey).unwrap();

    tpm.extend_pcr(9).unwrap();
    assert_eq!(sealer(&tpm).slot_secret(&product.params).unwrap(), product.secret, "bound to 7 alone");
    let why = not_mine(sealer(&tpm).slot_secret(&unique.params));
    assert!(why.contains("PCR 9 of 4,7,8,9") && why.contains("recover once"), "{why}");

    tpm.extend_pcr(7).unwrap();
    assert!(not_mine(sealer(&tpm).slot_secret(&product.params)).contains("PCR 7 of 7"));
    assert!(not_mine(sealer(&tpm).slot_secret(&unique.params)).contains("PCR 7,9 of 4,7,8,9"));
    // What is sealed now belongs to this state.
    let now = sealer(&tpm).new_slot(SealMode::ProductKey).unwrap();
    assert_eq!(sealer(&tpm).slot_secret(&now.params).unwrap(), now.secret);

    tpm.reboot().unwrap();
    assert_eq!(sealer(&tpm).slot_secret(&product.params).unwrap(), product.secret);
    assert!(not_mine(sealer(&tpm).slot_secret(&now.params)).contains("PCR 7"));
}

#[test]
fn another_tpm_is_refused_and_so_is_one_that_is_not_the_pinned_one() {
    let (mine, other) = (SoftTpm::start().unwrap(), SoftTpm::start().unwrap());
    let slot = sealer(&mine).new_slot(SealMode::ProductKey).unwrap();
    assert_ne!(sealer(&mine).host_id().unwrap(), sealer(&other).host_id().unwrap());
    assert!(not_mine(sealer(&other).slot_secret(&slot.params)).contains("another host, or the TPM was cleared"));

    // Parameters that claim to be of the other TPM do not make it open them.
    let mut forged = Params::decode(&slot.params).unwrap();
    forged.host_id = sealer(&other).host_id().unwrap();
    assert!(not_mine(sealer(&other).slot_secret(&forged.encode())).contains("not made by this TPM"));

    let pinned = |tpm: &SoftTpm| TpmSealer::new(Config { host: Some(forged.host_id), ..config(tpm) });
    assert!(pinned(&other).new_slot(SealMode::ProductKey).is_ok());
    assert!(not_mine(pinned(&mine).slot_secret(&slot.params)).contains("exchanged or cleared"));
    assert!(matches!(pinned(&mine).host_id(), Err(SealError::NotMine(_))));
}

#[test]
fn parameters_that_were_altered_never_open() {
    let tpm = SoftTpm::start().unwrap();
    let slot = sealer(&tpm).new_slot(SealMode::ProductKey).unwrap();
    // Every byte of what comes before the sealed object, then samples of the object.
    let object = 2 + 16 + 4 + 32;
    for position in (0..object).step_by(5).chain([0, 1]).chain((object..slot.params.len()).step_by(7)) {
        let mut params = slot.params.clone();
        params[position] ^= 1;
        match sealer(&tpm).slot_secret(&params) {
            Err(SealError::NotMine(_) | SealError::Malformed(_)) => {}
            // The seal mode is what the caller says it is: with the registers of the other mode it is refused.
            Err(other) => panic!("byte {position}: {other}"),
            Ok(_) => panic!("byte {position}"),
        }
    }
    assert_eq!(sealer(&tpm).slot_secret(&slot.params).unwrap(), slot.secret, "the TPM is as it was");
}

/// The host writes `sealed_key`: it must not talk a Coordinator into a key of a weaker boot state.
#[test]
fn a_slot_must_be_bound_to_all_registers_that_are_configured() {
    let tpm = SoftTpm::start().unwrap();
    let with = |pcrs: &str| TpmSealer::new(Config { product_pcrs: pcrs.parse().unwrap(), ..config(&tpm) });
    let weak = with("10").new_slot(SealMode::ProductKey).unwrap();
    let strong = with("4,7").new_slot(SealMode::ProductKey).unwrap();
    let why = not_mine(sealer(&tpm).slot_secret(&weak.params));
    assert!(why.contains("bound to PCRs 10, and the configuration demands 7"), "{why}");
    assert_eq!(sealer(&tpm).slot_secret(&strong.params).unwrap(), strong.secret, "more than configured is good");
    assert!(not_mine(with("4,7,11").slot_secret(&strong.params)).contains("demands 4,7,11"));
}

/// A program in another boot state cannot make a slot that opens in the good one: the parent key refuses it.
#[test]
fn who_was_not_in_the_boot_state_cannot_have_made_a_slot() {
    let mut tpm = SoftTpm::start().unwrap();
    let good = sealer(&tpm).boot_state(SealMode::ProductKey).unwrap();
    assert_eq!(good, BootState::new(PcrSet::SECURE_BOOT, vec![[0; 32]]).unwrap());
    tpm.extend_pcr(7).unwrap();
    let evil = sealer(&tpm).new_slot(SealMode::ProductKey).unwrap();
    // The best he can do: the private part that his own TPM state made, dressed up as one of the good state.
    let mut forged = Params::decode(&evil.params).unwrap();
    let his_policy = forged.boot.policy();
    forged.boot = good;
    let at = forged.public.windows(32).position(|bytes| bytes == his_policy).unwrap();
    forged.public[at..at + 32].copy_from_slice(&forged.boot.policy());
    tpm.reboot().unwrap();
    assert!(not_mine(sealer(&tpm).slot_secret(&forged.encode())).contains("not made by this TPM in this boot state"));
}

#[test]
fn without_a_tpm_the_error_says_where_it_was_looked_for() {
    let mut tpm = SoftTpm::start().unwrap();
    let slot = sealer(&tpm).new_slot(SealMode::ProductKey).unwrap();
    tpm.stop();
    for result in
        [sealer(&tpm).slot_secret(&slot.params).map(drop), sealer(&tpm).new_slot(SealMode::UniqueKey).map(drop)]
    {
        let error = result.unwrap_err();
        assert!(matches!(error, SealError::Unavailable { backend: "tpm", .. }), "{error}");
        assert!(error.to_string().contains(&tpm.tcti()), "{error}");
    }
    let none = TpmSealer::new(Config::new("device:/dev/no-such-tpm".parse().unwrap()));
    assert!(none.host_id().unwrap_err().to_string().contains("/dev/no-such-tpm"));
}

#[test]
fn many_at_once_each_get_their_secret() {
    let tpm = SoftTpm::start().unwrap();
    let all = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                all.wait();
                for _ in 0..3 {
                    let slot = sealer(&tpm).new_slot(SealMode::ProductKey).unwrap();
                    assert_eq!(sealer(&tpm).slot_secret(&slot.params).unwrap(), slot.secret);
                }
            });
        }
    });
}

const TCTI_OF_THE_PARENT: &str = "MARBLERUN_TEST_TCTI";

/// Not a test of its own: what each process of the next one does.
#[test]
fn seal_in_a_process_of_its_own() {
    let Ok(tcti) = std::env::var(TCTI_OF_THE_PARENT) else { return };
    let sealer = TpmSealer::new(Config::new(tcti.parse().unwrap()));
    for _ in 0..3 {
        let slot = sealer.new_slot(SealMode::ProductKey).unwrap();
        assert_eq!(sealer.slot_secret(&slot.params).unwrap(), slot.secret);
    }
}

/// The emulator has no resource manager: both want more than half of its memory.
#[test]
fn two_processes_at_once_wait_for_each_other() {
    let tpm = SoftTpm::start().unwrap();
    let start = || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "seal_in_a_process_of_its_own"]).env(TCTI_OF_THE_PARENT, tpm.tcti());
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let both = [start(), start()];
    for mut process in both {
        assert!(process.wait().unwrap().success());
    }
    assert!(sealer(&tpm).host_id().is_ok());
}

#[test]
fn an_owner_password_is_needed_where_there_is_one() {
    let tpm = SoftTpm::start().unwrap();
    let changed =
        std::process::Command::new("tpm2_changeauth").args(["-T", &tpm.tcti(), "-c", "owner", "pass"]).status();
    assert!(changed.unwrap().success());
    let error = sealer(&tpm).new_slot(SealMode::ProductKey).map(drop).unwrap_err().to_string();
    assert!(error.contains("owner hierarchy of the TPM a password"), "{error}");
    let with = TpmSealer::new(Config { owner_password: Zeroizing::new(b"pass".to_vec()), ..config(&tpm) });
    let slot = with.new_slot(SealMode::ProductKey).unwrap();
    assert_eq!(with.slot_secret(&slot.params).unwrap(), slot.secret);
}

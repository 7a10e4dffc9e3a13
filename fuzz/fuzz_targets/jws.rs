//! The answer of whoever plays the vault: taken apart or refused, never believed without the vault's certificate.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use marblerun_azure_hsm::{Asked, Jws, KeyName, ReleasedKey, Roots};
use rustls_pki_types::UnixTime;

static ROOTS: LazyLock<Roots> = LazyLock::new(|| Roots::pinned().unwrap());
static NAME: LazyLock<KeyName> = LazyLock::new(|| KeyName::parse("marblerun").unwrap());

fuzz_target!(|bytes: &[u8]| {
    if let Ok(jws) = str::from_utf8(bytes).map_err(drop).and_then(|token| Jws::parse(token).map_err(drop)) {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
        assert!(jws.verify(&ROOTS, "hsm.managedhsm.azure.net", now).is_err());
    }
    let asked = Asked { vault: "hsm.managedhsm.azure.net", key_name: &NAME, key_version: None, nonce: "nonce" };
    let _ = ReleasedKey::read(bytes, &asked);
});

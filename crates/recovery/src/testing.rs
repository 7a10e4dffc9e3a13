//! Keys and uploads for the tests of this crate.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::Upload;
use crate::rsa_keys::PrivateKey;

pub(crate) const NAMES: [&str; 3] = ["alice", "bob", "carol"];

pub(crate) const PUBLIC: [&str; 3] = [
    include_str!("../tests/fixtures/keys/recovery1_pub.pem"),
    include_str!("../tests/fixtures/keys/recovery2_pub.pem"),
    include_str!("../tests/fixtures/keys/recovery3_pub.pem"),
];

const PRIVATE: [&str; 3] = [
    include_str!("../tests/fixtures/keys/recovery1_priv.pem"),
    include_str!("../tests/fixtures/keys/recovery2_priv.pem"),
    include_str!("../tests/fixtures/keys/recovery3_priv.pem"),
];

pub(crate) fn private(index: usize) -> PrivateKey {
    PrivateKey::from_pem(PRIVATE[index]).unwrap()
}

/// `RecoveryKeys` of the first parties.
pub(crate) fn manifest_keys(count: usize) -> BTreeMap<String, String> {
    NAMES.iter().zip(PUBLIC).take(count).map(|(name, pem)| ((*name).to_owned(), pem.to_owned())).collect()
}

/// A secret signed with the key of a party.
pub(crate) fn signed(secret: &[u8], signer: usize) -> Upload {
    Upload { secret: Zeroizing::new(secret.to_vec()), signature: private(signer).sign(secret).unwrap() }
}

//! Removing OAEP padding (RFC 8017, 7.1.2; SHA-256, MGF1-SHA-256, empty label) from what raw RSA answered, for
//! tokens that do not do it themselves.
//!
//! Which of the checks failed, or where, must not be told by an error or by time: it would tell of the plaintext
//! (Manger's attack). All bytes are looked at, by constant-time operations, and there is one answer for every fault.

use aws_lc_rs::digest::{Context, SHA256, digest};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

const HASH_LEN: usize = 32;

/// The message in an encoded block as long as the modulus. `None` if it is not one.
pub(crate) fn unpad(mut block: Zeroizing<Vec<u8>>) -> Option<Zeroizing<Vec<u8>>> {
    if block.len() < 2 * HASH_LEN + 2 {
        return None;
    }
    let (first, rest) = block.split_at_mut(1);
    let (seed, data) = rest.split_at_mut(HASH_LEN);
    mask(seed, data);
    mask(data, seed);
    let (label_hash, padded) = data.split_at(HASH_LEN);
    let mut valid = first.ct_eq(&[0]) & label_hash.ct_eq(digest(&SHA256, b"").as_ref());
    // Zeros, a one, the message.
    let mut in_zeros = Choice::from(1);
    let mut start = 0u32;
    for (after, byte) in (1u32..).zip(padded.iter()) {
        let (zero, one) = (byte.ct_eq(&0), byte.ct_eq(&1));
        valid &= !in_zeros | zero | one;
        start.conditional_assign(&after, in_zeros & one);
        in_zeros &= !one;
    }
    valid &= !in_zeros;
    if !bool::from(valid) {
        return None;
    }
    padded.get(usize::try_from(start).ok()?..).map(|message| Zeroizing::new(message.to_vec()))
}

/// XORs MGF1 of the seed to the target.
fn mask(target: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0u32..).zip(target.chunks_mut(HASH_LEN)) {
        let mut hash = Context::new(&SHA256);
        hash.update(seed);
        hash.update(&counter.to_be_bytes());
        for (byte, mask) in chunk.iter_mut().zip(hash.finish().as_ref()) {
            *byte ^= mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 8017, 7.1.1, told the other way round: a block whose unmasked data is given.
    fn encode(first: u8, seed: [u8; HASH_LEN], data: &[u8]) -> Zeroizing<Vec<u8>> {
        let (mut seed, mut data) = (seed.to_vec(), data.to_vec());
        mask(&mut data, &seed);
        mask(&mut seed, &data);
        Zeroizing::new([vec![first], seed, data].concat())
    }

    fn data(label: &[u8], zeros: usize, separator: u8, message: &[u8]) -> Vec<u8> {
        [digest(&SHA256, label).as_ref(), &vec![0; zeros], &[separator], message].concat()
    }

    #[test]
    fn each_fault_gets_the_same_answer() {
        let seed = [9; HASH_LEN];
        assert_eq!(unpad(encode(0, seed, &data(b"", 20, 1, b"secret"))).unwrap().as_slice(), b"secret");
        assert_eq!(unpad(encode(0, seed, &data(b"", 0, 1, b""))).unwrap().as_slice(), b"");
        for (fault, block) in [
            ("first byte", encode(1, seed, &data(b"", 20, 1, b"secret"))),
            ("label", encode(0, seed, &data(b"other", 20, 1, b"secret"))),
            ("separator", encode(0, seed, &data(b"", 20, 2, b"secret"))),
            ("separator before a one", encode(0, seed, &data(b"", 20, 3, b"\x01secret"))),
            ("no separator", encode(0, seed, &data(b"", 20, 0, b""))),
            ("length", Zeroizing::new(vec![0; 2 * HASH_LEN + 1])),
        ] {
            assert!(unpad(block).is_none(), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn every_message_comes_back_and_no_flipped_bit_does(
            seed: [u8; HASH_LEN], zeros in 0usize..200, message: Vec<u8>, bit: usize
        ) {
            let block = encode(0, seed, &data(b"", zeros, 1, &message));
            prop_assert_eq!(unpad(block.clone()).map(|found| found.to_vec()), Some(message.clone()));
            let mut flipped = block;
            let bit = bit % (flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(unpad(flipped).is_none());
        }

        #[test]
        fn junk_is_refused(block: Vec<u8>) {
            prop_assert!(unpad(Zeroizing::new(block)).is_none());
        }
    }
}

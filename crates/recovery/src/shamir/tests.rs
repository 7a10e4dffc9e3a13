use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Multiplication as the textbook has it, with branches.
fn slow_mul(a: u8, b: u8) -> u8 {
    let mut product: u16 = 0;
    for bit in 0..8 {
        if b >> bit & 1 == 1 {
            product ^= u16::from(a) << bit;
        }
    }
    for bit in (8..16).rev() {
        if product >> bit & 1 == 1 {
            product ^= 0x11b << (bit - 8);
        }
    }
    product as u8
}

#[test]
fn arithmetic_is_that_of_the_field() {
    for a in 0..=255 {
        for b in 0..=255 {
            assert_eq!(mul(a, b), slow_mul(a, b));
        }
        assert_eq!(mul(a, invert(a)), u8::from(a != 0));
    }
}

/// Every combination of `size` of the shares.
fn choose<'a>(shares: &[&'a [u8]], size: usize) -> Vec<Vec<&'a [u8]>> {
    (0u32..1 << shares.len())
        .filter(|mask| mask.count_ones() as usize == size)
        .map(|mask| shares.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, s)| *s).collect())
        .collect()
}

#[test]
fn shares_made_by_others_combine() {
    let shares = [
        "0deea7b09540988241124647ac6d13068e6e8ae2ad684971182a2f036a1226461f",
        "7ba9ea73d70f2f6013163383341abe549f28c1e31457d27e036a837018ba5e9f9b",
        "13aa02a7df4663e95c1e8715af2fafdd6fc464e41765367eda9f6b3fdd745fa05d",
        "fc882de2469020b217e735aa4d75766fc5f6d64cd0361ebf6e7db85fc31fba3008",
        "033fc6943ef07d87bbb53f15e2744af66a4159c105aefe81b8e5dcdfcc9155c98d",
    ]
    .map(|share| hex::decode(share).unwrap());
    let shares: Vec<&[u8]> = shares.iter().map(Vec::as_slice).collect();
    let secret: Vec<u8> = (0..32).collect();
    for size in 3..=5 {
        for chosen in choose(&shares, size) {
            assert_eq!(*combine(&chosen).unwrap(), secret);
        }
    }
    for chosen in choose(&shares, 2) {
        assert_ne!(*combine(&chosen).unwrap(), secret);
    }
}

proptest! {
    #[test]
    fn any_threshold_of_the_shares_combine_and_fewer_do_not(
        secret in vec(any::<u8>(), 32), shares in 2usize..7, fewer in 0usize..5,
    ) {
        let threshold = shares.saturating_sub(fewer).max(2);
        let split = split(&secret, shares, threshold).unwrap();
        let split: Vec<&[u8]> = split.iter().map(|share| share.as_slice()).collect();
        for size in threshold..=shares {
            for chosen in choose(&split, size) {
                prop_assert_eq!(&*combine(&chosen).unwrap(), &secret);
            }
        }
        if threshold > 2 {
            for chosen in choose(&split, threshold - 1) {
                prop_assert_ne!(&*combine(&chosen).unwrap(), &secret);
            }
        }
    }

    #[test]
    fn shares_of_any_bytes_combine_or_are_refused(shares in vec(vec(any::<u8>(), 0..40), 0..6)) {
        let shares: Vec<&[u8]> = shares.iter().map(Vec::as_slice).collect();
        let _ = combine(&shares);
    }
}

#[test]
fn as_many_shares_as_there_are_points_can_be_made() {
    let shares = split(&[7; 4], 255, 255).unwrap();
    let points: std::collections::BTreeSet<u8> = shares.iter().map(|share| share[4]).collect();
    assert_eq!(points.len(), 255);
    assert!(!points.contains(&0));
    assert_eq!(*combine(&shares.iter().map(|share| share.as_slice()).collect::<Vec<_>>()).unwrap(), [7; 4]);
}

#[test]
fn impossible_policies_are_refused() {
    for (shares, threshold) in [(1, 1), (3, 1), (2, 3), (256, 2), (3, 0)] {
        assert!(split(&[0; 32], shares, threshold).is_err(), "{threshold} of {shares}");
    }
    assert!(split(&[], 3, 2).is_err());
}

#[test]
fn shares_that_cannot_belong_together_are_refused() {
    let share = |x: u8| [[1; 32].as_slice(), &[x]].concat();
    assert!(combine(&[&share(1), &share(2)]).is_some());
    assert!(combine(&[&share(1)]).is_none());
    assert!(combine(&[&share(1), &share(1)]).is_none(), "same point twice");
    assert!(combine(&[&share(1), &share(0)]).is_none(), "point 0 would be the secret itself");
    assert!(combine(&[&share(1), &[5, 2]]).is_none(), "unequal lengths");
    assert!(combine(&[&[1], &[2]]).is_none(), "nothing but points");
    assert!(combine(&[&[], &[]]).is_none());
    assert!(combine(&[]).is_none());
}

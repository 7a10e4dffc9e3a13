//! Shamir's secret sharing in the form upstream uses (that of HashiCorp Vault): byte by byte over
//! GF(2^8) with reduction polynomial 0x11B; a share is `y_1 .. y_n || x`.
//!
//! No table is indexed by, and no branch taken on, bytes of the secret or of a share.

use zeroize::Zeroizing;

use crate::RecoveryError;

/// Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1.
fn mul(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..8 {
        product ^= a & ((b >> bit) & 1).wrapping_neg();
        let carry = (a >> 7).wrapping_neg();
        a = (a << 1) ^ (0x1b & carry);
    }
    product
}

/// a^254, which is 1/a; 0 for 0.
fn invert(a: u8) -> u8 {
    // 254 = 0b11111110: square seven times, multiply each result.
    let (mut square, mut result) = (a, 1);
    for _ in 0..7 {
        square = mul(square, square);
        result = mul(result, square);
    }
    result
}

/// Splits a secret into `shares` shares of which any `threshold` combine to it.
///
/// # Errors
/// [`RecoveryError::BadPolicy`] unless 2 <= threshold <= shares <= 255 and the secret is not empty;
/// [`RecoveryError::Crypto`] if the random source fails.
pub fn split(secret: &[u8], shares: usize, threshold: usize) -> Result<Vec<Zeroizing<Vec<u8>>>, RecoveryError> {
    if threshold < 2 || shares < threshold || shares > 255 || secret.is_empty() {
        return Err(RecoveryError::BadPolicy(format!("cannot split into {shares} shares with threshold {threshold}")));
    }
    let mut coefficients = Zeroizing::new(vec![0; secret.len() * (threshold - 1)]);
    random(&mut coefficients)?;
    Ok(distinct_points(shares)?
        .into_iter()
        .map(|x| {
            // Horner's rule from the highest coefficient down to the secret.
            let polynomials = coefficients.chunks_exact(threshold - 1).zip(secret);
            let evaluate =
                |(upper, constant): (&[u8], &u8)| mul(upper.iter().fold(0, |sum, c| mul(sum, x) ^ c), x) ^ constant;
            let mut share = Zeroizing::new(Vec::with_capacity(secret.len() + 1));
            share.extend(polynomials.map(evaluate));
            share.push(x);
            share
        })
        .collect())
}

/// Combines shares: interpolation at 0 over all of them. `None` if they cannot belong together: fewer than two,
/// unequal or too short, or two with the same point. Wrong shares, or too few, give a wrong secret.
#[must_use]
pub fn combine(shares: &[&[u8]]) -> Option<Zeroizing<Vec<u8>>> {
    let parts = shares.iter().map(|share| share.split_last()).collect::<Option<Vec<_>>>()?;
    let length = parts.first()?.1.len();
    let mut seen = [false; 256];
    let fits = parts.iter().all(|(x, ys)| {
        let fresh = seen.get_mut(usize::from(**x)).is_some_and(|seen| !std::mem::replace(seen, true));
        **x != 0 && fresh && ys.len() == length
    });
    if !fits || parts.len() < 2 || length == 0 {
        return None;
    }
    let mut secret = Zeroizing::new(vec![0; length]);
    for (x, ys) in &parts {
        let others = parts.iter().filter(|(other, _)| other != x);
        let weight = others.fold(1, |weight, (other, _)| mul(weight, mul(**other, invert(**other ^ **x))));
        for (byte, y) in secret.iter_mut().zip(ys.iter()) {
            *byte ^= mul(weight, *y);
        }
    }
    Some(secret)
}

/// Distinct points in random order, none of them 0. A point stands readable in its share; it is no secret.
fn distinct_points(count: usize) -> Result<Vec<u8>, RecoveryError> {
    let mut points = Vec::with_capacity(count);
    let mut taken = [false; 256];
    while points.len() < count {
        let mut candidates = [0; 64];
        random(&mut candidates)?;
        for x in candidates.into_iter().filter(|x| *x != 0).take(256) {
            let fresh = taken.get_mut(usize::from(x)).is_some_and(|taken| !std::mem::replace(taken, true));
            if fresh && points.len() < count {
                points.push(x);
            }
        }
    }
    Ok(points)
}

fn random(bytes: &mut [u8]) -> Result<(), RecoveryError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| RecoveryError::Crypto("random source"))
}

#[cfg(test)]
mod tests;

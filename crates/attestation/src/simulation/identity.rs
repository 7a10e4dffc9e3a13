//! What a simulated Coordinator says it is, so that clusters can be tested without hardware.

use std::fmt;
use std::str::FromStr;

/// An identity by say-so (`MARBLERUN_SIMULATION_IDENTITY`).
///
/// Its text is a list of `name=value`, separated by commas, in any order; what is left out is zero:
///
/// | name | value |
/// |---|---|
/// | `measurement`, `signer` | up to 32 bytes in hex; shorter ones are filled up with zero bytes |
/// | `product`, `svn` | a number |
/// | `debug` | `0` or `1` |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimulatedIdentity {
    /// In place of MRENCLAVE.
    pub measurement: [u8; 32],
    /// In place of MRSIGNER.
    pub signer: [u8; 32],
    /// Product id.
    pub product: u64,
    /// Security version.
    pub svn: u64,
    /// In place of the debug attribute.
    pub debug: bool,
}

/// A text that is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} in a simulated identity: expected {expected}")]
pub struct IdentityError {
    /// The entry in question.
    pub entry: String,
    /// What would be understood.
    pub expected: &'static str,
}

impl FromStr for SimulatedIdentity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let mut identity = Self::default();
        let mut seen = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let refuse = |expected| IdentityError { entry: entry.to_owned(), expected };
            let (name, value) = entry.split_once('=').ok_or_else(|| refuse("name=value"))?;
            if seen.contains(&name) {
                return Err(refuse("each name once"));
            }
            seen.push(name);
            let number = || value.parse().map_err(|_| refuse("a number"));
            let id = || id(value).ok_or_else(|| refuse("1 to 32 bytes in hex"));
            match name {
                "measurement" => identity.measurement = id()?,
                "signer" => identity.signer = id()?,
                "product" => identity.product = number()?,
                "svn" => identity.svn = number()?,
                "debug" => {
                    identity.debug = match value {
                        "0" => false,
                        "1" => true,
                        _ => return Err(refuse("0 or 1")),
                    }
                }
                _ => return Err(refuse("measurement, signer, product, svn or debug")),
            }
        }
        Ok(identity)
    }
}

fn id(hex: &str) -> Option<[u8; 32]> {
    let bytes = hex::decode(hex).ok().filter(|bytes| (1..=32).contains(&bytes.len()))?;
    let mut id = [0; 32];
    id.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    Some(id)
}

impl fmt::Display for SimulatedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { measurement, signer, product, svn, debug } = self;
        let (measurement, signer) = (hex::encode(measurement), hex::encode(signer));
        write!(f, "measurement={measurement},signer={signer},product={product},svn={svn},debug={}", u8::from(*debug))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_zero_and_what_is_short_is_filled_up() {
        assert_eq!("".parse(), Ok(SimulatedIdentity::default()));
        let identity: SimulatedIdentity = "signer=aabb, svn=3,debug=1".parse().unwrap();
        assert_eq!((identity.signer[..3].to_vec(), identity.svn, identity.debug), (vec![0xaa, 0xbb, 0], 3, true));
        assert_eq!((identity.measurement, identity.product), ([0; 32], 0));
        assert_eq!(identity.to_string().parse(), Ok(identity));
    }

    #[test]
    fn what_means_nothing_is_refused_by_its_text() {
        for (text, part) in [
            ("svn", "name=value"),
            ("svn=x", "a number"),
            ("svn=-1", "a number"),
            ("signer=zz", "hex"),
            ("signer=", "hex"),
            (&format!("signer={}", "aa".repeat(33)), "hex"),
            ("debug=yes", "0 or 1"),
            ("colour=1", "measurement"),
            ("svn=1,svn=2", "once"),
        ] {
            let error = text.parse::<SimulatedIdentity>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

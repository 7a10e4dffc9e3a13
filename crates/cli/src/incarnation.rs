//! Which life of a deployment was seen last. A recovery, a restore and an import each begin another; who works with the
//! Coordinator must hear of it, for what was changed since the backup is undone.
//!
//! It is kept in a file beside the cached certificates, of the root that is cached there, together with the ids of lives
//! before it. What was attested is never replaced by what was only said.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use marblerun_client::Attested;
use marblerun_client::attestation::Incarnation;
use serde::{Deserialize, Serialize};

use crate::context::Pin;
use crate::failure::Failure;
use crate::files;
use crate::output::warn;

/// First line of the file.
const HEAD: &str =
    "# The life (incarnation) of the deployment that was seen last. The marblerun command writes this file.\n";

/// So many earlier lives are told from new ones.
const MOST: usize = 64;

/// What was seen of a Coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Fingerprint of the root it belongs to.
    pub root: String,
    /// Its number.
    pub incarnation: u64,
    /// Tells lives of the same number apart, hexadecimal.
    pub id: String,
    /// Proved by evidence, and not only said.
    pub attested: bool,
    /// Ids of attested lives before it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
}

/// What is to be said of a Coordinator that has been seen before.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing.
    Fine,
    /// Something.
    Warn(String),
    /// It is not taken.
    Refuse(String),
}

impl Seen {
    fn of(root: String, incarnation: &Incarnation, attested: bool) -> Self {
        Self { root, incarnation: incarnation.number, id: hex::encode(incarnation.id), attested, before: Vec::new() }
    }

    /// This life after another; an attested one is not forgotten.
    fn after(mut self, seen: Self) -> Self {
        if seen.root != self.root {
            return self;
        }
        self.before = seen.before;
        if seen.attested && seen.id != self.id {
            self.before.push(seen.id);
            let many = self.before.len().saturating_sub(MOST);
            self.before.drain(..many);
        }
        self
    }
}

/// Where it is kept, beside a cache of certificates.
pub fn path(cache: &Path) -> PathBuf {
    cache.with_extension("incarnation")
}

/// Reads what was seen. `None` if nothing was.
pub fn read(cache: &Path) -> Result<Option<Seen>> {
    let path = path(cache);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            Ok(Some(toml::from_str(&text).with_context(|| {
                format!("reading {}; remove the file if what it tells is of no use", path.display())
            })?))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("open {}", path.display())),
    }
}

/// Compares with what was seen of this Coordinator before, and says what is to be said. `was_asked`: the Coordinator was
/// asked for its incarnation.
pub fn check(cache: &Path, attested: &Attested, was_asked: bool) -> Result<()> {
    let Some(seen) = read(cache)? else { return Ok(()) };
    let root = Pin::Certificate(attested.root.clone()).shown();
    if seen.root != root || !was_asked {
        return Ok(());
    }
    let now = attested.incarnation.map(|incarnation| Seen::of(root, &incarnation, attested.verified));
    match judge(&seen, now.as_ref(), attested.verified, &path(cache)) {
        Verdict::Fine => Ok(()),
        Verdict::Warn(text) => {
            warn(&text);
            Ok(())
        }
        Verdict::Refuse(text) => Err(Failure::trust(text)),
    }
}

/// Keeps what was seen of a Coordinator whose root is, or is about to be, the cached one.
pub fn remember(cache: &Path, attested: &Attested) {
    let root = Pin::Certificate(attested.root.clone()).shown();
    let Some(now) = attested.incarnation.map(|incarnation| Seen::of(root, &incarnation, attested.verified)) else {
        return;
    };
    // One that cannot be read was complained of before.
    let seen = read(cache).ok().flatten();
    if seen.as_ref().is_some_and(|seen| {
        let is_same = (&seen.root, &seen.id, seen.attested) == (&now.root, &now.id, now.attested);
        is_same || (seen.attested && !now.attested)
    }) {
        return;
    }
    let now = seen.map_or_else(|| now.clone(), |seen| now.clone().after(seen));
    let path = path(cache);
    let written = files::make_folder_of(&path)
        .and_then(|()| Ok(toml::to_string(&now)?))
        .and_then(|text| files::write_private(&path, format!("{HEAD}{text}").as_bytes()));
    if let Err(error) = written {
        warn(&format!("the incarnation of the Coordinator is not remembered: {error:#}"));
    }
}

fn judge(seen: &Seen, now: Option<&Seen>, verified: bool, path: &Path) -> Verdict {
    let Some(now) = now else {
        return match seen.attested && verified {
            true => Verdict::Warn(format!(
                "this Coordinator has attested its incarnation ({}) before and does not any more: an older version was \
                 installed, its hardware makes no new quotes, or somebody on the way hides that its state was restored",
                seen.incarnation
            )),
            false => Verdict::Fine,
        };
    };
    let (before, number) = (seen.incarnation, now.incarnation);
    if now.id == seen.id {
        return Verdict::Fine;
    }
    // Each recovery, restore and import begins a life with an id of its own, so no such life has ended before.
    if now.attested && seen.before.contains(&now.id) {
        return Verdict::Refuse(format!(
            "this Coordinator serves a life of its deployment that has ENDED: incarnation {before} -> {number}. A copy of \
             the state from before a recovery or restore was started; what was changed since, such as revoked users, does \
             not count there. If you have gone back to it on purpose, remove {} and try again",
            path.display()
        ));
    }
    let unproved = if now.attested { "" } else { " (as it says; nothing is attested)" };
    let older = if number > before { "" } else { ", from a backup that is older than that life" };
    Verdict::Warn(format!(
        "THE STATE OF THIS COORDINATOR WAS RESTORED OR RECOVERED since it was last seen here: incarnation {before} -> \
         {number}{unproved}{older}. Changes of before may be undone: check the manifest, its users, secrets and counters; \
         'marblerun audit' tells when it was and who did it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(incarnation: u64, id: &str, attested: bool) -> Seen {
        let before = if attested { vec!["00".to_owned(), "11".to_owned()] } else { Vec::new() };
        Seen { root: "sha256:00".to_owned(), incarnation, id: id.to_owned(), attested, before }
    }

    fn judged(before: &Seen, now: Option<&Seen>) -> Verdict {
        judge(before, now, now.is_none_or(|now| now.attested), Path::new("/x/seen"))
    }

    #[test]
    fn a_new_life_is_told_whatever_its_number_and_one_that_has_ended_is_refused() {
        let before = seen(2, "aa", true);
        assert_eq!(judged(&before, Some(&before)), Verdict::Fine);
        for (number, expected) in [
            (4, "incarnation 2 -> 4. "),
            (2, "incarnation 2 -> 2, from a backup that is older than that life. "),
            (1, "incarnation 2 -> 1, from a backup that is older than that life. "),
        ] {
            let Verdict::Warn(text) = judged(&before, Some(&seen(number, "bb", true))) else { panic!("not told") };
            assert!(text.contains(expected) && text.contains("RESTORED OR RECOVERED"), "{text}");
        }
        let Verdict::Refuse(text) = judged(&before, Some(&seen(1, "11", true))) else { panic!("not refused") };
        assert!(text.contains("incarnation 2 -> 1.") && text.contains("remove /x/seen"), "{text}");
    }

    #[test]
    fn what_nobody_vouches_for_is_told_as_that_and_refuses_nobody() {
        for (before, now) in [(seen(2, "aa", false), seen(1, "11", false)), (seen(2, "aa", true), seen(1, "11", false))]
        {
            let Verdict::Warn(text) = judged(&before, Some(&now)) else { panic!("not told") };
            assert!(text.contains("nothing is attested"), "{text}");
        }
    }

    #[test]
    fn who_stops_attesting_it_is_looked_at() {
        let Verdict::Warn(text) = judged(&seen(2, "aa", true), None) else { panic!("not told") };
        assert!(text.contains("hides that its state was restored"), "{text}");
        assert_eq!(judged(&seen(2, "aa", false), None), Verdict::Fine);
    }

    /// Of a life whose id follows from its number.
    fn attested(number: u8, verified: bool) -> Attested {
        let (intermediate, root) =
            marblerun_client::parse_chain(include_bytes!("../../client/tests/fixtures/chain.pem")).unwrap();
        let incarnation = Some(Incarnation { number: number.into(), id: [number; 16] });
        Attested { root, intermediate, quote: None, verified, claims: None, incarnation }
    }

    #[test]
    fn what_was_attested_is_not_forgotten_for_what_was_only_said() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("folder/coordinator-cert.pem");
        assert!(read(&cache).unwrap().is_none());
        let number = || read(&cache).unwrap().map(|seen| (seen.incarnation, seen.attested));
        for (now, expected) in [
            (attested(1, false), (1, false)),
            (attested(2, true), (2, true)),
            (attested(9, false), (2, true)),
            (Attested { incarnation: None, ..attested(9, true) }, (2, true)),
            (attested(3, true), (3, true)),
        ] {
            remember(&cache, &now);
            assert_eq!(number(), Some(expected));
        }
        assert_eq!(
            read(&cache).unwrap().unwrap().before,
            ["02".repeat(16)],
            "what was only said is no life that ended"
        );
        let error = check(&cache, &attested(2, true), true).unwrap_err().to_string();
        assert!(error.contains("coordinator-cert.incarnation"), "{error}");
        check(&cache, &attested(1, true), true).unwrap();
        check(&cache, &attested(2, true), false).unwrap();
        let other = Attested { root: attested(2, true).intermediate, ..attested(2, true) };
        check(&cache, &other, true).unwrap();
        (4..=100).for_each(|number| remember(&cache, &attested(number, true)));
        assert_eq!(read(&cache).unwrap().unwrap().before.len(), MOST);
        remember(&cache, &other);
        assert!(read(&cache).unwrap().unwrap().before.is_empty(), "of another deployment");
        std::fs::write(path(&cache), "damaged").unwrap();
        assert!(format!("{:#}", check(&cache, &attested(2, true), true).unwrap_err()).contains("remove the file"));
    }
}

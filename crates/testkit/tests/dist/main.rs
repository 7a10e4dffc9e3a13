//! What `cargo xtask dist` makes is what a stranger can use: images run as a cluster runs them, and are backed up there
//! with `kubectl cp`; the Debian package and the tar archive install on a host.
#![allow(missing_docs)]

mod built_for;
mod container;
mod cp;
mod host;
mod made;

//! Stories of one directory on a hostile disk, driven call by call.

mod faults;
mod rig;
mod stories;

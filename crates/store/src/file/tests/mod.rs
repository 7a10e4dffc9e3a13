//! Stories of one directory on a hostile disk, driven call by call.

mod counter;
mod damage;
mod faults;
mod import;
mod keys;
mod random;
mod restore;
mod rig;
mod slots;
mod stories;
mod trouble;

//! Several instances over one simulated place, driven by hand: one thread, no waiting, every fault when the test says.

mod copies;
mod faults;
mod keys;
mod parts;
mod random;
mod restore;
mod rig;
mod slots;
mod start;
mod upstream;

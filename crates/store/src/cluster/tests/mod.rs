//! Several instances over one simulated place, driven by hand: one thread, no waiting, every fault when the test says.

mod faults;
mod keys;
mod parts;
mod random;
mod restore;
mod rig;
mod start;
mod upstream;

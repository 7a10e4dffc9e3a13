//! Which pods become Marbles? The admission webhook that gives them their environment.
#![forbid(unsafe_code)]

//! How does a program talk to a Coordinator it has verified? The Rust SDK.

//! How does a person use all this? The marblerun command.

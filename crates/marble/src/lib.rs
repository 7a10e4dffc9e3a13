//! How does a service become a Marble? Library and premain.

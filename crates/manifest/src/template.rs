//! Go's `text/template` over bytes, with the functions manifests may use.

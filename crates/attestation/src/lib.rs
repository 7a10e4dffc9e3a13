//! Who is at the other end? Evidence, claims, issuers, verifiers, attested TLS.

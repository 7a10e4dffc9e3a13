//! Shells: TLS, HTTP, gRPC, metrics. They decode, authenticate, call a use case, encode.

//! Messages and clients, generated from `proto/etcd.proto`.
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]

tonic::include_proto!("etcdserverpb");

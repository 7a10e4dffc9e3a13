//! Keys of a test's own in the etcd of the tests' control plane, and an operator who changes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use marblerun_etcd::{Etcd, EtcdConfig, EtcdPlace};
use marblerun_state::BootId;
use marblerun_store::cluster::SharedPlace;
use marblerun_store::cluster::conformance::Lab;
use marblerun_testkit::kube::ControlPlane;
use tokio::runtime::Runtime;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

pub struct EtcdLab {
    pub plane: ControlPlane,
    pub runtime: Runtime,
    pub prefix: String,
    pub port: u16,
}

/// As much of etcd's requests as an operator needs.
#[derive(Clone, PartialEq, prost::Message)]
struct KeyAndMore {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    /// `range_end` of a deletion, `value` of a put.
    #[prost(bytes = "vec", tag = "2")]
    more: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

impl EtcdLab {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let plane = ControlPlane::shared().unwrap();
        let env = std::fs::read_to_string(folder(&plane).join("env")).unwrap();
        let port = env.lines().find_map(|line| line.strip_prefix("export KUBE_ETCD_PORT=")).unwrap().parse().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let prefix = format!("/marblerun/test-{}/", NUMBER.fetch_add(1, Ordering::Relaxed));
        Self { plane, runtime, prefix, port }
    }

    /// As a Coordinator's environment has it.
    pub fn variables(&self) -> BTreeMap<&'static str, String> {
        let pki = folder(&self.plane).join("pki");
        let file = |name: &str| pki.join(name).display().to_string();
        BTreeMap::from([
            ("MARBLERUN_ETCD_ENDPOINTS", format!("https://127.0.0.1:{}", self.port)),
            ("MARBLERUN_ETCD_CA_FILE", file("ca.crt")),
            ("MARBLERUN_ETCD_CERT_FILE", file("etcd-client.crt")),
            ("MARBLERUN_ETCD_KEY_FILE", file("etcd-client.key")),
            ("MARBLERUN_ETCD_PREFIX", self.prefix.clone()),
        ])
    }

    pub fn config(&self, instance: u8) -> EtcdConfig {
        let variables = self.variables();
        EtcdConfig::from_variables(BootId([instance; 16]), |name| variables.get(name).map(Into::into)).unwrap()
    }

    pub fn etcd(&self, config: EtcdConfig) -> Etcd {
        let _guard = self.runtime.enter();
        Etcd::connect(config).unwrap()
    }

    pub fn instance(&self, instance: u8) -> EtcdPlace {
        self.etcd(self.config(instance)).place()
    }

    pub fn put(&self, key: &str, value: &[u8]) {
        self.call("/etcdserverpb.KV/Put", KeyAndMore { key: self.key(key), more: value.to_vec() });
    }

    pub fn delete(&self, key: &str) {
        self.call("/etcdserverpb.KV/DeleteRange", KeyAndMore { key: self.key(key), more: Vec::new() });
    }

    pub fn delete_all(&self, prefix: &str) {
        let mut end = self.key(prefix);
        *end.last_mut().unwrap() += 1;
        self.call("/etcdserverpb.KV/DeleteRange", KeyAndMore { key: self.key(prefix), more: end });
    }

    fn key(&self, name: &str) -> Vec<u8> {
        format!("{}{name}", self.prefix).into_bytes()
    }

    fn call<T: prost::Message + Default + 'static>(&self, path: &'static str, request: T) {
        let pki = folder(&self.plane).join("pki");
        let read = |name: &str| std::fs::read(pki.join(name)).unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.crt")))
            .identity(Identity::from_pem(read("etcd-client.crt"), read("etcd-client.key")));
        let endpoint = Channel::from_shared(format!("https://127.0.0.1:{}", self.port)).unwrap();
        self.runtime.block_on(async {
            let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<T, Nothing>::default();
            grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await.unwrap();
        });
    }
}

fn folder(plane: &ControlPlane) -> PathBuf {
    plane.kubeconfig().parent().map(Path::to_owned).unwrap()
}

impl Lab for EtcdLab {
    fn place(&self, instance: u8) -> Box<dyn SharedPlace> {
        Box::new(self.instance(instance))
    }

    fn delete_object(&self) {
        for key in ["state", "key", "parts", "about"] {
            self.delete(key);
        }
    }

    /// Without `state` there is nothing.
    fn make_empty_object(&self) -> bool {
        false
    }

    fn delete_entries(&self) {
        self.delete_all("kek/");
    }
}

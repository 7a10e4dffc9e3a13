//! The certificates the listeners show follow the state.

use serde_json::json;

use crate::support::{Server, connect, manifest, wrapped};

async fn shown(address: std::net::SocketAddr) -> Vec<Vec<u8>> {
    let stream = connect(address, Some(&manifest::admin()), &[b"h2"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap().iter().map(|certificate| certificate.to_vec()).collect()
}

#[tokio::test]
async fn an_update_changes_the_mesh_certificate_for_the_next_connection_and_keeps_the_root() {
    let server = Server::with_manifest(&manifest::base()).await;
    let (root, mesh) = (shown(server.addresses.client_api).await, shown(server.addresses.mesh).await);
    let authority = server.coordinator.snapshot().authority().clone();
    assert_eq!(root, std::slice::from_ref(&authority.root_certificate));
    assert_eq!(mesh, std::slice::from_ref(&authority.marble_root_certificate));

    let update = json!({ "Packages": { "frontend": { "SecurityVersion": 5 } } });
    assert_eq!(server.post_as(&manifest::admin(), "/api/v2/update", wrapped(&update)).await.status, 200);
    assert_eq!(shown(server.addresses.client_api).await, root);
    assert_ne!(shown(server.addresses.mesh).await, mesh);
}

#[tokio::test]
async fn the_root_that_is_shown_is_the_one_the_quote_route_gives() {
    let server = Server::start().await;
    let pem = server.get("/api/v2/quote").await.data()["cert"].as_str().unwrap().to_owned();
    let chain: Vec<_> =
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::pem_slice_iter(pem.as_bytes())
            .map(|certificate| certificate.unwrap().to_vec())
            .collect();
    assert_eq!(chain.len(), 2);
    assert_eq!(shown(server.addresses.client_api).await, [chain[1].clone()]);
}

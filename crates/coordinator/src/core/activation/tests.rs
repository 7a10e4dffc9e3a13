use std::time::Duration;

use p384::ecdsa::{DerSignature, SigningKey};
use x509_cert::builder::{Builder as _, RequestBuilder};
use x509_cert::der::Encode as _;
use x509_cert::name::Name;

use super::*;
use crate::core::sample::{Place, coordinator, diverged_view, fresh, running};

const GRACE: Duration = Duration::from_secs(300);

fn request(marble_type: &str) -> ActivationRequest {
    let key = SigningKey::from_slice(&[7; 48]).unwrap();
    let builder = RequestBuilder::new("CN=Marble".parse::<Name>().unwrap()).unwrap();
    ActivationRequest {
        quote: Vec::new(),
        csr: builder.build::<_, DerSignature>(&key).unwrap().to_der().unwrap(),
        marble_type: marble_type.to_owned(),
        uuid: "0d6b5f1c-0c4e-4a8c-9c9b-5a3d1a2b3c4d".to_owned(),
    }
}

async fn activate(coordinator: &Coordinator, marble_type: &str) -> Result<(), ActivationError> {
    let peer = PeerCertificate(Arc::new(vec![0x30, 0]));
    coordinator.activate(Some(&peer), request(marble_type)).await.map(drop)
}

#[tokio::test]
async fn a_marble_is_activated_by_an_instance_that_has_not_heard_of_its_manifest() {
    let place = Place::new(fresh());
    let coordinator = coordinator(&place, GRACE);
    place.changes_to(running().await);
    activate(&coordinator, "web").await.unwrap();
    assert_eq!(coordinator.observer().offline().activations, 0);
}

#[tokio::test]
async fn a_marble_that_another_instance_has_forbidden_is_not_activated() {
    let place = Place::new(running().await);
    let coordinator = coordinator(&place, GRACE);
    activate(&coordinator, "web").await.unwrap();
    // Whatever took the manifest away.
    place.changes_to(fresh());
    assert!(matches!(activate(&coordinator, "web").await, Err(ActivationError::WrongState(_))));
}

#[tokio::test]
async fn an_activation_costs_one_proof_and_a_refusal_no_more() {
    let place = Place::new(running().await);
    let coordinator = coordinator(&place, GRACE);
    activate(&coordinator, "web").await.unwrap();
    assert_eq!(place.validations(), 1);
    assert!(matches!(activate(&coordinator, "unknown").await, Err(ActivationError::Refused(_))));
    assert_eq!(place.validations(), 2);
    activate(&coordinator, "once").await.unwrap();
    assert_eq!(place.validations(), 2, "that one is a transaction");
}

#[tokio::test]
async fn while_the_place_is_away_marbles_are_activated_for_as_long_as_the_grace() {
    let place = Place::new(running().await);
    let served = coordinator(&place, GRACE);
    place.goes_away(Duration::from_secs(60));
    activate(&served, "web").await.unwrap();
    assert_eq!(served.observer().offline().activations, 1);
    let error = activate(&served, "unknown").await.unwrap_err();
    assert!(matches!(error, ActivationError::Unavailable(_)), "nobody is refused meanwhile: {error:?}");

    place.goes_away(GRACE);
    assert!(matches!(activate(&served, "web").await, Err(ActivationError::Unavailable(_))));
    assert_eq!(served.observer().offline().activations, 1);

    let never = coordinator(&place, Duration::ZERO);
    place.goes_away(Duration::ZERO);
    assert!(matches!(activate(&never, "web").await, Err(ActivationError::Unavailable(_))));
}

#[tokio::test]
async fn who_has_diverged_admits_nobody_and_says_why() {
    let place = Place::new(running().await);
    place.shows(diverged_view());
    let coordinator = coordinator(&place, GRACE);
    for marble_type in ["web", "once", "unknown"] {
        let error = activate(&coordinator, marble_type).await.unwrap_err();
        assert!(
            matches!(&error, ActivationError::Unavailable(why) if why.contains("an older state lies there")),
            "{error:?}"
        );
    }
    place.goes_away(Duration::ZERO);
    assert!(activate(&coordinator, "web").await.is_err(), "and no grace helps it");
}

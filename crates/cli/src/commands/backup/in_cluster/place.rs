//! Where in a cluster the state lies: in a Secret that several Coordinators share, or in the volume of the only one.

use anyhow::{Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use marblerun_install::names;

use crate::commands::kubernetes::{Cluster, Described, Told as _};

/// What was found.
pub struct Found {
    /// The Coordinator's Deployment.
    pub deployment: Option<Deployment>,
    /// Where it keeps its state.
    pub place: Place,
}

/// Where a state lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a Secret, with the ConfigMap of the hosts' keys beside it.
    Secret {
        /// Its name.
        name: String,
        /// Name of the ConfigMap.
        kek_map: String,
    },
    /// In the volume of the pod.
    Volume,
    /// Nothing is there yet.
    Nowhere,
}

impl Place {
    /// The place of a distributed deployment that is yet to be installed.
    pub fn usual_secret() -> Self {
        Self::Secret { name: names::STATE_SECRET.to_owned(), kek_map: names::KEK_CONFIG_MAP.to_owned() }
    }
}

impl Found {
    /// Looks. The Deployment says it; where there is none, what is left of it does.
    pub async fn look(cluster: &Cluster) -> Result<Self> {
        let deployments = cluster.here::<Deployment>();
        let deployment = deployments.get_opt(names::COORDINATOR).await.told("reading the Coordinator's Deployment")?;
        let place = match deployment.as_ref().map(Described::of) {
            Some(described) if described.has_state_in_secret => {
                Place::Secret { name: described.state_secret, kek_map: described.kek_config_map }
            }
            Some(described) if described.is_distributed => bail!(
                "the Coordinators in namespace {} keep their state neither in a Secret nor in a volume, but in etcd; back \
                 up that etcd, or have a Coordinator hand the backup out: 'marblerun backup create HOST:PORT'",
                cluster.namespace
            ),
            Some(_) => Place::Volume,
            None => Self::left_over(cluster).await?,
        };
        Ok(Self { deployment, place })
    }

    async fn left_over(cluster: &Cluster) -> Result<Place> {
        let secret = cluster.here::<Secret>().get_metadata_opt(names::STATE_SECRET).await;
        if secret.told("looking for the Secret with the state")?.is_some() {
            return Ok(Place::usual_secret());
        }
        let claim = cluster.here::<PersistentVolumeClaim>().get_metadata_opt(names::VOLUME_CLAIM).await;
        Ok(if claim.told("looking for the volume with the state")?.is_some() { Place::Volume } else { Place::Nowhere })
    }
}

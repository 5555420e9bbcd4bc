//! From `helm install` and three files to a cited answer, in real pods.

use std::sync::Arc;
use std::time::Duration;

use crate::installation::{Database, Version, wipe};
use crate::world::World;

/// From `helm install` to a cited answer, the images being where they are needed.
const BUDGET: Duration = Duration::from_secs(90);

/// As the guide's five commands do, without a model: the answer is a quote.
pub(crate) async fn with_a_database_in_a_pod(world: Arc<World>) {
    let version = Version::this(&world.cluster);
    let installation = world.install_and_ask(version, &Database::Pod, None).await;
    wipe(&world.cluster).await;
    assert!(installation.took <= BUDGET, "it took {:?}", installation.took);
}

/// As for production, where there is such a database. This installation stays for the tests that follow.
pub(crate) async fn with_a_database_of_ones_own(world: Arc<World>) {
    let installation = world.installation().await;
    assert!(installation.took <= BUDGET, "it took {:?}", installation.took);
}

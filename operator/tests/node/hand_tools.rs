//! The commands that the runbook gives to whoever has no more than kubectl.

use std::sync::Arc;

use crate::installation::NAMESPACE;
use crate::world::World;

/// None of them is told a URL or a password: the pod has them.
pub(crate) async fn find_the_database_in_their_pods(world: Arc<World>) {
    world.installation().await;
    for (pod, command) in [
        ("deploy/docbrain-operator", &["docbrain-operator", "superuser", "grant"][..]),
        ("deploy/docbrain-api", &["docbrain", "reset-password"]),
    ] {
        let arguments = [&["exec", "-n", NAMESPACE, pod, "--"], command, &["nobody@example.com"]].concat();
        let output = world.cluster.try_kubectl(&arguments, None).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(r#"there is no account "nobody@example.com""#), "{command:?}: {told}");
    }
}

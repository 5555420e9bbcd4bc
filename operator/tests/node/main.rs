//! The product as a cluster runs it: the chart, the images, real pods. `docs/guides/test-cluster.md` tells how to run it.
//!
//! | variable | meaning |
//! |---|---|
//! | `DOCBRAIN_TEST_KUBECONFIG` | the cluster; without it everything here is skipped |
//! | `DOCBRAIN_TEST_REGISTRY`, `DOCBRAIN_TEST_TAG` | where its nodes find the images; `docker.io/docbrain`, `dev` |
//! | `DOCBRAIN_TEST_HOST` | the address under which its pods reach this machine; known for a cluster of `tools/cluster` |
//! | `DOCBRAIN_TEST_DATABASE_URL` | an empty database that its pods reach, for its owner; that of `tools/cluster/postgres.sh` where it can be |
//! | `DOCBRAIN_TEST_PREVIOUS` | the checkout of an earlier version, with its images under the tag `previous` (`tools/cluster/upgrade.sh`) |
//! | `DOCBRAIN_TEST_API_URL` | where the Service `docbrain-api` is reached from here; else its own address, else a forwarded port |
//!
//! | `DOCBRAIN_TEST_NODE` | `later`: nothing happens; `tools/test.sh` runs them after all others |
//!
//! One installation serves all tests, in the order of the list below; what one leaves behind, the next one finds.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "measured times are told, and a skipped test says so")]

mod changes;
mod chat;
mod cluster;
mod fetched;
mod first_answer;
mod hand_tools;
mod installation;
mod model;
mod outages;
mod releases;
#[path = "../../../ingest-job/tests/it/repository.rs"]
#[expect(dead_code, reason = "the tests of ingestion need more of it")]
mod repository;
mod runs;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use cluster::Cluster;
use world::World;

/// What a test needs of the cluster besides pods.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    /// Pods reach this machine.
    Host,
    /// An earlier version is at hand.
    Previous,
    /// It is one of `tools/cluster`, whose parts can be stopped.
    Ours,
}

macro_rules! tests {
    ($($needs:ident $module:ident::$test:ident,)*) => {
        [$((Needs::$needs, concat!(stringify!($module), "::", stringify!($test)), test(|world| Box::pin($module::$test(world))))),*]
    };
}

type Test = Box<dyn Fn(Arc<World>) -> futures::future::LocalBoxFuture<'static, ()> + Send>;

fn test(test: impl Fn(Arc<World>) -> futures::future::LocalBoxFuture<'static, ()> + Send + 'static) -> Test {
    Box::new(test)
}

fn main() -> ExitCode {
    if std::env::var_os("DOCBRAIN_TEST_NODE").is_some_and(|when| when == "later") {
        println!("the tests of the node come later, in a run of their own");
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // They share an installation.
    arguments.test_threads = Some(1);
    let runtime = Arc::new(Runtime::new().unwrap());
    let mut cluster = Cluster::of_environment();
    if let Ok(found) = &cluster
        && runtime.block_on(found.is_in_use())
    {
        let told = "DocBrain is installed there already, and the tests would take it away: make cluster-down";
        cluster = Err(format!("{}: {told}", found.kubeconfig.display()));
    }
    match &cluster {
        Err(reason) => println!("skipped: the tests of the node: {reason}"),
        Ok(cluster) => println!("the tests of the node run in the cluster of {}", cluster.kubeconfig.display()),
    }
    let world = cluster.ok().map(|cluster| Arc::new(World::new(cluster)));
    let tests = tests![
        Previous releases::of_an_earlier_version_are_upgraded_and_come_back,
        Nothing first_answer::with_a_database_in_a_pod,
        Nothing first_answer::with_a_database_of_ones_own,
        Nothing hand_tools::find_the_database_in_their_pods,
        Host changes::of_a_prompt_show_within_two_seconds,
        Nothing changes::of_an_origin_show_within_two_seconds,
        Host changes::of_a_key_show_within_two_seconds,
        Nothing changes::of_chunking_fail_no_question,
        Nothing runs::go_on_after_their_pod_was_deleted,
        Ours runs::go_on_after_their_process_was_killed,
        Nothing runs::go_on_after_their_pod_was_evicted,
        Nothing runs::without_an_image_say_so,
        Host fetched::web_sites_are_cited_by_their_address,
        Host fetched::repositories_are_cited_at_their_commit,
        Nothing outages::of_the_operator_delay_changes_alone,
        Nothing outages::of_an_api_pod_fail_no_question,
        Nothing releases::are_upgraded_and_rolled_back_under_load,
        Ours releases::of_another_version_migrate_first,
        // Controllers of Kubernetes come back from it with pauses of up to a minute: what needs them soon stands before it.
        Ours outages::of_the_api_server_of_kubernetes_stop_no_answer,
        Nothing releases::leave_definitions_and_tenants_when_they_go,
    ];
    let trials = tests.map(|(needs, name, test)| {
        let lacks = world.as_ref().map_or(Some("a cluster"), |world| world.cluster.lacks(needs));
        if let (Some(_), Some(lacks)) = (&world, lacks) {
            println!("skipped: {name} needs {lacks}");
        }
        let (world, runtime) = (world.clone(), Arc::clone(&runtime));
        let run = move || {
            let world = world.expect("only then it is not ignored");
            runtime.block_on(test(world));
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(lacks.is_some())
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

//! A cluster, and the hand tools of whoever has one: kubectl and helm.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::Needs;

/// Where pods of a cluster of `tools/cluster` reach this machine.
const BRIDGE: &str = "10.88.0.1";

pub(crate) struct Cluster {
    pub(crate) kubeconfig: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
    /// The folder of `tools/cluster`, if the cluster is of it.
    folder: Option<PathBuf>,
    /// This machine, as pods reach it.
    pub(crate) host: Option<IpAddr>,
    pub(crate) registry: String,
    pub(crate) tag: String,
    /// The checkout of an earlier version, whose images have the tag `previous`.
    pub(crate) previous: Option<PathBuf>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The folder of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

impl Cluster {
    /// Or why there is none.
    pub(crate) fn of_environment() -> Result<Self, String> {
        let kubeconfig = variable("DOCBRAIN_TEST_KUBECONFIG")
            .map(PathBuf::from)
            .ok_or("DOCBRAIN_TEST_KUBECONFIG names no cluster; `make cluster-up` starts one")?;
        if !kubeconfig.exists() {
            return Err(format!("{} is not there", kubeconfig.display()));
        }
        let folder = kubeconfig.parent().filter(|folder| folder.join("tier").exists()).map(Path::to_owned);
        if let Some(folder) = &folder
            && std::fs::read_to_string(folder.join("tier")).unwrap().trim() != "node"
        {
            return Err(format!("the cluster in {} has no node", folder.display()));
        }
        let host = variable("DOCBRAIN_TEST_HOST").or_else(|| folder.is_some().then(|| BRIDGE.to_owned()));
        Ok(Self {
            kubectl: program("kubectl")?,
            helm: program("helm")?,
            host: host.map(|host| host.parse().unwrap()),
            registry: variable("DOCBRAIN_TEST_REGISTRY").unwrap_or_else(|| "docker.io/docbrain".to_owned()),
            tag: variable("DOCBRAIN_TEST_TAG").unwrap_or_else(|| "dev".to_owned()),
            previous: variable("DOCBRAIN_TEST_PREVIOUS").map(PathBuf::from),
            kubeconfig,
            folder,
        })
    }

    /// Whether somebody's installation is there, which the tests would take away.
    pub(crate) async fn is_in_use(&self) -> bool {
        let found = self.try_kubectl(&["get", "crd", "tenants.docbrain.dev"], None).await;
        found.status.success()
    }

    /// What a test would need and there is not.
    pub(crate) fn lacks(&self, needs: Needs) -> Option<&'static str> {
        match needs {
            Needs::Host if self.host.is_none() => Some("a host that pods reach: DOCBRAIN_TEST_HOST"),
            Needs::Previous if self.previous.is_none() => {
                Some("an earlier version: make upgrade FROM=<commit> prepares one")
            }
            Needs::Ours if self.folder.is_none() => Some("a cluster of tools/cluster"),
            _ => None,
        }
    }

    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig).current_dir(root()).kill_on_drop(true);
        command
    }

    /// What kubectl said, and whether it went well.
    pub(crate) async fn try_kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> Output {
        run(self.command(&self.kubectl).args(arguments), stdin).await
    }

    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        checked("kubectl", arguments, &self.try_kubectl(arguments, None).await)
    }

    /// Applies what a file or a text says.
    pub(crate) async fn apply(&self, yaml: &str) {
        let arguments = ["apply", "--server-side", "-f", "-"];
        checked("kubectl", &arguments, &self.try_kubectl(&arguments, Some(yaml)).await);
    }

    pub(crate) async fn get(&self, arguments: &[&str]) -> Value {
        let arguments = [&["get", "-o", "json"][..], arguments].concat();
        serde_json::from_str(&self.kubectl(&arguments).await).unwrap()
    }

    /// Changes a resource by a merge patch, as a person or the dashboard does.
    pub(crate) async fn patch(&self, namespace: &str, resource: &str, patch: &Value) {
        self.kubectl(&["patch", "-n", namespace, resource, "--type", "merge", "-p", &patch.to_string()]).await;
    }

    pub(crate) fn port_forward(&self, namespace: &str, service: &str, port: u16) -> Child {
        let ports = format!("{port}:80");
        let mut command = self.command(&self.kubectl);
        command.args(["port-forward", "-n", namespace, service, &ports]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub(crate) async fn helm<A: AsRef<OsStr> + std::fmt::Debug>(&self, arguments: &[A]) -> String {
        let output = run(self.command(&self.helm).args(arguments), None).await;
        if !output.status.success() {
            println!("{}", self.kubectl(&["get", "pods,jobs,events", "--all-namespaces"]).await);
        }
        checked("helm", arguments, &output)
    }

    /// A script of `tools/cluster`, which changes this cluster.
    pub(crate) async fn script(&self, name: &str, arguments: &[&str]) -> String {
        let script = root().join("tools/cluster").join(name);
        let folder = self.folder.as_ref().expect("the test needs a cluster of tools/cluster");
        let output = run(self.command(&script).env("DOCBRAIN_CLUSTER", folder).args(arguments), None).await;
        checked(name, arguments, &output)
    }

    /// A file of the folder of `tools/cluster`.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(name))
    }

    /// A command of containerd.
    pub(crate) async fn ctr(&self, arguments: &[&str]) -> String {
        let socket = self.file("run/containerd.sock").expect("the test needs a cluster of tools/cluster");
        let mut command = self.command(Path::new("ctr"));
        let output = run(command.arg("-a").arg(socket).args(["-n", "k8s.io"]).args(arguments), None).await;
        checked("ctr", arguments, &output)
    }

    /// The status of a condition, with its reason: `True Indexed`; empty where there is none.
    pub(crate) async fn condition(&self, namespace: &str, resource: &str, type_: &str) -> String {
        let object = self.get(&["-n", namespace, resource]).await;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == type_);
        found.map_or_else(String::new, |condition| {
            let word = |key: &str| condition[key].as_str().unwrap().to_owned();
            format!("{} {}: {}", word("status"), word("reason"), word("message"))
        })
    }

    /// Deletes what is named, if it is there, and waits until it is gone.
    pub(crate) async fn delete(&self, arguments: &[&str]) {
        self.kubectl(&[&["delete", "--ignore-not-found", "--timeout=90s"][..], arguments].concat()).await;
    }
}

fn program(name: &str) -> Result<PathBuf, String> {
    let home = variable("DOCBRAIN_HOME").map_or_else(|| PathBuf::from("/var/lib/docbrain"), PathBuf::from);
    let built = home.join("tools/kube/bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(built).chain(std::env::split_paths(&path).map(|folder| folder.join(name)));
    found
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| format!("there is no {name}: tools/cluster/binaries.sh builds it"))
}

async fn run(command: &mut Command, stdin: Option<&str>) -> Output {
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    if let Some(text) = stdin {
        process.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    }
    process.wait_with_output().await.unwrap()
}

fn checked<A: AsRef<OsStr> + std::fmt::Debug>(program: &str, arguments: &[A], output: &Output) -> String {
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed:\n{}\n{}",
        words(&output.stdout),
        words(&output.stderr)
    );
    words(&output.stdout)
}

/// Asks until the answer is yes, or fails with what was awaited and what was seen last.
pub(crate) async fn until<T: std::fmt::Debug>(
    what: &str,
    patience: Duration,
    ask: impl AsyncFn() -> Result<T, String>,
) -> (T, Duration) {
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return (answer, began.elapsed()),
            Err(seen) => assert!(began.elapsed() < patience, "{what} within {patience:?}; last: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

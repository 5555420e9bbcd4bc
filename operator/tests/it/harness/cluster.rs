//! A Kubernetes without nodes for the tests of one lab, ended with this process.

use std::env;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

/// Names a kubeconfig of a cluster without nodes, which is used instead of one that is started for the tests.
const OTHER_CLUSTER: &str = "DOCBRAIN_TEST_KUBECONFIG";
/// What the names of ServiceAccounts begin with that operators run as.
const ACCOUNTS: &str = "system:serviceaccount:docbrain-system:";
/// What the API server notes of every request but its own and its controllers'.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - {level: None, users: ['system:apiserver', 'system:kube-controller-manager', 'system:anonymous']}
  - {level: None, userGroups: ['system:serviceaccounts:kube-system']}
  - {level: Metadata}
";

pub(crate) struct Cluster {
    /// Also for logs, which stay.
    pub(crate) folder: PathBuf,
    pub(crate) kubeconfig: Kubeconfig,
    pub(crate) path: PathBuf,
    pub(crate) kubectl: PathBuf,
    is_own: bool,
    /// Ends the cluster and the operators of its process group once this process lets go of its standard input.
    warden: Child,
}

impl Cluster {
    /// `None`: there cannot be one here; why was said.
    pub(crate) fn start(name: &str, is_audited: bool) -> Option<Self> {
        let bin = PathBuf::from(output(Command::new("bash").args(["-c", ". tools/cluster/settings.sh; echo $BIN"])));
        let kubectl = bin.join("kubectl");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("operator").join(name);
        let is_own = env::var_os(OTHER_CLUSTER).is_none();
        if !kubectl.exists() || (is_own && !bin.join("kube-apiserver").exists()) {
            println!("skipped: no Kubernetes in {}; tools/cluster/binaries.sh builds one", bin.display());
            return None;
        }
        let cluster = folder.join("cluster");
        // Of one that was killed with its warden.
        if is_own {
            output(&mut script("down.sh", &cluster));
        }
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&cluster).unwrap();
        let warden = Command::new("bash")
            .args(["-c", "read -r; trap '' TERM; kill -s CONT 0; kill -s TERM 0; exec tools/cluster/down.sh"])
            .current_dir(root())
            .env("DOCBRAIN_CLUSTER", &cluster)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let path = if is_own {
            if is_audited {
                fs::write(cluster.join("audit.yaml"), AUDIT_POLICY).unwrap();
            }
            let started = script("up.sh", &cluster).arg("api").output().unwrap();
            let said = String::from_utf8_lossy(&started.stderr);
            if started.status.code() == Some(3) {
                println!("{}", said.trim());
                return None;
            }
            assert!(started.status.success(), "{said}");
            cluster.join("admin.conf")
        } else {
            env::var_os(OTHER_CLUSTER).unwrap().into()
        };
        let kubeconfig = Kubeconfig::read_from(&path).unwrap();
        Some(Self { folder, kubeconfig, path, kubectl, is_own, warden })
    }

    /// The process group that ends with this process.
    pub(crate) fn group(&self) -> i32 {
        self.warden.id().try_into().unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        client(&self.kubeconfig).await
    }

    /// Stops and starts the API server; `None`: it is not the tests' own.
    pub(crate) fn api_server(&self, command: &str) -> Option<()> {
        if !self.is_own {
            println!("skipped: {OTHER_CLUSTER} names a cluster whose API server is not to be stopped");
            return None;
        }
        output(script("apiserver.sh", &self.folder.join("cluster")).arg(command));
        Some(())
    }

    /// All requests of operators that the API server has noted.
    pub(crate) fn audit(&self) -> Vec<Request> {
        Audit { log: self.log(), read: 0 }.news()
    }

    /// Requests from now on.
    pub(crate) fn follow(&self) -> Audit {
        let read = fs::metadata(self.log()).map(|log| log.len()).unwrap_or_default();
        Audit { log: self.log(), read }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("cluster/logs/audit.log")
    }

    pub(crate) fn is_own(&self) -> bool {
        self.is_own
    }
}

/// What the API server notes.
pub(crate) struct Audit {
    log: PathBuf,
    read: u64,
}

impl Audit {
    /// What has been noted since the last look.
    pub(crate) fn news(&mut self) -> Vec<Request> {
        let Ok(mut log) = File::open(&self.log) else { return Vec::new() };
        log.seek(SeekFrom::Start(self.read)).unwrap();
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        text[..whole].lines().map(|line| Request::read(&serde_json::from_str(line).unwrap())).collect()
    }
}

/// A request as the API server noted it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The identity of an operator.
    pub(crate) user: String,
    pub(crate) verb: String,
    /// With its group and, after a slash, its subresource: `batch/jobs`, `/pods`, `docbrain.dev/tenants/status`.
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) code: i64,
    pub(crate) message: String,
    pub(crate) at: chrono::DateTime<chrono::Utc>,
}

impl Request {
    fn read(event: &Value) -> Self {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut resource = format!("{}/{}", text("/objectRef/apiGroup"), text("/objectRef/resource"));
        let subresource = text("/objectRef/subresource");
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        Self {
            user: text("/user/username").trim_start_matches(ACCOUNTS).to_owned(),
            verb: text("/verb"),
            resource,
            namespace: text("/objectRef/namespace"),
            code: event.pointer("/responseStatus/code").and_then(Value::as_i64).unwrap_or_default(),
            message: text("/responseStatus/message"),
            at: text("/requestReceivedTimestamp").parse().unwrap(),
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        !matches!(&*self.verb, "get" | "list" | "watch")
    }
}

pub(crate) async fn client(kubeconfig: &Kubeconfig) -> Client {
    let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn script(name: &str, cluster: &Path) -> Command {
    let mut command = Command::new(format!("tools/cluster/{name}"));
    command.current_dir(root()).env("DOCBRAIN_CLUSTER", cluster);
    command
}

/// What a command prints; it has to end well.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

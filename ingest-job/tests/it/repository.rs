//! A git repository and a server that gives it away, by git's own program for that.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

#[derive(Default)]
struct State {
    /// Requests as `METHOD path host authorization`.
    log: Vec<String>,
    redirects: BTreeMap<String, String>,
    authorization: Option<String>,
}

/// A work tree, a bare repository `docs.git`, and its server.
pub(crate) struct Repository {
    folder: TempDir,
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Repository {
    pub(crate) async fn start(host: IpAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (root, shared) = (folder.path().to_owned(), Arc::clone(&state));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, root.clone(), Arc::clone(&shared)));
            }
        });
        let repository = Self { folder, address, state, accepting };
        std::fs::create_dir(repository.path("work")).unwrap();
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        let bare = repository.path("docs.git");
        repository.git(&["init", "--quiet", "--bare", "--initial-branch=main", bare.to_str().unwrap()]);
        repository.git(&["--git-dir", bare.to_str().unwrap(), "config", "uploadpack.allowFilter", "true"]);
        repository.git(&["remote", "add", "origin", bare.to_str().unwrap()]);
        repository
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/docs.git", self.address)
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = Program::new("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "protocol.file.allow=always"])
            .args(arguments)
            .current_dir(self.path("work"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A branch whose few objects list a thousand million files: the same folder again and again within itself.
    pub(crate) fn publish_bomb(&self, branch: &str) {
        let script = r#"set -e
            object=$(echo text | git hash-object -w --stdin)
            tree=$(for i in 0 1 2 3 4 5 6 7 8 9; do printf '100644 blob %s\tf%s.md\n' "$object" $i; done | git mktree)
            for level in 1 2 3 4 5 6 7 8; do
                tree=$(for i in 0 1 2 3 4 5 6 7 8 9; do printf '040000 tree %s\td%s\n' "$tree" $i; done | git mktree)
            done
            commit=$(git -c user.name=Test -c user.email=test@example.com commit-tree -m Bomb "$tree")
            git push --quiet origin "$commit:refs/heads/$1""#;
        let work = self.path("work");
        let status = Program::new("sh").args(["-c", script, "sh", branch]).current_dir(work).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path("work").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Commits all there is and publishes it; the commit.
    pub(crate) fn publish(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=Change"]);
        self.git(&["push", "--quiet", "--force", "origin", "HEAD:refs/heads/main"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Wants this `Authorization` from now on.
    pub(crate) fn protect(&self, authorization: &str) {
        self.state.lock().unwrap().authorization = Some(authorization.to_owned());
    }

    pub(crate) fn redirect(&self, from: &str, to: &str) {
        self.state.lock().unwrap().redirects.insert(from.to_owned(), to.to_owned());
    }

    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, root: PathBuf, state: Arc<Mutex<State>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let header = |name: &str| {
        let found = lines
            .iter()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let mut words = lines.first()?.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    let given = header("authorization");
    let (redirect, is_allowed) = {
        let mut state = state.lock().unwrap();
        state.log.push(format!("{method} {path} {} {given}", header("host")).trim_end().to_owned());
        (state.redirects.get(path).cloned(), state.authorization.as_ref().is_none_or(|wanted| *wanted == given))
    };
    let stream = stream.get_mut();
    if let Some(to) = redirect {
        let head =
            format!("HTTP/1.1 302 Found\r\nlocation: {to}?{query}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        return stream.write_all(head.as_bytes()).await.ok();
    }
    if !is_allowed {
        let head =
            "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        return stream.write_all(head.as_bytes()).await.ok();
    }
    let answer = backend(&root, &method, path, query, &body, &header).await?;
    stream.write_all(&answer).await.ok()?;
    stream.shutdown().await.ok()
}

/// `git http-backend` (CGI).
async fn backend(
    root: &Path,
    method: &str,
    path: &str,
    query: &str,
    body: &[u8],
    header: &impl Fn(&str) -> String,
) -> Option<Vec<u8>> {
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    stdin.write_all(body).await.ok()?;
    drop(stdin);
    let output = child.wait_with_output().await.ok()?.stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&output[..end]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let mut answer =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", output.len() - end - 4)
            .into_bytes();
    for line in head.lines().filter(|line| !line.starts_with("Status: ")) {
        answer.extend(format!("{line}\r\n").bytes());
    }
    answer.extend(b"\r\n");
    answer.extend(&output[end + 4..]);
    Some(answer)
}

//! Files of a git repository at one commit.
//!
//! The program `git` fetches one commit into a bare repository (docs/adr/0013-git-as-a-program.md); files are read out of it as
//! objects, so that nothing is ever checked out, and no link followed. Every address it connects to was judged before:
//! redirects are followed here, and git is told the address of the host it asks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use docbrain_core::fetch::{FetchError, Fetcher, Get, MOST_REDIRECTS, ResolveError};
use docbrain_core::ids::DocumentId;
use docbrain_core::store::documents::{self, Failure, NewDocument};
use docbrain_core::store::{self, fetches};
use docbrain_crds::GitSource;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use url::{Host, Url};

use self::program::{Repository, Settings, complaint, shell_word};
use self::remote::{Remote, Wanted};
use self::tree::File;
use super::patterns::Patterns;
use super::{Fetch, Misfortune};

mod program;
mod remote;
mod tree;

/// Changes when what is made of a file changes so much that each one is to be read anew.
const VERSION: u8 = 1;
/// Largest file that becomes a document, in bytes.
const MOST_FILE_BYTES: u64 = 64 << 20;
/// Most files of a repository that become documents.
const MOST_FILES: usize = 50_000;
/// Most bytes of them together.
const MOST_BYTES: u64 = 2 << 30;
/// Where the commit is kept in the bare repository.
const FETCHED: &str = "refs/docbrain/fetched";
/// Who asks, to the servers that are asked.
const AGENT: &str = concat!("DocBrain/", env!("CARGO_PKG_VERSION"));

/// Brings the documents in line with the repository; what is to be said about it.
pub(super) async fn fetch(fetch: &Fetch<'_>, spec: &GitSource) -> anyhow::Result<Vec<String>> {
    let remote = Remote::parse(&spec.url)?;
    let wanted = Wanted::parse(spec.reference.as_deref())?;
    let patterns = Patterns::new(&spec.include, &spec.exclude)?;
    let mut repository = Repository::create(fetch.source)?;
    let settings = connection(fetch, spec, &remote, &mut repository).await?;
    let settings: Settings<'_> =
        settings.iter().map(|(section, key, value)| (section.as_str(), *key, value.clone())).collect();
    repository.configure(&settings)?;

    let (object, name) = find(&repository, spec, &wanted).await?;
    let state = state(spec, &object);
    let mut tx = fetch.begin().await?;
    let before = fetches::state(&mut tx, fetch.source).await?;
    tx.commit().await?;
    if before.as_deref() == Some(&state) {
        tracing::info!(object, "the repository is at the commit that was fetched last");
        return Ok(Vec::new());
    }
    let commit = obtain(&repository, spec, &name).await?;
    // From here on nothing is to be asked of anybody: objects are there, or they are missing.
    repository.configure(&Settings::new())?;
    let listing = repository.run(&["ls-tree", "-r", "-z", "--full-tree", &commit]).await?;
    if !listing.status.success() {
        return Err(
            Misfortune::passing(format!("the files of the commit cannot be listed: {}", complaint(&listing))).into()
        );
    }
    let mut files = tree::files(&listing.stdout);
    files.retain(|file| tree::is_document(&file.path, &patterns));
    Taking { fetch, spec, commit: &commit, state: &state, kept: Vec::new(), notes: Vec::new(), quota: None, bytes: 0 }
        .carry_out(&repository, files)
        .await
}

/// What the source was fetched at: its spec and the object that its ref names.
fn state(spec: &GitSource, object: &str) -> String {
    let mut hash = Sha256::new();
    hash.update([VERSION]);
    hash.update(serde_json::to_vec(spec).expect("a spec is JSON"));
    format!("git:{}:{object}", hex::encode(&hash.finalize()[..16]))
}

type Connection = Vec<(String, &'static str, String)>;

/// How git reaches the repository: judged, pinned, with the credentials of the Secret.
async fn connection(
    fetch: &Fetch<'_>,
    spec: &GitSource,
    remote: &Remote,
    repository: &mut Repository,
) -> anyhow::Result<Connection> {
    if let Some(secret) = &spec.credentials_secret_ref {
        let has = |key| fetch.reach.credential(key).is_some();
        let needed = if matches!(remote, Remote::Ssh(_)) { "ssh-privatekey" } else { "password" };
        if !has(needed) {
            let reason = format!("the Secret {:?} is not there, or has no key {needed:?}", secret.name);
            return Err(Misfortune::lasting(reason).into());
        }
    }
    let settings = match remote {
        Remote::Http(url) => over_http(fetch, url).await?,
        Remote::Ssh(url) => over_ssh(fetch, remote, url, repository).await?,
    };
    Ok(settings)
}

async fn over_http(fetch: &Fetch<'_>, url: &Url) -> anyhow::Result<Connection> {
    let password = fetch.reach.credential("password");
    let authorization = password.map(|password| {
        let username = fetch.reach.credential("username").unwrap_or_else(|| "git".to_owned());
        format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
    });
    let (base, authorization) = arrive(fetch, url, authorization).await?;
    let host =
        base.host().map(|host| host.to_owned()).ok_or_else(|| Misfortune::lasting("the address names no host"))?;
    let addresses = fetch.reach.addresses.resolve(&host).await.map_err(|error| unresolved(url, &error))?;
    let is_within = addresses.iter().all(|&address| fetch.reach.addresses.allows_specially(address));
    if base.scheme() == "http" && authorization.is_some() && !is_within {
        return Err(Misfortune::lasting(format!("«{base}» would send the credentials unencrypted; use https")).into());
    }
    let mut settings: Connection = vec![
        ("remote.origin".into(), "url", base.to_string()),
        (format!("protocol.{}", base.scheme()), "allow", "always".into()),
    ];
    if let Host::Domain(name) = &host {
        let port = base.port_or_known_default().unwrap_or(443);
        settings.push(("http".into(), "curloptResolve", remote::pin(name, port, &addresses)));
    }
    if let Some(authorization) = authorization {
        settings.push((format!("http.{base}"), "extraHeader", format!("Authorization: {authorization}")));
    }
    Ok(settings)
}

/// Follows redirects to where the repository is. Credentials go to the host they are for, and to no other.
async fn arrive(fetch: &Fetch<'_>, url: &Url, authorization: Option<String>) -> anyhow::Result<(Url, Option<String>)> {
    const ADVERTISEMENT: &str = "info/refs?service=git-upload-pack";
    let fetcher = Fetcher::new(&fetch.reach.addresses, AGENT, fetch.reach.patience)?;
    let origin = (url.scheme().to_owned(), url.host().map(|host| host.to_owned()), url.port_or_known_default());
    let mut at = Url::parse(&format!("{}/{ADVERTISEMENT}", url.as_str().trim_end_matches('/')))
        .map_err(|error| Misfortune::lasting(format!("«{url}» is no URL: {error}")))?;
    for _ in 0..=MOST_REDIRECTS {
        let is_origin =
            (at.scheme().to_owned(), at.host().map(|host| host.to_owned()), at.port_or_known_default()) == origin;
        let authorization = authorization.as_ref().filter(|_| is_origin);
        let get = Get { authorization: authorization.map(String::as_str), ..Get::default() };
        let answer = fetcher.get(&at, &get).await.map_err(|error| Misfortune {
            reason: format!(
                "«{url}» cannot be reached: {}{error}",
                if is_origin { "" } else { "where it redirects to, " }
            ),
            is_lasting: matches!(error, FetchError::Refused(_)),
        })?;
        match (answer.status(), answer.location()) {
            (_, Some(Ok(next))) => at = next,
            (200, _) => {
                if answer.media_type().as_deref() != Some("application/x-git-upload-pack-advertisement") {
                    return Err(Misfortune::lasting(format!("«{url}» is no git repository")).into());
                }
                let base =
                    at.as_str().strip_suffix(&format!("/{ADVERTISEMENT}")).and_then(|base| Url::parse(base).ok());
                let base =
                    base.ok_or_else(|| Misfortune::lasting(format!("«{url}» redirects to what is no repository")))?;
                return Ok((base, authorization.cloned()));
            }
            (status @ (401 | 403), _) if authorization.is_some() => {
                return Err(
                    Misfortune::lasting(format!("«{url}» answered {status}: the credentials were refused")).into()
                );
            }
            (status @ (401 | 403), _) => {
                let reason =
                    format!("«{url}» answered {status}: it wants credentials, which credentialsSecretRef names");
                return Err(Misfortune::lasting(reason).into());
            }
            (status @ (404 | 410), _) => {
                let reason = format!("«{url}» answered {status}: there is no repository, or not for these credentials");
                return Err(Misfortune::lasting(reason).into());
            }
            (status, _) => return Err(Misfortune::passing(format!("«{url}» answered {status}")).into()),
        }
    }
    Err(Misfortune::lasting(format!("«{url}» redirects more than {MOST_REDIRECTS} times")).into())
}

async fn over_ssh(
    fetch: &Fetch<'_>,
    remote: &Remote,
    url: &Url,
    repository: &mut Repository,
) -> anyhow::Result<Connection> {
    let missing = |key: &str| {
        Misfortune::lasting(format!("«{url}» needs the key {key:?} in the Secret that credentialsSecretRef names"))
    };
    let key = fetch.reach.credential("ssh-privatekey").ok_or_else(|| missing("ssh-privatekey"))?;
    let known = fetch.reach.credential("known_hosts").ok_or_else(|| missing("known_hosts"))?;
    let host = remote.host().ok_or_else(|| Misfortune::lasting(format!("«{url}» names no host")))?;
    let addresses = fetch.reach.addresses.resolve(&host).await.map_err(|error| unresolved(url, &error))?;
    let (key, known) = (repository.write_secret("key", &key)?, repository.write_secret("known_hosts", &known)?);
    let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    // As `known_hosts` names a host with a port of its own.
    let alias = if remote.port() == 22 { name.to_owned() } else { format!("[{name}]:{}", remote.port()) };
    let options = [
        format!("HostName={}", addresses[0]),
        format!("HostKeyAlias={alias}"),
        format!("UserKnownHostsFile={}", known.display()),
        "GlobalKnownHostsFile=/dev/null".into(),
        "StrictHostKeyChecking=yes".into(),
        "IdentitiesOnly=yes".into(),
        "IdentityAgent=none".into(),
        "BatchMode=yes".into(),
        "PasswordAuthentication=no".into(),
        "ForwardAgent=no".into(),
        "ClearAllForwardings=yes".into(),
        "ProxyCommand=none".into(),
        "ProxyJump=none".into(),
        "PermitLocalCommand=no".into(),
        "ConnectTimeout=15".into(),
        "ServerAliveInterval=15".into(),
    ];
    let mut command = vec![format!("ssh -F /dev/null -i {}", shell_word(&key.display().to_string()))];
    command.extend(options.iter().map(|option| format!("-o {}", shell_word(option))));
    repository.use_ssh(command.join(" "));
    Ok(vec![("remote.origin".into(), "url", url.to_string()), ("protocol.ssh".into(), "allow", "always".into())])
}

fn unresolved(url: &Url, error: &ResolveError) -> Misfortune {
    let is_lasting = matches!(error, ResolveError::Refused(_));
    Misfortune { reason: format!("«{url}» cannot be reached: {error}"), is_lasting }
}

/// The object and the name of what is wanted.
async fn find(repository: &Repository, spec: &GitSource, wanted: &Wanted) -> anyhow::Result<(String, String)> {
    if let Wanted::Commit(commit) = wanted {
        return Ok((commit.clone(), commit.clone()));
    }
    let refs = wanted.refs();
    let mut arguments = vec!["ls-remote", "--quiet", "origin"];
    arguments.extend(refs.iter().map(String::as_str));
    let listed = repository.run(&arguments).await?;
    if !listed.status.success() {
        return Err(Misfortune::passing(format!("«{}» cannot be read: {}", spec.url, complaint(&listed))).into());
    }
    let found = remote::find_ref(&String::from_utf8_lossy(&listed.stdout), &refs);
    Ok(found.ok_or_else(|| match &spec.reference {
        Some(reference) => Misfortune::lasting(format!("«{}» has no branch or tag {reference:?}", spec.url)),
        None => Misfortune::lasting(format!("«{}» is empty", spec.url)),
    })?)
}

/// Fetches that and nothing else; the commit it is.
async fn obtain(repository: &Repository, spec: &GitSource, name: &str) -> anyhow::Result<String> {
    let refspec = format!("+{name}:{FETCHED}");
    let filter = format!("--filter=blob:limit={}", MOST_FILE_BYTES + 1);
    let fetched = repository
        .run(&["fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", &filter, "origin", &refspec])
        .await?;
    if !fetched.status.success() {
        return Err(Misfortune::passing(format!("«{}» cannot be fetched: {}", spec.url, complaint(&fetched))).into());
    }
    let parsed = repository.run(&["rev-parse", "--verify", &format!("{FETCHED}^{{commit}}")]).await?;
    let commit = String::from_utf8_lossy(&parsed.stdout).trim().to_owned();
    let is_hash = commit.bytes().all(|byte| byte.is_ascii_hexdigit()) && matches!(commit.len(), 40 | 64);
    anyhow::ensure!(
        parsed.status.success() && is_hash,
        Misfortune::lasting(format!("what «{}» has under that name is no commit", spec.url))
    );
    Ok(commit)
}

/// The files of a commit as they become documents.
struct Taking<'a> {
    fetch: &'a Fetch<'a>,
    spec: &'a GitSource,
    commit: &'a str,
    state: &'a str,
    kept: Vec<DocumentId>,
    notes: Vec<String>,
    quota: Option<String>,
    bytes: u64,
}

impl Taking<'_> {
    async fn carry_out(mut self, repository: &Repository, mut files: Vec<File>) -> anyhow::Result<Vec<String>> {
        if files.len() > MOST_FILES {
            self.notes.push(format!("of {} files {MOST_FILES} were taken; exclude some", files.len()));
            files.truncate(MOST_FILES);
        }
        let mut reader = repository.start(&["cat-file", "--batch-check"])?;
        let sizes = sizes(&mut reader, &files).await?;
        let mut child = repository.start(&["cat-file", "--batch"])?;
        let mut questions = child.stdin.take().expect("the streams of cat-file are piped");
        let mut answers = BufReader::new(child.stdout.take().expect("the streams of cat-file are piped"));
        let mut left_out = 0;
        for (file, size) in files.iter().zip(sizes) {
            let Some(size) = size.filter(|&size| size <= MOST_FILE_BYTES) else {
                let detail = format!("the file is larger than {} MB; split it, or exclude it", MOST_FILE_BYTES >> 20);
                self.fail(file, "too_large", &detail).await?;
                continue;
            };
            if self.bytes + size > MOST_BYTES {
                left_out += 1;
                continue;
            }
            self.bytes += size;
            questions.write_all(format!("{}\n", file.object).as_bytes()).await?;
            questions.flush().await?;
            let mut line = String::new();
            answers.read_line(&mut line).await?;
            anyhow::ensure!(tree::size(&line, &file.object) == Some(size), "git answered {line:?} for a file");
            let mut bytes = vec![0; usize::try_from(size)? + 1];
            answers.read_exact(&mut bytes).await?;
            bytes.pop();
            if tree::is_lfs_pointer(&bytes) {
                self.fail(file, "git_lfs", "the file is kept in Git LFS, which is not read").await?;
                continue;
            }
            self.take(file, &bytes).await?;
        }
        if left_out > 0 {
            self.notes
                .push(format!("the limit of {} GB was reached: {left_out} files were left out", MOST_BYTES >> 30));
        }
        self.finish().await
    }

    async fn take(&mut self, file: &File, bytes: &[u8]) -> anyhow::Result<()> {
        let url = self.url(file);
        let new = NewDocument { path: &file.path, url: url.as_deref(), bytes };
        let mut tx = self.fetch.begin().await?;
        match documents::put_fetched(&mut tx, self.fetch.source, &new, None).await {
            Ok(put) => {
                self.fetch.commit(tx).await?;
                self.kept.push(put.id());
            }
            // What was indexed of it stays.
            Err(error @ store::Error::QuotaExceeded { .. }) => {
                drop(tx);
                self.quota.get_or_insert_with(|| error.to_string());
                let mut tx = self.fetch.begin().await?;
                self.kept.extend(documents::id_at(&mut tx, self.fetch.source, &file.path).await?);
                tx.commit().await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn fail(&mut self, file: &File, code: &str, detail: &str) -> anyhow::Result<()> {
        let url = self.url(file);
        let failed = self.fetch.fail(&file.path, url.as_deref(), Failure { code, detail }).await?;
        if failed.is_none() {
            self.notes.push(format!("{}: {detail}; what is indexed of it stays", file.path));
        }
        let mut tx = self.fetch.begin().await?;
        self.kept.extend(documents::id_at(&mut tx, self.fetch.source, &file.path).await?);
        Ok(tx.commit().await?)
    }

    fn url(&self, file: &File) -> Option<String> {
        self.spec.web_url.as_deref().and_then(|template| remote::web_url(template, self.commit, &file.path))
    }

    /// Removes what the commit does not hold, and remembers the commit, unless the quota left something out.
    async fn finish(mut self) -> anyhow::Result<Vec<String>> {
        let mut tx = self.fetch.begin().await?;
        documents::delete_others(&mut tx, self.fetch.source, &self.kept).await?;
        let state = self.quota.is_none().then_some(self.state);
        fetches::set_state(&mut tx, self.fetch.source, state).await?;
        self.fetch.commit(tx).await?;
        self.notes.extend(self.quota.map(|quota| format!("{quota}; files beyond it were left out")));
        Ok(self.notes)
    }
}

/// The size of each file; `None`: it was too large to be fetched.
async fn sizes(child: &mut tokio::process::Child, files: &[File]) -> anyhow::Result<Vec<Option<u64>>> {
    let mut questions = child.stdin.take().expect("the streams of cat-file are piped");
    let mut answers = BufReader::new(child.stdout.take().expect("the streams of cat-file are piped"));
    let objects: Vec<&str> = files.iter().map(|file| file.object.as_str()).collect();
    let asking = async {
        questions.write_all(objects.join("\n").as_bytes()).await?;
        questions.write_all(b"\n").await?;
        questions.shutdown().await?;
        drop(questions);
        std::io::Result::Ok(())
    };
    let reading = async {
        let mut sizes = Vec::with_capacity(files.len());
        for file in files {
            let mut line = String::new();
            answers.read_line(&mut line).await?;
            sizes.push(tree::size(&line, &file.object));
        }
        std::io::Result::Ok(sizes)
    };
    let ((), sizes) = tokio::try_join!(asking, reading)?;
    Ok(sizes)
}

//! The folder in which one machine keeps everything: database, secrets, tools.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use secrecy::SecretString;

/// The unprivileged user that Postgres runs as where the program runs as root: `nobody`.
pub(crate) const UNPRIVILEGED: u32 = 65_534;

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    root: PathBuf,
}

impl Home {
    /// The default: `/var/lib/docbrain` for root, else the user's data folder (XDG Base Directory Specification).
    pub(crate) fn default_path() -> PathBuf {
        if is_root() {
            return PathBuf::from("/var/lib/docbrain");
        }
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        variable("XDG_DATA_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
            .unwrap_or_else(|| PathBuf::from("."))
            .join("docbrain")
    }

    /// Opens the folder, and makes it where it is missing.
    pub(crate) fn open(root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
        let root = root.canonicalize()?;
        let home = Self { root };
        if is_root() {
            home.check_reachable()?;
        }
        let secrets = home.root.join("secrets");
        fs::create_dir_all(&secrets)?;
        fs::set_permissions(&secrets, fs::Permissions::from_mode(0o700))?;
        Ok(home)
    }

    /// A folder below.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// A secret that is made at the first call and kept: 64 hexadecimal digits.
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<SecretString> {
        let path = self.path("secrets").join(name);
        if !path.exists() {
            let secret = hex::encode(rand::random::<[u8; 32]>());
            let temporary = path.with_extension(format!("{}", std::process::id()));
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(secret.as_bytes())?;
            file.sync_all()?;
            // Two processes may be here; the first one's secret stays.
            match fs::hard_link(&temporary, &path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
            }
            fs::remove_file(&temporary)?;
        }
        let secret = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(secret.trim().to_owned().into())
    }

    fn check_reachable(&self) -> anyhow::Result<()> {
        for folder in self.root.ancestors() {
            let mode = fs::metadata(folder)?.permissions().mode();
            if mode & 0o001 == 0 {
                bail!(
                    "PostgreSQL does not run as root, and the unprivileged user cannot enter {}: run `chmod o+x {}`, or choose another folder with --home",
                    folder.display(),
                    folder.display()
                );
            }
        }
        Ok(())
    }
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_secret_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = Home::open(folder.path()).unwrap();
        let secret = home.secret("token").unwrap();
        assert_eq!(secret.expose_secret().len(), 64);
        assert_eq!(home.secret("token").unwrap().expose_secret(), secret.expose_secret());
        assert_ne!(home.secret("other").unwrap().expose_secret(), secret.expose_secret());
        let mode = fs::metadata(home.path("secrets/token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

//! A ring in a file: on one machine, where nobody sets an environment variable.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::{Keyring, KeyringError};

/// A file that holds a ring, an entry a line; only its owner can read it.
#[derive(Clone, Debug)]
pub struct RingFile {
    path: PathBuf,
}

impl RingFile {
    /// The ring in the file at `path`; where there is none, one with a new key is written.
    pub fn open(path: PathBuf) -> Result<Self, KeyringError> {
        let file = Self { path };
        if !file.path.exists() {
            let temporary = file.write_beside(&Keyring::generate()).map_err(|source| file.error(source))?;
            // Two processes may be here; the first one's ring stays.
            let linked = match fs::hard_link(&temporary, &file.path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                _ => fs::remove_file(&temporary),
            };
            linked.map_err(|source| file.error(source))?;
        }
        Ok(file)
    }

    /// The ring as it is now.
    pub fn read(&self) -> Result<Keyring, KeyringError> {
        let text = fs::read_to_string(&self.path).map_err(|source| self.error(source))?;
        Keyring::parse(&SecretString::from(text))
    }

    /// Puts `ring` in the place of what is there, at once and for good.
    pub fn replace(&self, ring: &Keyring) -> Result<(), KeyringError> {
        let replace = || {
            fs::rename(self.write_beside(ring)?, &self.path)?;
            // The name is on disk when its folder is.
            fs::File::open(self.path.parent().unwrap_or(&self.path))?.sync_all()
        };
        replace().map_err(|source| self.error(source))
    }

    fn write_beside(&self, ring: &Keyring) -> io::Result<PathBuf> {
        let path = self.path.with_extension(std::process::id().to_string());
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(ring.to_text().expose_secret().as_bytes())?;
        file.sync_all()?;
        Ok(path)
    }

    fn error(&self, source: io::Error) -> KeyringError {
        KeyringError::File { path: self.path.clone(), source }
    }
}

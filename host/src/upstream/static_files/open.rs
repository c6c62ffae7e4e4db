//! Opens a file below a folder, and nothing else: the kernel resolves the path and refuses whatever leads out
//! (`openat2` with `RESOLVE_BENEATH`), so there is no moment between a check and its use.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Tries when folders are moved while a path is resolved.
const TRIES: usize = 4;

/// A file or folder that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) is_folder: bool,
    pub(super) size: u64,
    pub(super) modified: Option<SystemTime>,
}

/// Why nothing was opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// There is no such file, or it is none that we show; which of the two is nobody's business.
    #[error("not found")]
    NotFound,
    /// The system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> Self {
        match error {
            // XDEV is RESOLVE_BENEATH's word for a path that leads out, LOOP the one for links.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::ACCESS
            | Errno::PERM
            | Errno::NXIO
            | Errno::INVAL => Self::NotFound,
            other => Self::Io(other.into()),
        }
    }
}

/// Opens `path`, relative to `root`, for reading; an empty path is the root itself.
pub(super) fn beneath(root: &Path, path: &Path) -> Result<Opened, OpenError> {
    let folder = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let file = File::from(resolve(&folder, path)?);
    let metadata = file.metadata()?;
    if !metadata.is_dir() && !metadata.is_file() {
        // A device, a pipe or a socket: opened without waiting and without effect, and closed again.
        return Err(OpenError::NotFound);
    }
    Ok(Opened { is_folder: metadata.is_dir(), size: metadata.len(), modified: metadata.modified().ok(), file })
}

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn resolve(folder: &OwnedFd, path: &Path) -> Result<OwnedFd, OpenError> {
    for _ in 0..TRIES {
        match openat2(folder, path, READ, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS) {
            Ok(file) => return Ok(file),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS) => return without_links(folder.as_fd().try_clone_to_owned()?, path),
            Err(error) => return Err(error.into()),
        }
    }
    Err(OpenError::Io(Errno::AGAIN.into()))
}

/// For kernels and sandboxes without `openat2`: name by name, and no symbolic link at all.
fn without_links(mut at: OwnedFd, path: &Path) -> Result<OwnedFd, OpenError> {
    for name in path.components() {
        at = openat(&at, name.as_os_str(), READ | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(at)
}

/// Reads exactly `length` bytes from `start` on.
pub(super) fn read_at(file: &File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_openat2_links_are_refused_altogether() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/file"), "x").unwrap();
        std::os::unix::fs::symlink("file", folder.path().join("sub/link")).unwrap();
        let open = |path: &str| {
            let root = OwnedFd::from(File::open(folder.path()).unwrap());
            without_links(root, Path::new(path))
        };
        assert!(open("sub/file").is_ok());
        assert!(matches!(open("sub/link"), Err(OpenError::NotFound)));
        assert!(matches!(open("sub/none"), Err(OpenError::NotFound)));
    }
}

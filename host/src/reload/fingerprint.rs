//! What files look like from outside: enough to tell whether they changed, without reading them.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::WatchSet;
use crate::telemetry::ReloadKind;

/// The clock that files are stamped with may be that far behind.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// One state of a file. Another file moved in its place differs by its inode, a link that leads elsewhere too.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// When anything about it changed, its name included: not part of what it looks like.
    touched: (i64, i64),
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        let looks = |stamp: &Self| (stamp.device, stamp.inode, stamp.size, stamp.modified);
        looks(self) == looks(other)
    }
}

impl From<Metadata> for Stamp {
    fn from(metadata: Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            touched: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The states of all files; `None` where there is no such file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fingerprint(BTreeMap<PathBuf, (ReloadKind, Option<Stamp>)>);

impl Fingerprint {
    pub(super) fn of(files: &WatchSet) -> Self {
        let mut stamps = BTreeMap::new();
        let mut stamp = |path: &Path, kind| {
            stamps.insert(path.to_owned(), (kind, fs::metadata(path).ok().map(Stamp::from)));
        };
        for (path, kind) in files.files() {
            stamp(path, kind);
        }
        // A folder that is missing or cannot be read has no filters.
        let entries = files.filters_dir.as_deref().and_then(|folder| fs::read_dir(folder).ok());
        for entry in entries.into_iter().flatten().flatten() {
            if is_drop_in(&entry.path()) {
                stamp(&entry.path(), ReloadKind::Filters);
            }
        }
        Self(stamps)
    }

    /// The kinds of the files that are not the same in both.
    pub(super) fn differences(&self, other: &Self) -> HashSet<ReloadKind> {
        let one_sided = |mine: &Self, theirs: &Self| -> Vec<ReloadKind> {
            let different = mine.0.iter().filter(|(path, value)| theirs.0.get(*path) != Some(value));
            different.map(|(_, (kind, _))| *kind).collect()
        };
        one_sided(self, other).into_iter().chain(one_sided(other, self)).collect()
    }

    /// Takes over the states that `older` has of the same files. One that is new here and that somebody touched
    /// after `read` counts as missing: it may not be what was read.
    pub(super) fn keeping(mut self, older: &Self, read: SystemTime) -> Self {
        let read = read.checked_sub(CLOCK_TICK).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let seconds = read.unwrap_or_default().as_secs();
        let nanoseconds = read.unwrap_or_default().subsec_nanos();
        for (path, value) in &mut self.0 {
            if let Some(known) = older.0.get(path) {
                *value = *known;
            } else if value.1.is_some_and(|stamp| stamp.touched >= (seconds.cast_signed(), nanoseconds.into())) {
                value.1 = None;
            }
        }
        self
    }
}

/// Whether a file of the drop-in folder matters: a module or its settings, and no editor's leftover.
fn is_drop_in(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(OsStr::to_str);
    !hidden && matches!(extension, Some("wasm" | "toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_the_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = WatchSet {
            config: Some(path("proxy.toml")),
            filters_dir: Some(path("filters")),
            modules: vec![path("auth.wasm")],
            certs: vec![path("tls.crt"), path("tls.key")],
        };
        let changes = |change: &dyn Fn()| {
            let before = Fingerprint::of(&files);
            change();
            let mut kinds: Vec<_> =
                Fingerprint::of(&files).differences(&before).into_iter().map(ReloadKind::label).collect();
            kinds.sort_unstable();
            kinds
        };
        fs::create_dir(path("filters")).unwrap();
        let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
        assert_eq!(changes(&|| write("proxy.toml", "1")), ["config"]);
        assert_eq!(changes(&|| write("proxy.toml", "22")), ["config"]);
        assert_eq!(changes(&|| write("auth.wasm", "1")), ["filters"]);
        assert_eq!(changes(&|| write("filters/10-a.wasm", "1")), ["filters"]);
        assert_eq!(changes(&|| write("filters/10-a.toml", "1")), ["filters"]);
        assert_eq!(changes(&|| write("filters/.10-a.wasm", "1")), [""; 0]);
        assert_eq!(changes(&|| write("filters/README", "1")), [""; 0]);
        assert_eq!(changes(&|| fs::remove_file(path("filters/10-a.wasm")).unwrap()), ["filters"]);
        assert_eq!(changes(&|| fs::remove_dir_all(path("filters")).unwrap()), ["filters"]);
        assert_eq!(
            changes(&|| {
                write("tls.crt", "1");
                write("proxy.toml", "");
            }),
            ["certs", "config"]
        );
        assert_eq!(changes(&|| {}), [""; 0]);
    }

    #[test]
    fn a_file_of_the_same_size_moved_in_place_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("proxy.toml"), folder.path().join("new"));
        fs::write(&path, "1").unwrap();
        fs::write(&new, "2").unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::File::options().write(true).open(&new).unwrap().set_modified(modified).unwrap();
        let files = WatchSet { config: Some(path.clone()), ..WatchSet::default() };
        let before = Fingerprint::of(&files);
        fs::rename(new, path).unwrap();
        assert_eq!(Fingerprint::of(&files).differences(&before).len(), 1);
    }
}

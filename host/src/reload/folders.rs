//! Which folders to watch, and which of their events matter.
//!
//! Folders are watched, never files: an editor that renames and a Kubernetes volume that swaps its `..data` link
//! leave a watch on a file behind on the old one. Every link on the way to a file has its folder watched too, and
//! where a folder is missing, the one that it will appear in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, INotifyWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::WatchSet;

/// Links that are followed; the kernel follows 40.
const MAX_LINKS: usize = 16;

/// Stands for every name in the drop-in folder; no file is called that.
const ENTRIES: &str = "*";

/// Tells a folder from a new one of the same name, and from itself before its entries changed: device, inode,
/// and time of change, because a new folder likes to take the inode of the one that was removed.
type Identity = (u64, u64, i64, i64);

fn identity(folder: &Path) -> Option<Identity> {
    fs::metadata(folder).ok().map(|found| (found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
}

/// The watched folders.
pub(super) struct Folders {
    /// `None` where the system gives no more watchers.
    watcher: Option<INotifyWatcher>,
    /// What each looked like when it was named last.
    watched: BTreeMap<PathBuf, Option<Identity>>,
    places: Arc<Mutex<BTreeSet<PathBuf>>>,
    events: mpsc::Sender<()>,
}

impl Folders {
    /// Sends to `events`, which needs a place for one: an event that waits stands for those that come after it.
    pub(super) fn new(events: mpsc::Sender<()>) -> Self {
        let places = Arc::new(Mutex::new(BTreeSet::new()));
        let (wanted, sender) = (Arc::clone(&places), events.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let matters = event.as_ref().map_or(true, |event| matters(event, &wanted.lock()));
            if matters {
                // Full: one waits already. Closed: nobody watches any more.
                let _ = sender.try_send(());
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(component = "server", %error, "files cannot be watched: reload with SIGHUP");
            })
            .ok();
        Self { watcher, watched: BTreeMap::new(), places, events }
    }

    /// Watches what `files` are found in now. Where that is not what was watched before, something may have
    /// happened unseen: an event of its own has the files compared once more.
    pub(super) fn watch(&mut self, files: &WatchSet) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut places = BTreeSet::new();
        for path in files.files().map(|(path, _)| path) {
            collect(path, &mut places);
        }
        if let Some(folder) = &files.filters_dir {
            collect(folder, &mut places);
            // Its entries are places of their own, whatever their names.
            collect(&folder.join(ENTRIES), &mut places);
        }
        let folders = places.iter().filter_map(|place| existing_parent(place));
        let folders: BTreeMap<_, _> = folders.map(|folder| (folder.clone(), identity(&folder))).collect();
        for gone in self.watched.keys().filter(|folder| !folders.contains_key(*folder)) {
            // It may be gone altogether.
            let _ = watcher.unwatch(gone);
        }
        // All of them, each time: when notify hears that a folder was removed, it also forgets the new one of that
        // name, should that one be watched already.
        for folder in folders.keys() {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
                && !self.watched.contains_key(folder)
            {
                let folder = folder.display();
                tracing::warn!(component = "server", %error, %folder, "folder cannot be watched: reload with SIGHUP");
            }
        }
        let different = self.watched != folders || *self.places.lock() != places;
        self.watched = folders;
        *self.places.lock() = places;
        if different {
            let _ = self.events.try_send(());
        }
    }
}

/// Whether an event can change what one of the places holds.
fn matters(event: &Event, places: &BTreeSet<PathBuf>) -> bool {
    // Reading, ours included, changes nothing.
    if let EventKind::Access(access) = event.kind
        && access != AccessKind::Close(AccessMode::Write)
    {
        return false;
    }
    // A folder on the way, the place itself, or an entry of the drop-in folder, whose place ends in a star.
    let concerns = |path: &Path, place: &Path| {
        place.starts_with(path) || (place.ends_with(ENTRIES) && place.parent() == path.parent())
    };
    event.need_rescan() || event.paths.iter().any(|path| places.iter().any(|place| concerns(path, place)))
}

/// Adds the places where something can happen that changes what `path` leads to: the file's own, and that of
/// every link on the way. Folders in a place are free of links, as the kernel's events name them.
fn collect(path: &Path, places: &mut BTreeSet<PathBuf>) {
    let Ok(mut path) = std::path::absolute(path) else { return };
    for _ in 0..MAX_LINKS {
        let links = path.ancestors().skip(1).filter(|folder| folder.is_symlink());
        for link in links {
            places.extend(resolved(link));
        }
        places.extend(resolved(&path));
        let (Ok(target), Some(folder)) = (fs::read_link(&path), path.parent()) else { return };
        path = folder.join(target);
    }
}

/// The path with its folder free of links; what does not exist yet stays as it is.
fn resolved(path: &Path) -> Option<PathBuf> {
    let mut missing = vec![path.file_name()?];
    let mut folder = path.parent()?;
    loop {
        if let Ok(real) = fs::canonicalize(folder) {
            return Some(missing.iter().rev().fold(real, |path, name| path.join(name)));
        }
        missing.push(folder.file_name()?);
        folder = folder.parent()?;
    }
}

/// The innermost folder around `place` that exists.
fn existing_parent(place: &Path) -> Option<PathBuf> {
    place.ancestors().skip(1).find(|folder| folder.is_dir()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn places(path: &Path) -> Vec<PathBuf> {
        let mut places = BTreeSet::new();
        collect(path, &mut places);
        places.into_iter().collect()
    }

    #[test]
    fn a_kubernetes_volume_is_watched_at_each_of_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(root.join("..2024")).unwrap();
        fs::write(root.join("..2024/tls.crt"), "").unwrap();
        symlink("..2024", root.join("..data")).unwrap();
        symlink("..data/tls.crt", root.join("tls.crt")).unwrap();
        assert_eq!(places(&root.join("tls.crt")), ["..2024/tls.crt", "..data", "tls.crt"].map(|name| root.join(name)));
    }

    #[test]
    fn what_is_missing_is_watched_where_it_will_appear() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let path = root.join("later/filters");
        assert_eq!(places(&path), std::slice::from_ref(&path));
        assert_eq!(existing_parent(&path), Some(root));
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert_eq!(places(&folder.path().join("a")).len(), 2);
    }

    #[test]
    fn events_of_other_files_do_not_matter() {
        let places: BTreeSet<PathBuf> =
            ["/etc/p/proxy.toml", "/etc/p/filters", "/etc/p/filters/*"].map(Into::into).into();
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let create = EventKind::Create(notify::event::CreateKind::File);
        for (path, expected) in [
            ("/etc/p/proxy.toml", true),
            ("/etc/p/proxy.log", false),
            ("/etc/p/filters", true),
            ("/etc/p/filters/10-a.wasm", true),
            ("/etc/p/filters/sub/x", false),
            ("/etc/p", true),
            ("/etc/q", false),
        ] {
            assert_eq!(matters(&event(create, path), &places), expected, "{path}");
        }
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert!(!matters(&event(open, "/etc/p/proxy.toml"), &places));
    }
}

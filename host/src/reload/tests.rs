use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::message::DrainControl;
use crate::message::drain::drain;

/// What a test waits for at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tells of each call and answers what it was given, or a success that watches the same files.
struct Recorder {
    calls: mpsc::UnboundedSender<&'static str>,
    answers: Mutex<VecDeque<Result<Report, Refused>>>,
    watch: WatchSet,
}

impl Builder for Recorder {
    fn reload(&self, kind: ReloadKind) -> Result<Report, Refused> {
        let answer = self.answers.lock().pop_front();
        self.calls.send(kind.label()).unwrap();
        match answer {
            Some(Err(refused)) if refused.errors.is_empty() => panic!("as the test wants it"),
            Some(answer) => answer,
            None => Ok(Report { generation: 2, watch: self.watch.clone() }),
        }
    }

    fn hangup(&self) {
        self.calls.send("hangup").unwrap();
    }
}

struct Running {
    folder: TempDir,
    calls: mpsc::UnboundedReceiver<&'static str>,
    hangups: mpsc::Sender<()>,
    telemetry: Arc<Telemetry>,
    drain: DrainControl,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// A folder with a configuration and a Kubernetes volume of certificates, watched.
    fn start(answers: Vec<Result<Report, Refused>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("proxy.toml"), "one").unwrap();
        fs::create_dir_all(folder.path().join("certs/..1")).unwrap();
        fs::write(folder.path().join("certs/..1/tls.crt"), "one").unwrap();
        symlink("..1", folder.path().join("certs/..data")).unwrap();
        symlink("..data/tls.crt", folder.path().join("certs/tls.crt")).unwrap();
        let (calls, receiver) = mpsc::unbounded_channel();
        let watch = watch_set(folder.path());
        let builder = Arc::new(Recorder { calls, answers: Mutex::new(answers.into()), watch: watch.clone() });
        let telemetry = Telemetry::new(1);
        let debounce = Debounce { quiet: Duration::from_millis(50), longest: Duration::from_secs(2) };
        let reloader = Reloader::new(builder, watch, Arc::clone(&telemetry), debounce);
        let (hangups, hangup) = mpsc::channel(1);
        let (control, signal) = drain();
        let task = tokio::spawn(reloader.run(hangup, signal));
        Self { folder, calls: receiver, hangups, telemetry, drain: control, task }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    async fn call(&mut self) -> &'static str {
        timeout(PATIENCE, self.calls.recv()).await.expect("a call in time").expect("a call")
    }

    /// Ends the watch; returns what was called beyond what the test has seen.
    async fn end(mut self) -> Vec<&'static str> {
        self.drain.enter(Phase::Draining);
        timeout(PATIENCE, self.task).await.expect("an end in time").unwrap();
        let mut rest = Vec::new();
        while let Ok(call) = self.calls.try_recv() {
            rest.push(call);
        }
        rest
    }
}

fn watch_set(folder: &Path) -> WatchSet {
    WatchSet {
        config: Some(folder.join("proxy.toml")),
        filters_dir: Some(folder.join("filters")),
        modules: Vec::new(),
        certs: vec![folder.join("certs/tls.crt")],
    }
}

fn refused(error: &str, watch: Option<WatchSet>) -> Result<Report, Refused> {
    Err(Refused { errors: vec![error.into()], watch })
}

#[tokio::test]
async fn many_writes_are_one_reload() {
    let mut running = Running::start(Vec::new());
    for number in 0..50 {
        running.write("proxy.toml", &format!("two {number}"));
        running.write("proxy.log", "not ours");
        tokio::task::yield_now().await;
    }
    assert_eq!(running.call().await, "config");
    // A second reload of the same writes would come before this one.
    running.write("certs/..1/tls.crt", "two two");
    assert_eq!(running.call().await, "certs");
    assert!(running.end().await.is_empty());
}

#[tokio::test]
async fn a_rename_over_the_file_is_seen_each_time() {
    let mut running = Running::start(Vec::new());
    for text in ["2", "3", "4"] {
        running.write("proxy.toml.new", text);
        fs::rename(running.folder.path().join("proxy.toml.new"), running.folder.path().join("proxy.toml")).unwrap();
        assert_eq!(running.call().await, "config");
    }
    assert!(running.end().await.is_empty());
}

#[tokio::test]
async fn a_swapped_kubernetes_volume_is_seen_each_time() {
    let mut running = Running::start(Vec::new());
    let certs = running.folder.path().join("certs");
    for (old, new) in [("..1", "..2"), ("..2", "..3"), ("..3", "..4")] {
        fs::create_dir(certs.join(new)).unwrap();
        fs::write(certs.join(new).join("tls.crt"), "one").unwrap();
        symlink(new, certs.join("..tmp")).unwrap();
        fs::rename(certs.join("..tmp"), certs.join("..data")).unwrap();
        fs::remove_dir_all(certs.join(old)).unwrap();
        assert_eq!(running.call().await, "certs");
    }
    assert!(running.end().await.is_empty());
}

#[tokio::test]
async fn the_drop_in_folder_may_come_and_go() {
    let mut running = Running::start(Vec::new());
    let filters = running.folder.path().join("filters");
    for _ in 0..2 {
        fs::create_dir(&filters).unwrap();
        running.write("filters/10-a.wasm", "1");
        assert_eq!(running.call().await, "filters");
        running.write("filters/README", "1");
        running.write("filters/10-a.toml", "1");
        assert_eq!(running.call().await, "filters");
        fs::remove_dir_all(&filters).unwrap();
        assert_eq!(running.call().await, "filters");
    }
    assert!(running.end().await.is_empty());
}

#[tokio::test]
async fn a_refusal_is_told_until_a_reload_comes_through() {
    let mut running = Running::start(vec![refused("proxy.toml:1:1: no", None)]);
    running.write("proxy.toml", "bad");
    assert_eq!(running.call().await, "config");
    // The call is seen before its result is counted; the next one comes after.
    running.write("proxy.toml", "good again");
    assert_eq!(running.call().await, "config");
    let telemetry = Arc::clone(&running.telemetry);
    assert!(running.end().await.is_empty());
    let state = telemetry.reloads().state(ReloadKind::Config);
    assert_eq!((state.succeeded, state.refused, state.last_error), (1, 1, None));
}

#[tokio::test]
async fn a_builder_that_panics_is_a_refusal() {
    let mut running = Running::start(vec![Err(Refused { errors: Vec::new(), watch: None })]);
    running.write("proxy.toml", "bad");
    assert_eq!(running.call().await, "config");
    let telemetry = Arc::clone(&running.telemetry);
    running.end().await;
    let error = telemetry.reloads().state(ReloadKind::Config).last_error.unwrap();
    assert!(error.starts_with("internal error"), "{error}");
}

#[tokio::test]
async fn a_missing_module_that_is_added_later_is_seen() {
    let mut running = Running::start(Vec::new());
    let module = running.folder.path().join("modules/auth.wasm");
    // The answer is made here because it names the folder.
    let mut wanted = watch_set(running.folder.path());
    wanted.modules.push(module.clone());
    let (calls, receiver) = mpsc::unbounded_channel();
    let builder = Recorder {
        calls,
        answers: Mutex::new([refused("no such file", Some(wanted))].into()),
        watch: watch_set(running.folder.path()),
    };
    let debounce = Debounce { quiet: Duration::from_millis(50), longest: Duration::from_secs(2) };
    let files = watch_set(running.folder.path());
    let reloader = Reloader::new(Arc::new(builder), files, Arc::clone(&running.telemetry), debounce);
    let (control, signal) = drain();
    let (_hangups, hangup) = mpsc::channel(1);
    running.task.abort();
    running.task = tokio::spawn(reloader.run(hangup, signal));
    running.calls = receiver;
    running.drain = control;

    running.write("proxy.toml", "names a module");
    assert_eq!(running.call().await, "config");
    fs::create_dir(module.parent().unwrap()).unwrap();
    fs::write(&module, "1").unwrap();
    assert_eq!(running.call().await, "filters");
    assert!(running.end().await.is_empty());
}

#[tokio::test]
async fn a_hangup_reloads_everything() {
    let mut running = Running::start(Vec::new());
    running.hangups.send(()).await.unwrap();
    for expected in ["hangup", "config", "certs"] {
        assert_eq!(running.call().await, expected);
    }
    assert!(running.end().await.is_empty());
}

//! Other people's programs: started, watched, ended with the test.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::environment;
use crate::poll::{eventually, within};

/// What a program that ran to its end left.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program to its end.
pub async fn run(program: &Path, arguments: &[&str], limit: Duration) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments);
    run_command(command, limit).await
}

/// Runs a prepared command to its end.
pub async fn run_command(mut command: Command, limit: Duration) -> Finished {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let what = format!("{command:?} ends");
    let output = within(limit, &what, command.output()).await.expect("the program starts");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a script of `tests/clients`, which prints one JSON value.
pub async fn python(script: &str, arguments: &[&str], limit: Duration) -> Value {
    let path = environment::workspace().join("tests/clients").join(script);
    let mut all = vec![path.to_str().expect("a text path")];
    all.extend(arguments);
    let finished = run(&environment::python(), &all, limit).await;
    assert_eq!(finished.code, Some(0), "{script} {arguments:?}: {}\n{}", finished.stdout, finished.stderr);
    serde_json::from_str(finished.stdout.trim())
        .unwrap_or_else(|error| panic!("{script} printed {:?}: {error}\n{}", finished.stdout, finished.stderr))
}

/// A program that goes on until the test ends.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts a prepared command, its output thrown away.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        Self { child: command.spawn().expect("the program starts") }
    }

    /// Waits until something listens on that TCP port of 127.0.0.1.
    pub async fn listens_on(mut self, port: u16) -> Self {
        eventually(Duration::from_secs(20), &format!("something listens on port {port}"), || {
            let ended = self.child.try_wait().expect("own child");
            assert!(ended.is_none(), "the program ended with {ended:?}");
            async move { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok() }
        })
        .await;
        self
    }
}

/// A TCP port that was free a moment ago, for programs that can't choose one themselves.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

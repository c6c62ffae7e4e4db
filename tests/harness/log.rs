//! The proxy's log as a test sees it: lines as they came, and a way to wait for one.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::poll::eventually;

/// More than any test looks at; under load the access log would fill the memory otherwise.
const KEPT: usize = 20_000;

/// Lines of standard output and standard error, oldest first.
#[derive(Default)]
pub struct Log {
    lines: Mutex<VecDeque<String>>,
}

impl Log {
    pub(crate) fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap();
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Every line kept so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().iter().cloned().collect()
    }

    /// The first line that contains all of `words`.
    pub fn find(&self, words: &[&str]) -> Option<String> {
        self.lines.lock().unwrap().iter().find(|line| words.iter().all(|word| line.contains(word))).cloned()
    }

    /// How many lines contain all of `words`.
    pub fn count(&self, words: &[&str]) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Waits for a line that contains all of `words`.
    pub async fn wait_for(&self, words: &[&str]) -> String {
        eventually(Duration::from_secs(20), &format!("a log line with {words:?}"), || async { self.find(words) }).await
    }
}

/// A field of a JSON log line, wherever the formatter puts fields.
pub fn field(line: &str, name: &str) -> Option<String> {
    let value: Value = serde_json::from_str(line).ok()?;
    let found = value.get("fields").and_then(|fields| fields.get(name)).or_else(|| value.get(name))?;
    Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
}

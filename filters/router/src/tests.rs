//! The cases of `cases.toml`, and what data cannot say.

use gpanel_filter::RequestEdits;
use gpanel_filter::testing::{TestRequest, cases, check_schema, run};

use crate::Router;
use crate::pattern::{Extent, Pattern};

#[test]
fn cases_are_met() {
    cases::check::<Router>(include_str!("../cases.toml"));
}

#[test]
fn schema_is_current() {
    check_schema::<Router>(concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json"));
}

#[test]
fn two_thousand_rules() {
    let rules: Vec<_> = (0..2000).map(|i| format!(r#"{{"pattern":"/api/{i}/*","target":"b{i}"}}"#)).collect();
    let router = run::<Router>(&format!(r#"{{"rules":[{}]}}"#, rules.join(","))).unwrap();
    for i in [0, 7, 999, 1999] {
        let verdict = router.on_request(&TestRequest::get(&format!("/api/{i}/deep/er")));
        assert_eq!(verdict, RequestEdits::new().backend(format!("b{i}")).route(format!("/api/{i}/*")).into());
    }
}

/// Every pattern and path of up to three segments out of two, against the rules of precedence read literally.
#[test]
fn the_table_finds_what_the_rules_say() {
    let paths = paths(3);
    let patterns = paths.iter().flat_map(|path| [path.clone(), format!("{}/*", path.trim_end_matches('/'))]);
    let mut patterns: Vec<_> = patterns.collect();
    patterns.sort();
    patterns.dedup();
    // Each round takes another part of the patterns, so that the longer ones are there and missing in turn.
    for round in 1..8 {
        let taken: Vec<_> = patterns.iter().enumerate().filter(|(i, _)| i % 7 % round == 0).map(|(_, p)| p).collect();
        let rules: Vec<_> = taken.iter().map(|p| format!(r#"{{"pattern":"{p}","target":"b"}}"#)).collect();
        let router = run::<Router>(&format!(r#"{{"rules":[{}]}}"#, rules.join(","))).unwrap();
        let router = router.filter();
        for path in &paths {
            let found = router.table.find(path.as_bytes(), &router.rules).map(|rule| rule.pattern.as_str());
            assert_eq!(found, literally(path, &taken).as_deref(), "{path} among {taken:?}");
        }
    }
}

fn literally(path: &str, patterns: &[&String]) -> Option<String> {
    let parsed = patterns.iter().map(|text| Pattern::parse((*text).clone()).unwrap());
    let matching = parsed.filter(|pattern| pattern.matches(path.as_bytes()));
    let best = matching.max_by_key(|pattern| (pattern.extent == Extent::Exact, pattern.base().len()));
    best.map(|pattern| pattern.as_str().to_owned())
}

/// Paths of up to `depth` segments, with and without a slash at the end.
fn paths(depth: usize) -> Vec<String> {
    let mut all = vec!["/".to_owned()];
    let mut level = vec![String::new()];
    for _ in 0..depth {
        level = level.iter().flat_map(|path| ["a", "ab"].map(|segment| format!("{path}/{segment}"))).collect();
        all.extend(level.iter().flat_map(|path| [path.clone(), format!("{path}/")]));
    }
    all
}

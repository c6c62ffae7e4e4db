//! The cases of `cases.toml`, and what data cannot say.

use gpanel_filter::RequestEdits;
use gpanel_filter::testing::{TestRequest, cases, check_schema, run};

use crate::Router;

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

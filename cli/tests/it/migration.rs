//! The steps of docs/migrating-from-gitleaks.md, on a repository that was set up for gitleaks.

use super::*;

#[test]
fn what_gitleaks_was_told_holds() {
    let place = Place::with_leak();
    let token = canary();
    place.commit("docs/example.md", &format!("token = \"{token}\"\n"));
    place.commit("src/allowed.py", &format!("token = \"{token}\"  # gitleaks:allow\n"));
    let found = |arguments: &[&str]| {
        let ran = place.run(&[&["scan", "--format", "jsonl"], arguments].concat());
        assert!(ran.code < 2, "{}", ran.shown());
        let lines = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut paths: Vec<String> = lines.map(|line| line["path"].as_str().unwrap().to_owned()).collect();
        paths.sort();
        assert_eq!(ran.code, i32::from(!paths.is_empty()));
        paths
    };
    assert_eq!(found(&[]), ["docs/example.md", "src/config.py"]);

    // The configuration, with an allowlist of a rule of gitleaks'.
    let allowlist = "[extend]\nuseDefault = true\n[[allowlists]]\ntargetRules = [\"github-pat\"]\npaths = ['''^docs/''']\n";
    place.write(".gitleaks.toml", allowlist);
    assert_eq!(found(&[]), ["src/config.py"]);
    let checked = place.run(&["rules", "check", ".gitleaks.toml"]);
    assert_eq!(checked.code, 0, "{}", checked.shown());
    fs::remove_file(place.path().join(".gitleaks.toml")).unwrap();

    // A report of gitleaks, with its secrets masked, is a baseline; the one of ours that follows is as well.
    let commit =
        String::from_utf8(git(place.path(), &["log", "--format=%H", "--", "docs"]).output().unwrap().stdout);
    let known = serde_json::json!([{
        "RuleID": "github-pat", "StartLine": 1, "EndLine": 1, "Secret": "REDACTED", "Match": "REDACTED",
        "File": "docs/example.md", "Commit": commit.unwrap().trim(), "Fingerprint": "x",
    }]);
    place.write("old.json", &known.to_string());
    assert_eq!(found(&["--baseline", "old.json"]), ["src/config.py"]);
    let report = place.run(&["scan", "--format", "json", "--output", "baseline.json"]);
    assert_eq!(report.code, 1);
    assert_eq!(found(&["--baseline", "baseline.json"]), [""; 0]);

    // What ci.md has jobs do: several reports at once.
    let reports = ["sarif=a.sarif", "gitlab=b.json", "junit=c.xml", "markdown=d.md"];
    let reports = reports.iter().flat_map(|report| ["--report", report]);
    assert_eq!(place.run(&std::iter::once("scan").chain(reports).collect::<Vec<_>>()).code, 1);
    assert!(["a.sarif", "b.json", "c.xml", "d.md"].iter().all(|name| place.path().join(name).is_file()));
    assert_eq!(place.run(&["scan", "--range", "HEAD~1..HEAD"]).code, 0);
    assert_eq!(place.run(&["hook", "install", "--pre-commit"]).code, 0);
}

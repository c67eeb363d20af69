//! What the schemas of SARIF and GitLab say, and what dashboards insist on beyond them.
//!
//! The schemas themselves are not part of this repository: where `SARIF_SCHEMA` and `GITLAB_SECRET_DETECTION_SCHEMA`
//! name the official files, the reports are validated against them.

use std::path::PathBuf;

use boon::{Compiler, Schemas};
use secretscan_report::Format;
use serde_json::Value;

use super::{all_written, findings, report};

/// A report with everything in it.
fn document(format: &Format) -> Value {
    let findings = findings();
    let mut reports = [report(&findings), report(&[])];
    reports[0].repository = Some("host/a");
    reports[0].summary.known = Some(3);
    serde_json::from_str(&all_written(&reports, format)).unwrap()
}

fn validate(document: &Value, variable: &str) {
    let Some(schema) = std::env::var_os(variable).map(PathBuf::from) else { return };
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    compiler.enable_format_assertions();
    let index = compiler.compile(schema.to_str().unwrap(), &mut schemas).unwrap();
    if let Err(error) = schemas.validate(document, index) {
        panic!("{error:#}");
    }
}

#[test]
fn sarif_is_valid() {
    validate(&document(&Format::Sarif), "SARIF_SCHEMA");
}

#[test]
fn sarif_refers_to_each_rule_once_and_has_ordered_regions() {
    let document = document(&Format::Sarif);
    assert_eq!(document["version"], "2.1.0");
    let run = &document["runs"][0];
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 3);
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        assert!(result["partialFingerprints"]["secretscanFingerprint/v2"].is_string());
        assert_eq!(result["baselineState"], "new");
        let location = &result["locations"][0]["physicalLocation"];
        let uri = location["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.bytes().all(|b| b.is_ascii_graphic()) && !uri.starts_with('/'), "{uri}");
        let region = |key: &str| location["region"][key].as_u64().unwrap();
        assert!(region("startLine") >= 1 && region("startColumn") >= 1);
        assert!((region("startLine"), region("startColumn")) < (region("endLine"), region("endColumn")));
    }
    let notifications = run["invocations"][0]["toolExecutionNotifications"].as_array().unwrap();
    assert_eq!(notifications.len(), 2);
    assert!(document["runs"][1]["results"].as_array().unwrap().is_empty());
}

#[test]
fn gitlab_is_valid() {
    let document = document(&Format::Gitlab);
    validate(&document, "GITLAB_SECRET_DETECTION_SCHEMA");
    assert_eq!(document["scan"]["type"], "secret_detection");
    assert_eq!(document["scan"]["start_time"].as_str().unwrap().len(), "yyyy-mm-ddThh:mm:ss".len());
    for vulnerability in document["vulnerabilities"].as_array().unwrap() {
        assert!(["Critical", "High", "Medium", "Low"].contains(&vulnerability["severity"].as_str().unwrap()));
        assert!(!vulnerability["location"]["commit"]["sha"].as_str().unwrap().is_empty());
        assert_eq!(vulnerability["identifiers"][0]["value"], {
            let id = vulnerability["identifiers"][0]["name"].as_str().unwrap();
            id.rsplit(' ').next().unwrap()
        });
    }
}

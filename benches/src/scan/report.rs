//! The reports of the programs, each in its own JSON.

use anyhow::Context;
use serde_json::Value;

use crate::programs::Tool;

/// The text that each finding shows: the secret, and what was matched around it where the program tells.
pub fn parse(tool: Tool, report: &[u8]) -> anyhow::Result<Vec<String>> {
    // gitleaks writes the bare list.
    let (list, texts): (&str, &[&str]) = match tool {
        Tool::Reference => ("", &[]),
        Tool::Secretscan => ("/findings", &["/secret"]),
        Tool::Betterleaks => ("/findings", &["/match/full", "/match/value"]),
        Tool::Gitleaks => ("", &["/Match", "/Secret"]),
        Tool::Kingfisher => ("/findings", &["/finding/snippet"]),
    };
    let report: Value = serde_json::from_slice(report)?;
    let findings = report.pointer(list).and_then(Value::as_array).context("there is no list of findings")?;
    let shown = |finding: &Value| {
        let shown: Option<Vec<&str>> = texts.iter().map(|text| finding.pointer(text)?.as_str()).collect();
        shown
            .map(|shown| shown.join("\n"))
            .with_context(|| format!("a finding has no {}", texts.join(" or ")))
    };
    findings.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_is_understood() {
        let read = |tool, report: &str| parse(tool, report.as_bytes()).unwrap();
        assert_eq!(read(Tool::Secretscan, r#"{"schema":"1","findings":[{"secret":"a","path":"b"}]}"#), ["a"]);
        assert_eq!(
            read(Tool::Betterleaks, r#"{"findings":[{"match":{"full":"k=a","value":"a"},"attributes":{}}]}"#),
            ["k=a\na"]
        );
        assert_eq!(read(Tool::Gitleaks, r#"[{"Match":"k=a","Secret":"a","Message":"b"}]"#), ["k=a\na"]);
        assert_eq!(read(Tool::Kingfisher, r#"{"findings":[{"rule":{},"finding":{"snippet":"a"}}]}"#), ["a"]);
        assert!(read(Tool::Gitleaks, "[]").is_empty());
    }

    #[test]
    fn a_report_of_another_form_is_an_error() {
        assert!(parse(Tool::Secretscan, b"[]").is_err());
        assert!(parse(Tool::Secretscan, br#"{"findings":[{"path":"b"}]}"#).is_err());
        assert!(parse(Tool::Gitleaks, b"").is_err());
    }
}

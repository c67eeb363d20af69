//! The reports of the programs, each in its own JSON.

use anyhow::Context;
use serde_json::Value;

use crate::programs::Tool;

/// A finding as a program reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// The secret, and what was matched around it where the program tells.
    pub text: String,
    /// The file, where there is one.
    pub path: Option<String>,
    /// The program's own name of the rule.
    pub rule: Option<String>,
}

/// What a report holds.
pub fn parse(tool: Tool, report: &[u8]) -> anyhow::Result<Vec<Reported>> {
    // gitleaks writes the bare list.
    let (list, texts, path, rule): (&str, &[&str], &str, &str) = match tool {
        Tool::Reference => ("", &[], "", ""),
        Tool::Secretscan => ("/findings", &["/secret"], "/path", "/ruleId"),
        Tool::Betterleaks => ("/findings", &["/match/full", "/match/value"], "/location/path", "/rule_id"),
        Tool::Gitleaks => ("", &["/Match", "/Secret"], "/File", "/RuleID"),
        Tool::Kingfisher => ("/findings", &["/finding/snippet"], "/finding/path", "/rule/id"),
    };
    let report: Value = serde_json::from_slice(report)?;
    let findings = report.pointer(list).and_then(Value::as_array).context("there is no list of findings")?;
    let read = |finding: &Value| {
        let text = |pointer: &str| finding.pointer(pointer)?.as_str();
        let shown: Option<Vec<&str>> = texts.iter().map(|pointer| text(pointer)).collect();
        let shown = shown.with_context(|| format!("a finding has no {}", texts.join(" or ")))?;
        let [path, rule] = [path, rule].map(|pointer| text(pointer).map(str::to_owned));
        Ok(Reported { text: shown.join("\n"), path, rule })
    };
    findings.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_is_understood() {
        let read = |tool, report: &str| -> Vec<String> {
            parse(tool, report.as_bytes()).unwrap().into_iter().map(|finding| finding.text).collect()
        };
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

//! Reports of findings: text, JSON, JSONL, SARIF.

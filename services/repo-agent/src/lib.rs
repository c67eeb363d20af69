//! The repo-agent service of secretscan.

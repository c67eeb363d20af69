//! The batch-agent service of secretscan.

//! The scheduler service of secretscan.

//! The controller service of secretscan.

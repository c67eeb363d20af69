//! End-to-end tests over several services.

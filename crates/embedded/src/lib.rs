//! The embedded nats-server: found or installed, started and stopped as a child process.

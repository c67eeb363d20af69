//! End-to-end tests: real services, a real nats-server, real Git.
#![allow(clippy::unwrap_used, reason = "tests")]

mod api;
mod backup;
mod bad_input;
mod cluster;
mod credentials;
mod dashboard;
mod deploy;
mod faults;
mod history;
mod hostile;
mod hygiene;
mod least_privilege;
mod on_demand;
mod operator;
mod over_time;
mod pushes;
mod rescan;
mod schedules;
mod server;
mod sharing;
mod traces;
mod upgrade;
mod whole_way;

//! The dashboard: REST API and web pages.
//!
//! It holds no state of its own: lists come from a copy of the buckets ([`index`]), which is made anew at each start,
//! single records from the buckets themselves, and what people do goes through the same doors that the commands use.

pub mod actions;
pub mod api;
pub mod auth;
mod config;
mod discovery;
pub mod index;
mod pages;
pub mod queues;
mod report_templates;
mod rotation;
mod server;
pub mod state;

pub use config::{Config, DashboardSettings, SAMPLE};
pub use server::{Server, StartError};

//! Lists of the repositories that an owner has at a Git host, page by page, at the pace that the host allows.
//!
//! A token goes to the address that was given with it, and nowhere else.

mod kinds;
mod pages;

pub use kinds::{Listed, OwnerKind, Page};
pub use pages::{ListError, Source};

//! Messages to people: what is said, to whom, and how it is sent.

mod channel;
mod item;
mod mail;
mod mailbox;
mod route;
mod template;

pub(crate) use channel::Channel;
pub(crate) use item::{Item, Reader};
pub(crate) use mailbox::{Entry, Mailbox};
pub use route::RouteError;
pub(crate) use route::Routes;
pub use template::TemplateError;

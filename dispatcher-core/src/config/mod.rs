//! Configuration files of both roles, from text to checked values. Owns every key, default and limit, and errors with
//! file, line and what to do. Reading files, secrets included, is the caller's.

mod address;
mod admission;
mod back;
mod defaults;
mod error;
mod front;
mod policy;
mod quantity;
mod secret_source;
mod server;
mod service;
#[cfg(test)]
mod tests;

pub use address::MacAddress;
pub use back::{BackConfig, BackService};
pub use error::ConfigError;
pub use front::{FrontConfig, Mode, SlowPathConfig, Timeouts};
pub use secret_source::SecretSource;
pub use server::ServerConfig;
pub use service::ServiceConfig;

/// Which role a configuration file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A front-end: it has servers.
    Front,
    /// A server's agent.
    Back,
}

impl Role {
    /// Tells the role from the keys that only one of them has. Without any, or when the text is no TOML, it is
    /// [`Role::Front`], whose parser then says what is wrong.
    #[must_use]
    pub fn detect(text: &str) -> Self {
        let table = text.parse::<toml::Table>().unwrap_or_default();
        let is_back =
            !table.contains_key("server") && (table.contains_key("report_to") || table.contains_key("name"));
        if is_back { Self::Back } else { Self::Front }
    }
}

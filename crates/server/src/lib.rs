//! The `hallpass` server: sign-in pages, accounts and sessions in one binary.
//!
//! The library is what the binary is made of: [`Config`] says how, [`App`] is what requests share, [`router`] is the whole server as
//! a Tower service, [`serve`] runs it until the operating system asks it to stop, and [`cli`] is the command line.

mod app;
pub mod cli;
mod config;
mod connections;
mod cors;
mod csrf;
mod device;
mod dress;
mod error;
mod headers;
mod host;
mod input;
mod key_file;
mod log;
mod log_limit;
mod modes;
mod pages;
mod paths;
mod peers;
mod router;
mod routes;
mod sample;
mod serve;
mod signals;

pub use app::{App, AppError};
pub use config::{Config, ConfigError, Flags, Limits, LogFormat, Old, Problem, Source, StoresConfig};
pub use cors::CorsPolicy;
pub use host::AllowedHosts;
pub use key_file::KeyFileError;
pub use pages::PagesError;
pub use router::{RouterError, router};
pub use serve::{ServeError, serve};

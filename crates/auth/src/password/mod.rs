//! Passwords: which are accepted, how they are kept, and who waits when too many come at once.

mod common;
mod format;
mod hasher;
mod policy;
mod pool;
mod threads;

pub use self::{
    format::PasswordFormat,
    hasher::{Argon2Params, Argon2ParamsError, Hasher, Verdict},
    policy::{PasswordPolicy, PasswordProblem},
    pool::{HashPool, HashPoolOptions},
};

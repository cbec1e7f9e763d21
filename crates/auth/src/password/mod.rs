//! Passwords: which are accepted, how they are kept, and who waits when too many come at once.

mod common;
mod cost;
mod format;
mod hasher;
mod mix;
mod pattern;
mod policy;
mod pool;
mod queue;
mod threads;

pub(crate) use self::mix::CostMix;
pub use self::{
    cost::{Argon2Kind, HashCost, MAX_ARGON2_WORK, MAX_BCRYPT_COST, UnusableHash},
    format::PasswordFormat,
    hasher::{Argon2Params, Argon2ParamsError, Hasher, Verdict},
    policy::{PasswordPolicy, PasswordProblem},
    pool::{HashPool, HashPoolOptions},
    queue::Requester,
};

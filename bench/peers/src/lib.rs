//! What Hallpass is measured against.

pub mod actix;
pub mod tower;

//! The protocol that ends a session, as a model that [`stateright`] explores completely.
//!
//! Two Hallpass servers, one Express process and one database share one session. Every step that a
//! real process takes is an action here, and the checker tries all orders of them: crashes,
//! failovers, delayed notifications, suspended machines, and an Express request that saves a stale
//! copy of the session.
//!
//! Two properties must hold in every reachable state, and [`Ending`] names them:
//!
//! * **ended stays ended**: after an acknowledged end and the staleness bound, no server accepts the
//!   session.
//! * **Express forgets it**: when all messages have arrived and no request is in flight, an ended
//!   session is not in the database.
//!
//! Each [`Rule`] of the protocol can be left out. The tests show that the properties fail without
//! it, so each rule is needed and the properties can fail.

mod ending;
mod rules;
mod state;

pub use ending::{Action, Ending};
pub use rules::{Rule, Rules, Store};
pub use state::{Process, Request, Server, State};

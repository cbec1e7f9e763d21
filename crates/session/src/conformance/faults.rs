//! [`Faults`]: makes one operation of some stores fail, each in its turn.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Call, Watch, Work};
use crate::StoreError;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing is done.
    Before,
    /// It is done, but the answer is lost.
    After,
    /// Nothing is done, and every later operation fails too.
    FromHere,
}

/// Counts the operations of all [`Watched`](super::Watched) stores that share it, and fails the one of a number.
#[derive(Debug, Default)]
pub struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    asked: Vec<&'static str>,
    fault: Option<(usize, When)>,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the `number`th operation fails, counted from 1.
    pub fn fail(&self, number: usize, when: When) {
        *self.state() = State { asked: Vec::new(), fault: Some((number, when)) };
    }

    /// Nothing fails any more; which operations there were since [`fail`](Self::fail) or this was called last.
    pub fn heal(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.state()).asked
    }

    /// Whether the operation that begins now fails, and how.
    fn next(&self, name: &'static str) -> Option<When> {
        let mut state = self.state();
        state.asked.push(name);
        let (number, when) = state.fault?;
        let fails = state.asked.len() == number || when == When::FromHere && state.asked.len() > number;
        fails.then_some(when)
    }
}

#[async_trait]
impl Watch for Faults {
    async fn around(&self, call: Call, work: Work<'_>) -> Result<(), StoreError> {
        match self.next(call.name) {
            None => {
                work.await;
                Ok(())
            }
            Some(When::Before | When::FromHere) => {
                Err(StoreError::new("reach the store", "connection refused"))
            }
            Some(When::After) => {
                work.await;
                Err(StoreError::new("reach the store", "connection reset"))
            }
        }
    }
}

/// Runs `flow` without a fault, then once for each of its operations and each way in which that can fail. `flow` answers which
/// operations there were, as [`Faults::heal`] does.
///
/// # Panics
/// When the flow asks no store: then it proves nothing.
pub async fn each_fault<Fut>(flow: impl Fn(Option<(usize, When)>) -> Fut)
where
    Fut: Future<Output = Vec<&'static str>>,
{
    let asked = flow(None).await;
    assert!(!asked.is_empty(), "the flow asks no store");
    for number in 1..=asked.len() {
        for when in [When::Before, When::After, When::FromHere] {
            flow(Some((number, when))).await;
        }
    }
}

//! express-session's one decision at the end of a request: what to ask of the store, and whether to send the cookie.

use super::ExpressOptions;
use crate::Unset;

/// What arrived and what the handler did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the table's columns")]
pub(super) struct Facts {
    /// `req.session` is there.
    pub(super) present: bool,
    /// The session's id is the one that a cookie brought.
    pub(super) same_id: bool,
    /// Its data, or its id, is not what it was when it was loaded or made.
    pub(super) modified: bool,
    /// It is as it was last known to be saved.
    pub(super) saved: bool,
    /// It is known to have been saved at all.
    pub(super) noted: bool,
    /// Its cookie outlives the browser.
    pub(super) lasting: bool,
}

/// What to ask of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Nothing,
    Set,
    Touch,
    Destroy,
}

/// What to do with the store.
pub(super) fn write(facts: Facts, options: &ExpressOptions) -> Write {
    if !facts.present {
        return if options.unset == Unset::Destroy { Write::Destroy } else { Write::Nothing };
    }
    let is_new = !options.save_uninitialized && !facts.noted && !facts.same_id;
    let save = if is_new { facts.modified } else { !facts.saved };
    match (save, facts.same_id) {
        (true, _) => Write::Set,
        (false, true) => Write::Touch,
        (false, false) => Write::Nothing,
    }
}

/// Whether to send the cookie, secure connections permitting.
pub(super) fn sends_cookie(facts: Facts, options: &ExpressOptions) -> bool {
    match (facts.present, facts.same_id) {
        (false, _) => false,
        (true, false) => options.save_uninitialized || facts.modified,
        (true, true) => options.rolling || facts.lasting && facts.modified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rolling: bool, save_uninitialized: bool, unset: Unset) -> ExpressOptions {
        ExpressOptions { rolling, save_uninitialized, unset, ..ExpressOptions::default() }
    }

    /// All facts that can be: what is not there is neither changed nor saved.
    fn all_facts() -> impl Iterator<Item = Facts> {
        (0..64_u8).map(|bits| {
            let bit = |n: u8| bits & (1 << n) != 0;
            Facts {
                present: bit(0),
                same_id: bit(1),
                modified: bit(2),
                saved: bit(3),
                noted: bit(4),
                lasting: bit(5),
            }
        })
    }

    /// The table of express-behaviour: rows are what the handler did to a new, a known and an unknown session.
    #[test]
    fn every_row_of_the_table() {
        let base = options(false, false, Unset::Keep);
        let new = Facts {
            present: true,
            same_id: false,
            modified: false,
            saved: false,
            noted: false,
            lasting: true,
        };
        let known = Facts { same_id: true, saved: true, noted: true, ..new };
        for (facts, options, expected) in [
            (new, &base, (Write::Nothing, false)),
            (Facts { modified: true, ..new }, &base, (Write::Set, true)),
            (new, &options(false, true, Unset::Keep), (Write::Set, true)),
            (new, &options(true, false, Unset::Keep), (Write::Nothing, false)),
            (known, &base, (Write::Touch, false)),
            (known, &options(true, false, Unset::Keep), (Write::Touch, true)),
            (Facts { modified: true, saved: false, ..known }, &base, (Write::Set, true)),
            (Facts { modified: true, saved: false, lasting: false, ..known }, &base, (Write::Set, false)),
            // resave: nothing counts as saved.
            (Facts { saved: false, noted: false, ..known }, &base, (Write::Set, false)),
            // An explicit save of a changed session.
            (Facts { modified: true, ..known }, &base, (Write::Touch, true)),
            (Facts { modified: true, saved: true, noted: true, ..new }, &base, (Write::Nothing, true)),
            (Facts { present: false, ..known }, &base, (Write::Nothing, false)),
            (
                Facts { present: false, ..known },
                &options(false, false, Unset::Destroy),
                (Write::Destroy, false),
            ),
        ] {
            assert_eq!(
                (write(facts, options), sends_cookie(facts, options)),
                expected,
                "{facts:?} {options:?}"
            );
        }
    }

    #[test]
    fn whatever_the_options() {
        for facts in all_facts() {
            for bits in 0..8_u8 {
                let unset = if bits & 4 == 0 { Unset::Keep } else { Unset::Destroy };
                let options = options(bits & 1 != 0, bits & 2 != 0, unset);
                let (write, sends) = (write(facts, &options), sends_cookie(facts, &options));
                if facts.present {
                    assert_ne!(write, Write::Destroy, "only a session that was let go of: {facts:?}");
                    assert!(
                        write != Write::Touch || facts.same_id,
                        "a new session is not there to touch: {facts:?}"
                    );
                } else {
                    assert!(!sends && matches!(write, Write::Nothing | Write::Destroy), "{facts:?}");
                }
            }
        }
    }
}

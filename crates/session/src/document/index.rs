//! [`Index`]: finds keys in a list without looking at each of its entries.

use std::{collections::HashMap, hash::BuildHasher, sync::OnceLock};

/// Up to so many entries, looking at each of them is faster than a map.
pub(crate) const FEW: usize = 32;

/// About what an index takes, in bytes an entry.
pub(super) const WEIGHT: usize = 24;

/// An entry of a list.
pub(crate) trait Named {
    /// Its key, unlike that of every other entry; `None`: the place is empty.
    fn name(&self) -> Option<&str>;
}

/// The places of keys in a list of more than [`FEW`] entries. It is made at the first look, and then follows the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index(OnceLock<Box<Places>>);

/// Places by the hashes of keys, so that no key is stored twice.
#[derive(Clone, Debug, Default)]
struct Places {
    by_hash: HashMap<u64, usize>,
    /// Two keys have had one hash: what the map does not lead to may be there all the same.
    clashed: bool,
}

impl Places {
    fn add(&mut self, key: &str, place: usize) {
        let hash = self.by_hash.hasher().hash_one(key);
        self.clashed |= self.by_hash.insert(hash, place).is_some();
    }
}

impl Index {
    /// The place of `key` in `list`.
    pub(crate) fn find<T: Named>(&self, list: &[T], key: &str) -> Option<usize> {
        let is = |entry: &T| {
            #[cfg(test)]
            work::count();
            entry.name() == Some(key)
        };
        if list.len() <= FEW {
            return list.iter().position(is);
        }
        let places = self.0.get_or_init(|| Box::new(Self::of(list)));
        let place = places.by_hash.get(&places.by_hash.hasher().hash_one(key)).copied();
        match place.filter(|place| is(&list[*place])) {
            None if places.clashed => list.iter().position(is),
            place => place,
        }
    }

    fn of<T: Named>(list: &[T]) -> Places {
        let mut places = Places::default();
        places.by_hash.reserve(list.len());
        for (place, key) in list.iter().enumerate().filter_map(|(place, entry)| Some((place, entry.name()?)))
        {
            places.add(key, place);
        }
        places
    }

    /// `key` was added to the list at this place.
    pub(crate) fn add(&mut self, key: &str, place: usize) {
        if let Some(places) = self.0.get_mut() {
            places.add(key, place);
        }
    }

    /// The place of `key` is empty now.
    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(places) = self.0.get_mut().filter(|places| !places.clashed) {
            let hash = places.by_hash.hasher().hash_one(key);
            places.by_hash.remove(&hash);
        }
    }

    /// Places have changed.
    pub(crate) fn reset(&mut self) {
        self.0.take();
    }
}

/// Counts how many keys are compared, so that tests need no clock.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::Cell;

    thread_local! {
        static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        COMPARED.set(COMPARED.get() + 1);
    }

    /// How many there were since this was called last.
    pub(crate) fn compared() -> usize {
        COMPARED.replace(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Named for Option<&str> {
        fn name(&self) -> Option<&str> {
            *self
        }
    }

    #[test]
    fn keys_of_one_hash_are_all_found() {
        let names: Vec<String> = (0..=FEW).map(|number| format!("k{number}")).collect();
        let mut list: Vec<Option<&str>> = names.iter().map(|name| Some(&**name)).collect();
        let mut index = Index::default();
        assert_eq!(index.find(&list, "k7"), Some(7));
        // As if the next key had the hash of `k7`.
        let places = index.0.get_mut().unwrap();
        let hash = places.by_hash.hasher().hash_one("k7");
        places.by_hash.insert(hash, list.len());
        places.clashed = true;
        list.push(Some("twin"));
        assert_eq!((index.find(&list, "k7"), index.find(&list, "none")), (Some(7), None));
        index.remove("twin");
        list.pop();
        list.push(None);
        assert_eq!((index.find(&list, "k7"), index.find(&list, "twin")), (Some(7), None));
    }
}

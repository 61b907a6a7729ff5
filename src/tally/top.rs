//! Who was there most often, without remembering everybody.

use hashbrown::HashMap;

use crate::core::Fingerprint;

/// Counts the keys that come most often, at most `capacity` of them.
///
/// The algorithm is Space-Saving (Metwally, Agrawal, El Abbadi: Efficient computation of frequent and top-k elements in data streams, 2005):
/// a key that is not counted takes the place of the one with the lowest count, and inherits the count. So no count is ever too low, none is too
/// high by more than its `over`, and every key with more than 1 / capacity of all is among them. As long as there are no more keys
/// than places, all counts are exact.
#[derive(Debug)]
pub(crate) struct Top<V> {
    capacity: usize,
    /// The highest count first.
    entries: Vec<Entry<V>>,
    /// Where in `entries` a key is.
    places: HashMap<Fingerprint, usize>,
    /// Where the key is that was there last.
    last: usize,
}

/// A key that is counted.
#[derive(Clone, Debug)]
pub(crate) struct Entry<V> {
    pub(crate) key: Fingerprint,
    pub(crate) count: u64,
    /// Of `count`, so much may be others'.
    pub(crate) over: u64,
    /// What else is known since it was first counted.
    pub(crate) value: V,
}

impl<V: Default> Top<V> {
    /// At least one place.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            entries: Vec::new(),
            places: HashMap::new(),
            last: 0,
        }
    }

    /// The key was there once more.
    pub(crate) fn add(&mut self, key: Fingerprint) -> &mut Entry<V> {
        // Mostly it is the one that was there last.
        let place = match self.entries.get(self.last) {
            Some(entry) if entry.key == key => self.last,
            _ => match self.places.get(&key) {
                Some(place) => *place,
                None => self.enter(key),
            },
        };
        let count = self.entries[place].count;
        // Among those with the same count it goes to the front, where one more does not spoil the order.
        let first = match place.checked_sub(1) {
            Some(before) if self.entries[before].count == count => {
                self.entries[..place].partition_point(|entry| entry.count > count)
            }
            _ => place,
        };
        self.swap(place, first);
        self.last = first;
        let entry = &mut self.entries[first];
        entry.count += 1;
        entry
    }

    /// What is known of a key, if it is counted.
    pub(crate) fn get_mut(&mut self, key: Fingerprint) -> Option<&mut Entry<V>> {
        let place = *self.places.get(&key)?;
        self.entries.get_mut(place)
    }

    /// Gives the place of a key that has none yet.
    fn enter(&mut self, key: Fingerprint) -> usize {
        let mut entry = Entry {
            key,
            count: 0,
            over: 0,
            value: V::default(),
        };
        let place = if self.entries.len() < self.capacity {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let place = self.entries.len() - 1;
            let last = &mut self.entries[place];
            (entry.count, entry.over) = (last.count, last.count);
            let old = std::mem::replace(last, entry).key;
            self.places.remove(&old);
            place
        };
        self.places.insert(key, place);
        place
    }

    fn swap(&mut self, one: usize, other: usize) {
        if one == other {
            return;
        }
        self.entries.swap(one, other);
        for place in [one, other] {
            self.places.insert(self.entries[place].key, place);
        }
    }

    /// Those that were there most often come first.
    pub(crate) fn entries(&self) -> &[Entry<V>] {
        &self.entries
    }

    /// Nobody has been there yet.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.places.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(number: u64) -> Fingerprint {
        Fingerprint::from_halves(number, number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Some keys come far more often than others, as tokens do.
    fn keys() -> impl Strategy<Value = Vec<u64>> {
        let one = prop_oneof![3 => 0..4_u64, 2 => 0..20_u64, 1 => 0..200_u64];
        proptest::collection::vec(one, 0..600)
    }

    proptest! {
        #[test]
        fn no_count_is_too_low_and_none_too_high_by_more_than_it_says(
            stream in keys(),
            capacity in 1..30_usize,
        ) {
            let mut top = Top::<u64>::new(capacity);
            let mut exact = HashMap::<u64, u64>::new();
            for number in &stream {
                top.add(key(*number)).value += 1;
                *exact.entry(*number).or_default() += 1;
                let sorted = top.entries().is_sorted_by(|one, next| one.count >= next.count);
                prop_assert!(sorted);
            }
            prop_assert!(top.entries().len() <= capacity);
            for (number, count) in &exact {
                match top.get_mut(key(*number)) {
                    Some(entry) => {
                        prop_assert!(entry.count >= *count);
                        prop_assert!(entry.count - entry.over <= *count);
                        prop_assert_eq!(entry.value, entry.count - entry.over);
                    }
                    None => prop_assert!(*count <= stream.len() as u64 / capacity as u64),
                }
            }
            if exact.len() <= capacity {
                prop_assert!(top.entries().iter().all(|entry| entry.over == 0));
            }
        }
    }
}

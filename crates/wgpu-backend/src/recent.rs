//! A map of bounded size, whose longest unused entries make room for new ones.

use std::collections::HashMap;
use std::hash::Hash;

/// `N` entries at most.
#[derive(Debug)]
pub(crate) struct Recent<K, V, const N: usize = 4096> {
    /// With the time of their last use.
    entries: HashMap<K, (V, u64)>,
    clock: u64,
}

impl<K, V, const N: usize> Default for Recent<K, V, N> {
    fn default() -> Recent<K, V, N> {
        Recent {
            entries: HashMap::new(),
            clock: 0,
        }
    }
}

impl<K: Hash + Eq, V: Clone, const N: usize> Recent<K, V, N> {
    /// What is kept for a key.
    pub fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let (value, used) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value.clone())
    }

    /// Keeps a value. Where there are too many, the older half goes, so that looking for it costs
    /// little for each.
    pub fn insert(&mut self, key: K, value: V) {
        if self.entries.len() >= N {
            let mut times: Vec<u64> = self.entries.values().map(|e| e.1).collect();
            let (_, median, _) = times.select_nth_unstable(N / 2);
            let bound = *median;
            self.entries.retain(|_, e| e.1 > bound);
        }
        self.clock += 1;
        self.entries.insert(key, (value, self.clock));
    }

    /// Drops what is of no use any more.
    pub fn forget(&mut self, gone: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| !gone(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go() {
        const CAPACITY: usize = 64;
        let mut recent = Recent::<_, _, CAPACITY>::default();
        for i in 0..CAPACITY {
            recent.insert(i, i);
        }
        assert_eq!(recent.get(&0), Some(0));
        recent.insert(CAPACITY, 0);
        assert!(recent.entries.len() <= CAPACITY);
        assert_eq!(recent.get(&1), None);
        assert_eq!(recent.get(&0), Some(0));
        assert_eq!(recent.get(&(CAPACITY - 1)), Some(CAPACITY - 1));
        recent.forget(|&key| key == 0);
        assert_eq!(recent.get(&0), None);
    }
}

//! Where inner results lie: buffers shared by results that are never needed at the same time.
//!
//! A result is needed from the group that writes it to the last group that reads it; one that is
//! kept, to the end. An elementwise kernel writes over an operand that nobody reads later. The
//! largest results are placed first, each into the smallest buffer that is free for as long as it
//! is needed: "greedy by size" of [Pisarchyk and Lee 2020](https://arxiv.org/abs/2001.03288).

use std::collections::{BTreeMap, HashMap};

use crate::fusion::graph::{Graph, Input};
use crate::fusion::{Group, Kind};

/// How many buffers, smallest first, are looked at for a place.
const LOOK_AT: usize = 256;

/// From when to when a buffer's contents are needed, as positions in the order of groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lifetime {
    pub bytes: usize,
    pub first: usize,
    pub last: usize,
    /// The origin of the item that is kept after the run, if that is what is in it at last: its
    /// buffer must then have its very size.
    pub kept: Option<usize>,
}

/// Several results' memory.
#[derive(Debug)]
pub(super) struct Shared {
    pub bytes: usize,
    /// The origin of the item that is kept in it, if one is.
    pub kept: Option<usize>,
    /// The lifetimes inside: their ends by their starts.
    busy: BTreeMap<usize, usize>,
}

impl Shared {
    fn is_free(&self, first: usize, last: usize) -> bool {
        let before = self.busy.range(..=last).next_back();
        before.is_none_or(|(_, &end)| end < first)
    }
}

/// A buffer for each lifetime.
pub(super) fn share(lifetimes: &[Lifetime]) -> (Vec<usize>, Vec<Shared>) {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&i| {
        let l = &lifetimes[i];
        (std::cmp::Reverse(l.bytes), l.first)
    });
    let mut buffer_of = vec![0; lifetimes.len()];
    // In descending order of size.
    let mut buffers: Vec<Shared> = Vec::new();
    for i in order {
        let l = lifetimes[i];
        let fits =
            |b: &Shared| (l.kept.is_none() || b.bytes == l.bytes) && b.is_free(l.first, l.last);
        let candidates = (0..buffers.len()).rev().take(LOOK_AT);
        let found = candidates.into_iter().find(|&b| fits(&buffers[b]));
        let at = found.unwrap_or_else(|| {
            buffers.push(Shared {
                bytes: l.bytes,
                kept: None,
                busy: BTreeMap::new(),
            });
            buffers.len() - 1
        });
        buffers[at].busy.insert(l.first, l.last);
        if l.kept.is_some() {
            buffers[at].kept = l.kept;
        }
        buffer_of[i] = at;
    }
    (buffer_of, buffers)
}

/// The most bytes that are needed at one time.
pub(super) fn most_live(lifetimes: &[Lifetime]) -> usize {
    let mut changes: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for l in lifetimes {
        changes.entry(l.first).or_default().0 += l.bytes;
        changes.entry(l.last.saturating_add(1)).or_default().1 += l.bytes;
    }
    let (mut live, mut most) = (0, 0);
    for (grown, shrunk) in changes.into_values() {
        live = live + grown - shrunk;
        most = most.max(live);
    }
    most
}

/// The lifetimes of a run's results that are stored, and which of them each item's is.
pub(super) struct Lifetimes {
    pub all: Vec<Lifetime>,
    pub of: HashMap<usize, usize>,
}

impl Lifetimes {
    /// `last[i]` is the last group that reads item `i`; its `bytes(i)` are `stored(i)`, or it stays
    /// inside its group. Items at home in an arena have their place already.
    pub fn new(
        graph: &Graph,
        groups: &[Group],
        last: &[usize],
        stored: impl Fn(usize) -> bool,
        bytes: impl Fn(usize) -> usize,
    ) -> Lifetimes {
        let mut lifetimes = Lifetimes {
            all: Vec::new(),
            of: HashMap::new(),
        };
        for (at, group) in groups.iter().enumerate() {
            for i in group.all() {
                let item = &graph.items[i];
                if !stored(i) || item.home.is_some() {
                    continue;
                }
                let last = if item.root { usize::MAX } else { last[i] };
                let kept = item.root.then_some(item.origin);
                let taken = match group.kind {
                    // Others read operands elsewhere than where they write, also those with an epilogue, whose parts
                    // are stored while others are still made.
                    Kind::Map => lifetimes.dying(graph, group, at, i),
                    _ => None,
                };
                let lifetime = taken.unwrap_or(lifetimes.all.len());
                if taken.is_none() {
                    lifetimes.all.push(Lifetime {
                        bytes: bytes(i),
                        first: at,
                        last,
                        kept,
                    });
                }
                lifetimes.all[lifetime].last = last;
                lifetimes.all[lifetime].kept = kept;
                lifetimes.of.insert(i, lifetime);
            }
        }
        lifetimes
    }

    /// The lifetime of an operand that the elementwise group reads last and that item `i` of it
    /// may be written over: read nowhere but at the element that is computed.
    fn dying(&self, graph: &Graph, group: &Group, at: usize, i: usize) -> Option<usize> {
        let item = &graph.items[i];
        let operands = || {
            let inputs = group.members.iter().flat_map(|&m| &graph.items[m].inputs);
            inputs.filter_map(|input| match input {
                Input::Item(p, layout) => Some((*p, layout)),
                _ => None,
            })
        };
        operands().map(|(p, _)| p).find_map(|p| {
            let lifetime = *self.of.get(&p)?;
            let fits = self.all[lifetime].last == at
                && graph.items[p].dtype == item.dtype
                && graph.items[p].shape == item.shape
                && operands().all(|(q, layout)| q != p || layout.is_whole());
            fits.then_some(lifetime)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lifetime(bytes: usize, first: usize, last: usize) -> Lifetime {
        Lifetime {
            bytes,
            first,
            last,
            kept: (last == usize::MAX).then_some(first),
        }
    }

    fn total(lifetimes: &[Lifetime]) -> usize {
        share(lifetimes).1.iter().map(|b| b.bytes).sum()
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Lifetime> = (0..100).map(|i| lifetime(64, i, i + 1)).collect();
        assert_eq!(total(&chain), 128);
        assert_eq!(most_live(&chain), 128);
    }

    #[test]
    fn small_results_lie_in_large_buffers_and_before_kept_ones() {
        let lifetimes = [
            lifetime(1000, 0, 3),
            lifetime(10, 4, 5),
            lifetime(1000, 6, usize::MAX),
        ];
        let (of, buffers) = share(&lifetimes);
        assert_eq!((of, buffers.len()), (vec![0, 0, 0], 1));
        assert_eq!(buffers[0].kept, Some(6));
        // A kept result does not take more than it needs.
        let lifetimes = [lifetime(1000, 0, 3), lifetime(10, 6, usize::MAX)];
        assert_eq!(total(&lifetimes), 1010);
    }

    #[test]
    fn activations_of_training_are_within_a_tenth() {
        // Forward: layers of different widths; backward: the gradient of each, and two others.
        let widths = [784, 512, 512, 256, 300, 128, 512, 64, 64, 32, 100, 10];
        let n = widths.len();
        let mut lifetimes = Vec::new();
        for (i, width) in widths.iter().enumerate() {
            lifetimes.push(lifetime(width * 256, i, 2 * n - i));
            lifetimes.push(lifetime(width * 256, 2 * n - i, 2 * n - i + 1));
            lifetimes.push(lifetime(width * width, 2 * n - i, usize::MAX));
        }
        let live = most_live(&lifetimes);
        assert!(total(&lifetimes) <= live + live / 10);
    }

    proptest! {
        #[test]
        fn nothing_overlaps(parts in prop::collection::vec((1usize..50, 0usize..60, 0usize..20, 0..4), 1..80)) {
            let lifetimes: Vec<Lifetime> = parts
                .iter()
                .map(|&(bytes, first, length, kept)| {
                    lifetime(bytes, first, if kept == 0 { usize::MAX } else { first + length })
                })
                .collect();
            let (of, buffers) = share(&lifetimes);
            for (i, a) in lifetimes.iter().enumerate() {
                prop_assert!(a.bytes <= buffers[of[i]].bytes);
                if a.kept.is_some() {
                    prop_assert_eq!(buffers[of[i]].kept, a.kept);
                    prop_assert_eq!(a.bytes, buffers[of[i]].bytes);
                }
                for (j, b) in lifetimes.iter().enumerate().take(i) {
                    let apart = a.last < b.first || b.last < a.first;
                    prop_assert!(of[i] != of[j] || apart);
                }
            }
            prop_assert!(total(&lifetimes) >= most_live(&lifetimes));
        }
    }
}

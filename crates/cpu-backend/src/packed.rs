//! Factors of products that are kept packed.
//!
//! A product packs its second factor into the order in which it reads it, which for few rows takes as long as the
//! multiplications. A matrix that a second product reads before anything wrote there (the weight of a recurrent layer,
//! all weights of a model that only infers) is packed into memory of its own, where further products find it until it
//! is written or dropped. Only for products of few rows; the weights of a training step, read once each way, pay a look
//! into a table.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use crate::pool::{CpuBuffer, Pool};

/// A matrix in memory and the order in which it is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Form {
    /// The address of its first element.
    pub start: usize,
    /// Bytes from there to the end of its last element.
    pub bytes: usize,
    /// Distances between neighbours in a column and in a row, in elements.
    pub strides: (isize, isize),
    pub rows: usize,
    pub columns: usize,
    /// Bytes of an element.
    pub element: usize,
    /// Columns of a tile, and steps between two visits to a tile.
    pub width: usize,
    pub depth: usize,
}

impl Form {
    /// Columns that are packed; the last ones of these may be 0.
    pub fn packed_columns(&self) -> usize {
        self.columns.next_multiple_of(self.width)
    }

    pub fn packed_bytes(&self) -> usize {
        self.rows * self.packed_columns() * self.element
    }
}

/// What is known of a matrix.
pub(crate) enum Packed {
    /// It is to be packed for this product alone.
    No,
    /// It is to be packed here, and kept.
    Into(Arc<CpuBuffer>),
    /// It lies here.
    Ready(Arc<CpuBuffer>),
}

struct Entry {
    form: Form,
    /// `None` while only one product has read it.
    packed: Option<Arc<CpuBuffer>>,
}

/// More matrices than this are forgotten together: parts of something large that are read again and again.
const MOST_ENTRIES: usize = 4096;

#[derive(Default)]
struct State {
    /// By the address of their first element.
    entries: BTreeMap<usize, SmallVec<[Entry; 1]>>,
    count: usize,
    /// No matrix has more bytes.
    longest: usize,
    /// Bytes of packed ones.
    bytes: usize,
}

impl State {
    /// A product has read it.
    fn note(&mut self, form: &Form) {
        self.entries.entry(form.start).or_default().push(Entry {
            form: *form,
            packed: None,
        });
        self.count += 1;
        self.longest = self.longest.max(form.bytes);
    }

    /// Takes out what lies in these addresses.
    fn take(&mut self, addresses: Range<usize>) -> Vec<Entry> {
        let mut taken = Vec::new();
        let first = addresses.start.saturating_sub(self.longest);
        let mut touched: SmallVec<[usize; 4]> = SmallVec::new();
        for (&start, entries) in self.entries.range_mut(first..addresses.end) {
            for i in (0..entries.len()).rev() {
                if start + entries[i].form.bytes > addresses.start {
                    taken.push(entries.swap_remove(i));
                }
            }
            if entries.is_empty() {
                touched.push(start);
            }
        }
        self.count -= taken.len();
        for start in touched {
            self.entries.remove(&start);
        }
        let packed = taken.iter().filter_map(|entry| entry.packed.as_ref());
        self.bytes -= packed.map(|packed| packed.len()).sum::<usize>();
        taken
    }
}

/// The packed factors of a device.
#[derive(Default)]
pub(crate) struct PackedFactors {
    state: Mutex<State>,
}

impl PackedFactors {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent at every point that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the matrix is packed for the products of a launch, `many` or one. What is packed `Into` memory must be
    /// [kept](Self::keep).
    pub fn find(&self, form: &Form, many: bool, pool: &Arc<Pool>) -> Packed {
        let mut displaced = State::default();
        {
            let mut state = self.state();
            if state.count > MOST_ENTRIES {
                displaced = std::mem::take(&mut *state);
            }
            let entries = state.entries.entry(form.start).or_default();
            match entries.iter().find(|entry| entry.form == *form) {
                Some(Entry {
                    packed: Some(packed),
                    ..
                }) => return Packed::Ready(packed.clone()),
                Some(_) => {}
                None => {
                    state.note(form);
                    if !many {
                        return Packed::No;
                    }
                }
            }
            // Not more than an eighth of the memory; new ones displace old ones.
            let limit = pool.limit() / 8;
            let bytes = form.packed_bytes();
            if bytes > limit {
                return Packed::No;
            }
            if bytes.saturating_add(state.bytes) > limit {
                displaced = std::mem::take(&mut *state);
                state.note(form);
            }
        }
        drop(displaced);
        match pool.try_allocate(form.packed_bytes()) {
            Ok(buffer) => Packed::Into(Arc::new(buffer)),
            Err(_) => Packed::No,
        }
    }

    /// Keeps what was packed.
    pub fn keep(&self, form: &Form, packed: Arc<CpuBuffer>) {
        let mut state = self.state();
        let bytes = packed.len();
        let entries = state.entries.get_mut(&form.start);
        let entry = entries.and_then(|all| all.iter_mut().find(|entry| entry.form == *form));
        if let Some(entry) = entry.filter(|entry| entry.packed.is_none()) {
            entry.packed = Some(packed);
            state.bytes += bytes;
        }
    }

    /// Something wrote to these addresses, or they are no longer anybody's.
    pub fn forget(&self, addresses: Range<usize>) {
        let mut state = self.state();
        if state.entries.is_empty() {
            return;
        }
        let taken = state.take(addresses);
        // Packed factors are buffers, whose memory is forgotten too.
        drop(state);
        drop(taken);
    }

    /// Forgets everything; whether there was something.
    pub fn clear(&self) -> bool {
        let taken = std::mem::take(&mut *self.state());
        taken.bytes > 0
    }
}

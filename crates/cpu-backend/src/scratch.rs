//! Working memory that threads keep.

use std::cell::RefCell;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Aligned memory that grows and is used again.
#[derive(Default)]
pub(crate) struct Scratch {
    lines: Vec<Line>,
}

impl Scratch {
    /// At least `bytes` bytes, aligned to 64, valid until the next call.
    pub fn reserve(&mut self, bytes: usize) -> *mut u8 {
        let lines = bytes.div_ceil(64);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; 64]));
        }
        self.lines.as_mut_ptr().cast()
    }

    /// The same as elements.
    pub fn slice<T: bytemuck::Pod>(&mut self, len: usize) -> &mut [T] {
        let start = self.reserve(len * size_of::<T>()).cast::<T>();
        // SAFETY: `reserve` gave initialised, aligned memory for `len` plain elements, borrowed
        // from `self`.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

/// More than this is given back after use rather than kept by the thread.
const KEEP: usize = 16 << 20;

thread_local! {
    static IDLE: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) };
}

/// Runs `task` with a scratch of this thread. Calls may nest.
pub(crate) fn with<R>(task: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = idle();
    let result = task(&mut scratch);
    give_back(scratch);
    result
}

/// The same with so many.
pub(crate) fn with_many<R>(count: usize, task: impl FnOnce(&mut [Scratch]) -> R) -> R {
    let mut scratches: Vec<Scratch> = (0..count).map(|_| idle()).collect();
    let result = task(&mut scratches);
    scratches.into_iter().for_each(give_back);
    result
}

fn idle() -> Scratch {
    let idle = IDLE.with(|idle| idle.borrow_mut().pop());
    idle.unwrap_or_default()
}

fn give_back(scratch: Scratch) {
    if scratch.lines.len() * 64 <= KEEP {
        IDLE.with(|idle| idle.borrow_mut().push(scratch));
    }
}

/// Takes room for so many elements from the front.
pub(crate) fn take<'a, E>(room: &mut &'a mut [E], count: usize) -> &'a mut [E] {
    let (taken, rest) = std::mem::take(room).split_at_mut(count);
    *room = rest;
    taken
}

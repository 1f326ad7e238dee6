//! The wall clock around every kernel, while a profile is taken.

use wgrad_core::Span;

/// What has run since a profile began.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) struct Recorder {
    begin: std::time::Instant,
    spans: Vec<Span>,
}

#[cfg(not(target_arch = "wasm32"))]
impl Recorder {
    /// Begins.
    pub fn new() -> Recorder {
        Recorder {
            begin: std::time::Instant::now(),
            spans: Vec::new(),
        }
    }

    /// Runs a kernel and notes when.
    pub fn time<T>(&mut self, name: &str, run: impl FnOnce() -> T) -> T {
        let start = self.begin.elapsed();
        let result = run();
        self.spans.push(Span {
            name: name.to_string(),
            start,
            time: self.begin.elapsed() - start,
        });
        result
    }

    /// What ran.
    pub fn spans(self) -> Vec<Span> {
        self.spans
    }
}

/// A browser gives no clock to a worker that waits for nobody: no profile ever begins there.
#[cfg(target_arch = "wasm32")]
pub(crate) enum Recorder {}

#[cfg(target_arch = "wasm32")]
impl Recorder {
    pub fn time<T>(&mut self, _name: &str, _run: impl FnOnce() -> T) -> T {
        match *self {}
    }

    pub fn spans(self) -> Vec<Span> {
        match self {}
    }
}

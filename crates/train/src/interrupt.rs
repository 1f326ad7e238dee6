//! Ctrl-C during a training.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

/// What the handlers of this process look at.
struct Flags {
    /// Ctrl-C was pressed during a training.
    pressed: Arc<AtomicBool>,
    /// Ctrl-C ends the process at once: no training listens, or it was pressed before.
    deadly: Arc<AtomicBool>,
}

/// The handlers stay for the life of the process; outside of trainings they do what would happen without them.
fn flags() -> Option<&'static Flags> {
    static FLAGS: OnceLock<Option<Flags>> = OnceLock::new();
    let install = || {
        let flags = Flags {
            pressed: Arc::new(AtomicBool::new(false)),
            deadly: Arc::new(AtomicBool::new(true)),
        };
        // In this order: the second press finds `deadly` set by the first.
        flag::register_conditional_default(SIGINT, flags.deadly.clone()).ok()?;
        flag::register(SIGINT, flags.deadly.clone()).ok()?;
        flag::register(SIGINT, flags.pressed.clone()).ok()?;
        Some(flags)
    };
    FLAGS.get_or_init(install).as_ref()
}

/// Listens for Ctrl-C as long as it lives.
pub struct Interrupt(Option<&'static Flags>);

impl Interrupt {
    /// Listens, if it is asked to.
    pub fn listen(wanted: bool) -> Interrupt {
        let flags = wanted.then(flags).flatten();
        if let Some(flags) = flags {
            flags.pressed.store(false, Ordering::SeqCst);
            flags.deadly.store(false, Ordering::SeqCst);
        }
        Interrupt(flags)
    }

    /// Whether Ctrl-C was pressed.
    pub fn is_pressed(&self) -> bool {
        self.0
            .is_some_and(|flags| flags.pressed.load(Ordering::SeqCst))
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(flags) = self.0 {
            flags.deadly.store(true, Ordering::SeqCst);
        }
    }
}

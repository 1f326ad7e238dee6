//! The instruction sets that loops are compiled for, and which of them a device uses.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

use pulp::{Arch, Scalar, Simd, WithSimd};

/// An instruction set that the CPU backend has loops for. Sets are ordered: a machine that has one has
/// all lower ones of its architecture.
///
/// ```
/// use wgrad_cpu_backend::InstructionSet;
/// let best = InstructionSet::best();
/// assert!(best.is_available() && InstructionSet::Scalar.is_available());
/// assert_eq!("avx2".parse(), Ok(InstructionSet::Avx2));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum InstructionSet {
    /// What every machine of the architecture has, without fused multiply-add.
    Scalar,
    /// WebAssembly's vectors of 128 bits, where the program is compiled for them.
    WasmSimd,
    /// Arm's vectors of 128 bits.
    Neon,
    /// x86-64-v3: vectors of 256 bits with fused multiply-add.
    Avx2,
    /// x86-64-v4: vectors of 512 bits and twice as many registers.
    Avx512,
}

impl InstructionSet {
    /// All of them.
    pub const ALL: [InstructionSet; 5] = [
        InstructionSet::Scalar,
        InstructionSet::WasmSimd,
        InstructionSet::Neon,
        InstructionSet::Avx2,
        InstructionSet::Avx512,
    ];

    /// The best one that this machine has.
    pub fn best() -> InstructionSet {
        let mut sets = InstructionSet::ALL.into_iter().rev();
        sets.find(|set| set.is_available())
            .unwrap_or(InstructionSet::Scalar)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            InstructionSet::Scalar => true,
            InstructionSet::WasmSimd => {
                cfg!(all(target_arch = "wasm32", target_feature = "simd128"))
            }
            InstructionSet::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            InstructionSet::Avx2 | InstructionSet::Avx512 => false,
        }
    }

    /// Its name, as `WGRAD_CPU` takes it.
    pub fn name(self) -> &'static str {
        match self {
            InstructionSet::Scalar => "scalar",
            InstructionSet::WasmSimd => "simd128",
            InstructionSet::Neon => "neon",
            InstructionSet::Avx2 => "avx2",
            InstructionSet::Avx512 => "avx512",
        }
    }

    /// What the environment variable `WGRAD_CPU` asks for; without it the best that the machine has.
    pub(crate) fn wanted() -> Result<InstructionSet, String> {
        let wish = std::env::var("WGRAD_CPU").unwrap_or_default();
        if wish.is_empty() {
            return Ok(InstructionSet::best());
        }
        let set = wish.parse().and_then(InstructionSet::check);
        set.map_err(|error| format!("WGRAD_CPU={wish}: {error}"))
    }

    /// The set, if this machine has it.
    pub(crate) fn check(self) -> Result<InstructionSet, String> {
        match self.is_available() {
            true => Ok(self),
            false => Err(format!(
                "this machine does not have {self}; its best is {}",
                InstructionSet::best()
            )),
        }
    }

    /// Runs `task` with the loops of this thread using this set, which must be available.
    pub(crate) fn during<R>(self, task: impl FnOnce() -> R) -> R {
        struct Restore(Option<InstructionSet>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self)));
        task()
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for InstructionSet {
    type Err = String;

    fn from_str(name: &str) -> Result<InstructionSet, String> {
        let mut sets = InstructionSet::ALL.into_iter();
        sets.find(|set| set.name() == name).ok_or_else(|| {
            let names = InstructionSet::ALL.map(InstructionSet::name);
            format!(
                "no instruction set {name:?}; there are {}",
                names.join(", ")
            )
        })
    }
}

thread_local! {
    /// What the device that this thread works for uses.
    static CURRENT: Cell<Option<InstructionSet>> = const { Cell::new(None) };
}

/// What this thread's loops use.
pub(crate) fn current() -> InstructionSet {
    CURRENT.get().unwrap_or_else(InstructionSet::best)
}

/// Runs `task` compiled for the instruction set that this thread's loops use.
#[inline]
pub(crate) fn dispatch<F: WithSimd>(task: F) -> F::Output {
    match current() {
        InstructionSet::Scalar => Simd::vectorize(Scalar, task),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 if let Some(simd) = pulp::x86::V3::try_new() => {
            Simd::vectorize(simd, task)
        }
        // The best one there is.
        _ => Arch::new().dispatch(task),
    }
}

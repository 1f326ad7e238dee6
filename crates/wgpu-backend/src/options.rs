//! How a device is opened.

use std::time::Duration;

/// Which matrix product kernel to use where several fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum MatmulChoice {
    /// By shape and adapter.
    #[default]
    Auto,
    /// Barrier-free: up to 8 x 8 elements in each thread's registers.
    Registers,
    /// Barrier-free: the lanes of a subgroup share the rows of A. Where subgroups all have one
    /// known size; elsewhere as `Registers`.
    Lanes,
    /// Tiles of 64 x 64 in workgroup memory, 4 x 4 per thread.
    Tile64,
    /// Tiles of 128 x 128 in workgroup memory, 8 x 8 per thread.
    Tile128,
    /// A reduction for each element of the result.
    Dot,
    /// Tiles of 64 x 64 with `k` split into parts that are summed by a second launch.
    SplitK,
}

/// How attention is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum AttentionChoice {
    /// By the kernels for the type of the adapter. On one that runs on the CPU, where workgroups that wait for each other
    /// are slow, these need subgroups of a known size and heads of up to 64; else plain operations compute it there, where
    /// the scores are few.
    #[default]
    Auto,
    /// By the kernels with workgroup memory, everywhere.
    Flash,
}

/// Which family of kernels to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum KernelSet {
    /// By the type of the adapter.
    #[default]
    Auto,
    /// Kernels with workgroup memory and barriers.
    Hardware,
    /// Kernels without barriers, which are slow where the CPU plays the GPU.
    Software,
}

/// How to open a device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WgpuOptions {
    /// Part of the adapter's name (case does not matter).
    pub adapter: Option<String>,
    /// The adapter's position in [`adapters`](crate::adapters).
    pub index: Option<usize>,
    /// Accept an adapter that runs on the CPU. One asked for by name or index is always accepted.
    pub allow_software: bool,
    /// Keep wgpu's bounds and loop checks in kernels.
    pub checked_kernels: bool,
    /// Most bytes to hold from the driver.
    pub memory_limit: Option<usize>,
    /// Fill every buffer that is handed out with 0xFF, so that reads of undefined memory show.
    pub poison: bool,
    /// Only what the WebGPU standard has.
    pub strict: bool,
    /// Pass parameters in uniform buffers even where immediates are available.
    pub no_immediates: bool,
    /// Estimated work after which a run goes on in another submit, because a system resets a GPU
    /// that is busy for seconds. 100 ms where not given; adapters that run on the CPU are not reset.
    pub submit_after: Option<Duration>,
    /// Time all ways to compute a matrix product when its shape is first met, and keep the
    /// fastest, instead of choosing by a table. Each is checked before it is timed. Takes about
    /// 20 ms for each of them, and their compilation. Not in browsers.
    pub tune: bool,
    /// The matrix product kernel.
    pub matmul: MatmulChoice,
    /// How attention is computed.
    pub attention: AttentionChoice,
    /// The family of kernels.
    pub kernels: KernelSet,
}

/// What an adapter is, for a person to choose by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdapterSummary {
    /// Position, for [`WgpuOptions::index`].
    pub index: usize,
    /// The name that the driver gives.
    pub name: String,
    /// The graphics interface: `Vulkan`, `Metal`, ...
    pub api: String,
    /// The driver.
    pub driver: String,
    /// Whether it runs on the CPU.
    pub software: bool,
}

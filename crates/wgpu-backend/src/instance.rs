//! wgpu's entry point: the adapters of this machine, found without a window system.

/// The adapters; `strict` restricts them to what the WebGPU standard has.
pub(crate) async fn find_adapters(strict: bool) -> Vec<wgpu::Adapter> {
    // Validation layers are for debugging wgpu itself; WGPU_VALIDATION=1 turns them on.
    let mut flags = wgpu::InstanceFlags::empty().with_env();
    #[cfg(all(unix, not(target_os = "android"), not(target_vendor = "apple")))]
    if !strict && let Some(adapters) = without_windows(flags) {
        return adapters;
    }
    if strict {
        flags.insert(wgpu::InstanceFlags::STRICT_WEBGPU_COMPLIANCE);
    }
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.flags = flags;
    enumerate(&wgpu::Instance::new(descriptor)).await
}

#[cfg(not(target_arch = "wasm32"))]
async fn enumerate(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    instance.enumerate_adapters(wgpu::Backends::PRIMARY).await
}

/// A browser does not list adapters, it offers one.
#[cfg(target_arch = "wasm32")]
async fn enumerate(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    };
    instance
        .request_adapter(&options)
        .await
        .into_iter()
        .collect()
}

/// The adapters of a Vulkan instance that asks for no window system; `None` where there is no Vulkan.
///
/// wgpu enables the surface extensions of X11 and Wayland wherever a driver has them. Mesa's layer
/// that chooses the default device takes them for a sign that it should ask the display server, and
/// where there is none libwayland prints an error, twice for every look at the adapters. Under
/// `strict`, wgpu filters what adapters offer while it lists them, so that goes its usual way.
#[cfg(all(unix, not(target_os = "android"), not(target_vendor = "apple")))]
fn without_windows(flags: wgpu::InstanceFlags) -> Option<Vec<wgpu::Adapter>> {
    use wgpu::hal::{self, Instance as _};

    const WINDOWS: [&std::ffi::CStr; 3] = [
        c"VK_KHR_wayland_surface",
        c"VK_KHR_xcb_surface",
        c"VK_KHR_xlib_surface",
    ];
    let description = hal::InstanceDescriptor {
        name: "wgrad",
        flags,
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds::default(),
        backend_options: wgpu::BackendOptions::default(),
        telemetry: None,
        display: None,
    };
    // SAFETY: the descriptor is plain data. The callback takes three names from the list of
    // extensions, which is what the instance is created with and what it remembers, so both agree.
    // wgpu-hal asks not to do so because its users may make surfaces: it looks the extension up in
    // that list before it makes one, and here nobody does.
    let vulkan = unsafe {
        hal::vulkan::Instance::init_with_callback(
            &description,
            Some(Box::new(|arguments| {
                arguments.extensions.retain(|name| !WINDOWS.contains(name));
            })),
        )
    };
    let vulkan = match vulkan {
        Ok(vulkan) => vulkan,
        Err(problem) => {
            tracing::debug!("no Vulkan: {problem}");
            return None;
        }
    };
    // One made from `vulkan` itself would not have these flags, but checks of indirect dispatches,
    // which limit buffers to 4 GiB.
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.flags = flags;
    descriptor.backends = wgpu::Backends::empty();
    let instance = wgpu::Instance::new(descriptor);
    // SAFETY: the instance was just made.
    let found = unsafe { vulkan.enumerate_adapters(None) };
    let adapters = found.into_iter().map(|adapter| {
        // SAFETY: wgpu asks for an adapter of its own instance, so that surfaces, of which there are
        // none here, and adapters fit together. The adapter keeps what it needs of `vulkan` alive.
        unsafe { instance.create_adapter_from_hal::<hal::api::Vulkan>(adapter) }
    });
    Some(adapters.collect())
}

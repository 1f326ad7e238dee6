//! A kernel that a device's compiler refuses is reported with the line that recorded it.

use wgrad_core::{
    Backend, BoxFuture, Buffer, Device, Error, Executable, Kernel, Limits, Plan, ReadBack, Result,
    Stats, Tensor,
};
use wgrad_cpu_backend::{CpuBackend, CpuOptions};

/// The CPU, whose compiler takes no softmax.
struct Picky(CpuBackend);

impl Backend for Picky {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn is_cpu(&self) -> bool {
        true
    }
    fn limits(&self) -> &Limits {
        self.0.limits()
    }
    fn allocate(&self, bytes: usize) -> Result<Buffer> {
        self.0.allocate(bytes)
    }
    fn write(&self, buffer: &Buffer, offset: usize, bytes: &[u8]) -> Result<()> {
        self.0.write(buffer, offset, bytes)
    }
    fn read(
        &self,
        buffer: Option<&Buffer>,
        offset: usize,
        bytes: usize,
    ) -> BoxFuture<Result<ReadBack>> {
        self.0.read(buffer, offset, bytes)
    }
    fn clear(&self, buffer: &Buffer) -> Result<()> {
        self.0.clear(buffer)
    }
    fn copy(
        &self,
        source: &Buffer,
        source_offset: usize,
        target: &Buffer,
        target_offset: usize,
        bytes: usize,
    ) -> Result<()> {
        self.0
            .copy(source, source_offset, target, target_offset, bytes)
    }
    fn compile(&self, plan: &Plan) -> Result<Box<dyn Executable>> {
        let rows = |kernel: &Kernel| matches!(kernel, Kernel::Rows(_));
        if plan.launches.iter().any(|launch| rows(&launch.kernel)) {
            return Err(Error::Device("the kernel of rows does not compile".into()));
        }
        self.0.compile(plan)
    }
    fn synchronize(&self) -> Result<()> {
        self.0.synchronize()
    }
    fn stats(&self) -> Stats {
        self.0.stats()
    }
    fn trim(&self) {
        self.0.trim();
    }
}

#[test]
fn a_refused_kernel_names_its_line() {
    let dev = Device::new(Picky(CpuBackend::new(CpuOptions::default())), true);
    let x = Tensor::new([[1.0, 2.0]], &dev);
    let sum = (&x + 1.0).sum();
    let line = line!() + 1;
    let y = x.softmax(1);
    let error = (&y * 2.0).sum().item::<f32>().unwrap_err().to_string();
    let place = format!("refused.rs:{line}:");
    assert!(
        error.contains("the kernel of rows does not compile (") && error.contains(&place),
        "{error}"
    );
    // Of one run, whose nodes fail together; the device goes on.
    assert!(sum.item::<f32>().is_err());
    assert_eq!((&x + 1.0).sum().item::<f32>().unwrap(), 5.0);
}

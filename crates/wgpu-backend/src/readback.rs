//! Reads by the host.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_intrusive::channel::shared::oneshot_channel;
use wgrad_core::{BoxFuture, Buffer, Error, Fault, ReadBack, Result};

use crate::counters::Counters;
use crate::device::Gpu;
use crate::pool::{Block, GpuBuffer, Purpose};

/// Bytes of the fault word.
pub(crate) const FAULT_BYTES: usize = 16;

/// A staging buffer that goes back to the pool whatever becomes of the read.
struct Staging {
    block: Block,
    gpu: Arc<Gpu>,
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.block.buffer.unmap();
        self.gpu.give_block(Purpose::Staging, self.block.clone());
    }
}

/// Encodes and submits the copy at once, so that it sees what was asked before, and returns the
/// wait for it. The fault word travels behind the data in the same buffer.
pub(crate) fn read(
    gpu: &Arc<Gpu>,
    buffer: Option<&Buffer>,
    offset: usize,
    bytes: usize,
) -> BoxFuture<Result<ReadBack>> {
    match start(gpu, buffer, offset, bytes) {
        Ok((staging, index)) => Box::pin(finish(staging, index, bytes)),
        Err(error) => Box::pin(std::future::ready(Err(error))),
    }
}

fn start(
    gpu: &Arc<Gpu>,
    buffer: Option<&Buffer>,
    offset: usize,
    bytes: usize,
) -> Result<(Staging, wgpu::SubmissionIndex)> {
    gpu.check()?;
    let padded = bytes.div_ceil(4) * 4;
    let source = match buffer {
        Some(buffer) if bytes > 0 => Some(GpuBuffer::of(gpu, buffer, offset, padded)?),
        _ => None,
    };
    if !offset.is_multiple_of(4) || (bytes > 0 && source.is_none()) {
        return Err(Error::Device(format!("read of {bytes} bytes at {offset}")));
    }
    let block = gpu.take_block(Purpose::Staging, padded + FAULT_BYTES)?;
    let staging = Staging {
        block,
        gpu: gpu.clone(),
    };
    let target = &staging.block.buffer;
    let mut encoder = gpu.encoder();
    if let Some(source) = source {
        let from = &source.block().buffer;
        encoder.copy_buffer_to_buffer(from, offset as u64, target, 0, padded as u64);
    }
    encoder.copy_buffer_to_buffer(&gpu.fault, 0, target, padded as u64, FAULT_BYTES as u64);
    if gpu.fault_armed.swap(false, Ordering::Relaxed) {
        encoder.clear_buffer(&gpu.fault, 0, None);
    }
    Counters::add(&gpu.counters.reads, 1);
    let index = gpu.submit(encoder);
    gpu.check()?;
    Ok((staging, index))
}

async fn finish(staging: Staging, index: wgpu::SubmissionIndex, bytes: usize) -> Result<ReadBack> {
    let gpu = staging.gpu.clone();
    let padded = bytes.div_ceil(4) * 4;
    let (sender, receiver) = oneshot_channel();
    let total = (padded + FAULT_BYTES) as u64;
    staging
        .block
        .buffer
        .map_async(wgpu::MapMode::Read, 0..total, move |result| {
            // The reader may be gone; then nobody wants to know.
            let _ = sender.send(result);
        });
    let mapped = wait(&gpu, index, receiver.receive()).await?;
    if !matches!(mapped, Some(Ok(()))) {
        return Err(gpu
            .check()
            .err()
            .unwrap_or_else(|| Error::Device("a buffer could not be mapped".into())));
    }
    let view = staging
        .block
        .buffer
        .get_mapped_range(0..total)
        .map_err(|e| Error::Device(e.to_string()))?;
    let word = |i: usize| {
        let at = padded + 4 * i;
        view.get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    };
    let fault = (word(0) != 0).then(|| Fault {
        code: word(0),
        value: (u64::from(word(1)) | (u64::from(word(2)) << 32)) as i64,
    });
    let bytes = view[..bytes].to_vec();
    drop(view);
    drop(staging);
    Ok(ReadBack { bytes, fault })
}

/// On native targets the wait is the device's own. Another thread that polls at the same moment
/// may have taken the answer to deliver it, which it then does at once: hence the second wait.
#[cfg(not(target_arch = "wasm32"))]
async fn wait<T>(
    gpu: &Gpu,
    index: wgpu::SubmissionIndex,
    answer: impl Future<Output = T>,
) -> Result<T> {
    use std::task::Poll;
    let polled = gpu.device.poll(wgpu::PollType::Wait {
        submission_index: Some(index),
        timeout: None,
    });
    let mut answer = std::pin::pin!(answer);
    std::future::poll_fn(|context| match (answer.as_mut().poll(context), &polled) {
        (Poll::Ready(value), _) => Poll::Ready(Ok(value)),
        (Poll::Pending, Err(problem)) => {
            let lost = gpu.failure.lost();
            Poll::Ready(Err(
                lost.unwrap_or_else(|| Error::Device(problem.to_string()))
            ))
        }
        (Poll::Pending, Ok(_)) => match gpu.failure.lost() {
            Some(lost) => Poll::Ready(Err(lost)),
            None => Poll::Pending,
        },
    })
    .await
}

#[cfg(target_arch = "wasm32")]
async fn wait<T>(
    _gpu: &Gpu,
    _index: wgpu::SubmissionIndex,
    answer: impl Future<Output = T>,
) -> Result<T> {
    Ok(answer.await)
}

//! Bringing values to the host: the only places that wait.

use crate::kernel::backend::ReadBack;
use crate::record::node::State;
use crate::run;
use crate::tensor::views;
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::element::Element;
use crate::types::error::{Error, Place, Result};

impl Tensor {
    /// The elements in row-major order. Runs what has been recorded and waits for the result.
    ///
    /// # Errors
    /// A failed tensor's error, what a run can fail with, and [`Error::DType`] if `E` is not the
    /// tensor's element type.
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn to_vec<E: Element>(&self) -> Result<Vec<E>> {
        let place = Place::caller();
        pollster::block_on(place.within(|| self.to_vec_async()))
    }

    /// [`Tensor::to_vec`] without blocking the thread. What has been recorded is run, and the copy
    /// is asked for, before this returns: later steps do not change what is read.
    ///
    /// # Errors
    /// As `to_vec`.
    #[track_caller]
    pub fn to_vec_async<E: Element>(&self) -> impl Future<Output = Result<Vec<E>>> + use<E> {
        let place = Place::caller();
        let bytes = self
            .check_type::<E>("to_vec", place)
            .and_then(|()| self.fetch(place));
        async move { Ok(E::from_bytes(&bytes?.await?)) }
    }

    /// The value of a tensor of one element.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`], and [`Error::Shape`] if there is not exactly one element.
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn item<E: Element>(&self) -> Result<E> {
        let place = Place::caller();
        pollster::block_on(place.within(|| self.item_async()))
    }

    /// [`Tensor::item`] without blocking the thread.
    ///
    /// # Errors
    /// As `item`.
    #[track_caller]
    pub fn item_async<E: Element>(&self) -> impl Future<Output = Result<E>> + use<E> {
        let place = Place::caller();
        let bytes = self.check_type::<E>("item", place).and_then(|()| {
            let shape = self.shape()?;
            if shape.numel() != 1 {
                let problem = format!("shape {shape} has {} elements, not one", shape.numel());
                return Err(Error::shape("item", place, problem));
            }
            self.fetch(place)
        });
        async move {
            let values = E::from_bytes(&bytes?.await?);
            values
                .first()
                .copied()
                .ok_or_else(|| Error::shape("item", place, "no element"))
        }
    }

    /// The elements' bytes in row-major order, as [`DType::size`] says (one byte per bool).
    ///
    /// # Errors
    /// As `to_vec`.
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let place = Place::caller();
        pollster::block_on(self.fetch(place)?)
    }

    /// A copy on another device, without history. Waits for the data.
    ///
    /// # Errors
    /// What reading can fail with. What the other device cannot hold makes a failed tensor.
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn to_device(&self, device: &crate::tensor::device::Device) -> Result<Tensor> {
        let place = Place::caller();
        if self.device() == device {
            return self.detach().checked();
        }
        let (shape, dtype) = (self.shape()?, self.dtype()?);
        let bytes = pollster::block_on(self.fetch(place)?)?;
        if dtype == DType::I64 && !device.limits()?.has(DType::I64) {
            let values = i64::from_bytes(&bytes);
            return place
                .within(|| Tensor::from_vec(values, shape, device))
                .checked();
        }
        crate::tensor::check_size("to_device", device, &shape, dtype, place)?;
        crate::tensor::create::upload(&bytes, shape, dtype, device, place)
    }

    fn check_type<E: Element>(&self, op: &'static str, place: Place) -> Result<()> {
        let dtype = self.dtype()?;
        // Without 64-bit integers the device keeps them as i32; the caller sees that type.
        if dtype == E::DTYPE {
            return Ok(());
        }
        let problem = format!(
            "the tensor holds {dtype}, not {}; convert with to_dtype first",
            E::DTYPE
        );
        Err(Error::dtype(op, place, problem))
    }

    /// Runs what is pending and asks for the bytes.
    fn fetch(&self, place: Place) -> Result<impl Future<Output = Result<Vec<u8>>> + use<>> {
        let mut value = self.capture()?;
        let device = value.node.device.clone();
        if !value.layout().is_contiguous() {
            value = Value {
                history: None,
                ..value
            };
            value = views::copy(&value, place)?;
        }
        run::run(&device, &[&value.node], None)?;
        let storage = match &*value.node.state() {
            State::Done(storage) => storage.clone(),
            State::Failed(error) => return Err(error.clone()),
            _ => return Err(Error::Device("a run was interrupted by a panic".into())),
        };
        let (numel, dtype) = (value.shape().numel(), value.dtype());
        let size = device.element_size(dtype);
        // Reads are in whole words: widen the range, cut afterwards.
        let start = storage.offset + value.layout().offset * size;
        let (first, last) = (start / 4 * 4, (start + numel * size).next_multiple_of(4));
        let read = device.open()?.backend.read(
            (numel > 0).then_some(&storage.buffer),
            first,
            if numel > 0 { last - first } else { 0 },
        );
        Ok(async move {
            let read: ReadBack = read.await?;
            device.take_fault(&read)?;
            let bytes = if numel == 0 {
                Vec::new()
            } else if start == first && read.bytes.len() == numel * size {
                read.bytes
            } else {
                read.bytes[start - first..start - first + numel * size].to_vec()
            };
            drop(value); // keeps the storage from being overwritten until here
            Ok(if dtype == DType::Bool && size == 4 {
                bytes
                    .chunks_exact(4)
                    .map(|w| u8::from(w.iter().any(|&b| b != 0)))
                    .collect()
            } else {
                bytes
            })
        })
    }
}

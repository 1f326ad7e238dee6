//! Between storage types and registers: 16-bit floats are widened when loaded and rounded when
//! stored, everything else is copied.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use wgrad_core::DType;

/// Loads `n` elements into a register.
///
/// # Safety
/// `source` is readable and `register` writable for `n` elements of their types, aligned, and they
/// do not overlap.
pub(crate) unsafe fn load(dtype: DType, source: *const u8, register: *mut u8, n: usize) {
    // SAFETY: the caller's promise; all bit patterns are floats.
    unsafe {
        match dtype {
            DType::F16 => std::slice::from_raw_parts(source.cast::<f16>(), n)
                .convert_to_f32_slice(std::slice::from_raw_parts_mut(register.cast(), n)),
            DType::BF16 => std::slice::from_raw_parts(source.cast::<bf16>(), n)
                .convert_to_f32_slice(std::slice::from_raw_parts_mut(register.cast(), n)),
            _ => std::ptr::copy_nonoverlapping(source, register, n * dtype.size()),
        }
    }
}

/// Stores a register's first `n` elements.
///
/// # Safety
/// As for [`load`]; where `dtype` is its own compute type, `target` may overlap the block.
pub(crate) unsafe fn store(dtype: DType, block: *const u8, target: *mut u8, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            DType::F16 => std::slice::from_raw_parts_mut(target.cast::<f16>(), n)
                .convert_from_f32_slice(std::slice::from_raw_parts(block.cast(), n)),
            DType::BF16 => std::slice::from_raw_parts_mut(target.cast::<bf16>(), n)
                .convert_from_f32_slice(std::slice::from_raw_parts(block.cast(), n)),
            _ if std::ptr::eq(block, target) => {}
            _ => std::ptr::copy(block, target, n * dtype.size()),
        }
    }
}

/// Fills a register with one stored element.
///
/// # Safety
/// `element` is readable and `register` holds `n` elements.
pub(crate) unsafe fn splat(dtype: DType, element: *const u8, register: *mut u8, n: usize) {
    if n == 0 {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        load(dtype, element, register, 1);
        let run = crate::cursor::run_of(dtype.compute().size());
        let mut value = 0u64;
        let copy = std::ptr::from_mut(&mut value).cast::<u8>();
        std::ptr::copy_nonoverlapping(register, copy, dtype.compute().size());
        run(copy, 0, register, n);
    }
}

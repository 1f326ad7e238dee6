//! More elements than are stored: views by stride 0 whose lengths do not fit where kernels count.

mod devices;

use devices::{cpu, gpu};
use wgrad::prelude::*;

/// Both devices.
fn both() -> impl Iterator<Item = Device> {
    std::iter::once(cpu()).chain(gpu())
}

#[track_caller]
fn assert_too_large(t: &Tensor, op: &str) {
    match t.error() {
        Some(Error::TooLarge { op: named, .. }) => assert_eq!(named, op),
        other => panic!("{op}: {other:?}"),
    }
}

#[test]
fn a_row_of_140_million() {
    const N: usize = 140_000_000;
    for dev in both() {
        let one = Tensor::from_vec(vec![1f32], 1, &dev);
        let row = one.expand([N]);
        assert_eq!(row.sum().item::<f32>().unwrap(), N as f32, "{dev}");
        assert_eq!(row.mean().item::<f32>().unwrap(), 1.0, "{dev}");
        assert_eq!(row.max().item::<f32>().unwrap(), 1.0, "{dev}");
        assert_eq!(row.argmin(.., false).item::<i32>().unwrap(), 0, "{dev}");
        let truth = Tensor::from_vec(vec![true], 1, &dev).expand([N]);
        assert!(truth.any().item::<bool>().unwrap(), "{dev}");
        assert!(truth.all().item::<bool>().unwrap(), "{dev}");
        // Several rows, several columns.
        let some = Tensor::from_vec(vec![1f32, 2.0, 3.0, 4.0, 5.0], 5, &dev);
        let rows = some.unsqueeze(1).expand([5, N / 4]).sum_dims([1], false);
        let columns = some.unsqueeze(0).expand([N / 4, 5]).sum_dims([0], false);
        let quarter = (N / 4) as f32;
        let want: Vec<f32> = (1..6).map(|i| i as f32 * quarter).collect();
        assert_eq!(rows.to_vec::<f32>().unwrap(), want, "rows on {dev}");
        assert_eq!(columns.to_vec::<f32>().unwrap(), want, "columns on {dev}");
    }
}

#[test]
fn products_of_140_million_terms() {
    const K: usize = 140_000_000;
    for dev in both() {
        let x = Tensor::from_vec(vec![0.5f32, 1.0], [2, 1], &dev).expand([2, K]);
        let y = Tensor::from_vec(vec![1f32], [1, 1], &dev).expand([K, 1]);
        let got = x.matmul(&y).to_vec::<f32>().unwrap();
        let want = [K as f32 / 2.0, K as f32];
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() <= 1e-5 * w, "{g} but expected {w} on {dev}");
        }
    }
}

#[test]
fn a_row_of_softmax_longer_than_a_driver_s_loops() {
    const N: usize = 70_000_000;
    for dev in both() {
        let x = Tensor::from_vec(vec![0.5f32], [1, 1], &dev).expand([1, N]);
        let got = x.logsumexp(1, false).to_vec::<f32>().unwrap()[0];
        let want = 0.5 + (N as f64).ln();
        assert!(
            (f64::from(got) - want).abs() < 1e-4,
            "{got} but expected {want} on {dev}"
        );
    }
}

#[test]
fn lengths_that_do_not_fit_32_bits() {
    const N: usize = 1 << 32;
    for dev in both() {
        let x = Tensor::from_vec(vec![1f32], 1, &dev);
        let row = x.expand([N]);
        assert_too_large(&row.argmax(.., false), "argmax");
        if dev.is_cpu() {
            assert_eq!(row.sum().item::<f32>().unwrap(), N as f32);
            continue;
        }
        assert_too_large(&row.sum(), "sum");
        assert_too_large(&row.max(), "max");
        assert_too_large(&row.mean(), "sum");
        assert_too_large(&x.expand([1 << 16, 1 << 16]).sum_dims([1], false), "sum");
        assert_too_large(&row.unsqueeze(0).logsumexp(1, false), "logsumexp");
        assert_too_large(&row.unsqueeze(0).matmul(&row.unsqueeze(1)), "matmul");
        assert_too_large(&(row * 2.0), "mul");
        let zero = Tensor::from_vec(vec![0i32], 1, &dev);
        assert_too_large(&x.index_select(0, &zero.expand([N])), "index_select");
        assert_too_large(&Tensor::cat(&[x.expand([N]), x.clone()], 0), "cat");
        // What its driver's loops cannot walk is an error, not a number.
        if dev.name().contains("software") {
            let sum = x.unsqueeze(0).expand([1, 1 << 30]).logsumexp(1, false);
            assert!(matches!(sum.to_vec::<f32>(), Err(Error::Device(_))));
        }
        // The device still works.
        assert_eq!(x.item::<f32>().unwrap(), 1.0);
    }
}

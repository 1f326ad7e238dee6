//! Rows that are turned by their position.

use wgrad::RotaryOptions;

use super::*;

#[test]
fn products_of_turned_rows_depend_on_their_distance() {
    for dev in everywhere() {
        let (q, k) = (tensor(1, &[1, 16], &dev), tensor(2, &[1, 16], &dev));
        for interleaved in [false, true] {
            let at = |x: &Tensor, offset: usize| {
                let options = RotaryOptions {
                    offset,
                    interleaved,
                    ..Default::default()
                };
                x.rotary_embedding_with(options)
            };
            let product = |i: usize, j: usize| -> Vec<f32> {
                (at(&q, i) * at(&k, j)).sum().to_vec().unwrap()
            };
            let near = product(3, 1);
            assert_close(&product(12, 10), &near, 1e-4, 1e-5);
            assert!((product(3, 2)[0] - near[0]).abs() > 1e-2);
        }
    }
}

#[test]
fn turning_is_two_launches_and_replays_at_other_offsets() {
    for dev in [Some(cpu()), flash_gpu()].into_iter().flatten() {
        let x = tensor(1, &[2, 3, 8], &dev);
        dev.synchronize().unwrap();
        let mut misses = 0;
        for offset in 0..3 {
            let before = dev.stats();
            let options = RotaryOptions {
                offset,
                ..Default::default()
            };
            let y = x.rotary_embedding_with(options);
            dev.synchronize().unwrap();
            let after = dev.stats();
            // The sines and cosines of all rows, and the turn of all heads.
            assert!(after.launches - before.launches <= 2, "{dev}");
            if offset > 0 {
                assert_eq!(after.plan_misses, misses, "{dev}");
            }
            misses = after.plan_misses;
            drop(y);
        }
    }
}

//! Devices used from the tasks of a thread pool.

mod devices;

use std::sync::mpsc;
use std::time::Duration;

use devices::{assert_close, cpu, fill, gpu};
use rayon::prelude::*;
use wgrad::prelude::*;

/// Every task reads results of kernels that are large enough for several threads, while others wait
/// for the device.
#[test]
fn tasks_of_a_thread_pool_share_a_device() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        let (send, receive) = mpsc::channel();
        let worker = std::thread::spawn(move || {
            let n = 256;
            let w = Tensor::from_vec(fill(1, n * n, 0.1), [n, n], &dev);
            let forward = |i: u64| -> Vec<f32> {
                let x = Tensor::from_vec(fill(i, n * n, 1.0), [n, n], &dev);
                (x.matmul(&w).relu() + 1.0)
                    .sum_dims([1], false)
                    .to_vec()
                    .unwrap()
            };
            let want: Vec<Vec<f32>> = (0..4).map(forward).collect();
            // More threads than tasks at the device: some are free to take part in its kernels,
            // if these let them.
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(6)
                .build()
                .unwrap();
            let got: Vec<Vec<f32>> = pool.install(|| {
                let tasks = (0..300usize).into_par_iter().with_max_len(1);
                tasks
                    .map(|i| {
                        std::thread::sleep(Duration::from_micros(i as u64 * 7919 % 3000));
                        forward(i as u64 % 4)
                    })
                    .collect()
            });
            for (i, got) in got.iter().enumerate() {
                assert_close(got, &want[i % 4], 1e-5, 1e-5);
            }
            send.send(()).unwrap();
        });
        let done = receive.recv_timeout(Duration::from_secs(120));
        assert!(done.is_ok(), "the tasks hang, or failed");
        // A device must not close while the process ends: its driver has threads of its own.
        worker.join().expect("the tasks succeeded");
    }
}

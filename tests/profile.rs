//! Profiles: every kernel once, in order, with its time.

mod devices;

use devices::{cpu, gpu};
use wgrad::Profile;
use wgrad::prelude::*;

fn work(dev: &Device) -> (Vec<f32>, Profile) {
    let a = Tensor::from_vec(devices::fill(1, 90_000, 1.0), [300, 300], dev);
    let step = || (a.matmul(&a) + 1.0).relu().softmax(1).sum_dims([0], false);
    let plain: Vec<f32> = step().to_vec().unwrap();
    let (result, profile) = dev.profile(step).unwrap();
    let result: Vec<f32> = result.to_vec().unwrap();
    assert_eq!(result, plain, "timing changes nothing");
    (result, profile)
}

fn check(dev: &Device) {
    let before = dev.stats().launches;
    let (_, profile) = work(dev);
    assert_eq!(
        2 * profile.spans.len() as u64,
        dev.stats().launches - before
    );
    assert!(
        profile.spans[0]
            .name
            .starts_with("matmul 300x300x300 + 2 ops"),
        "{profile}"
    );
    assert!(profile.busy() > std::time::Duration::ZERO, "{profile}");
    for pair in profile.spans.windows(2) {
        assert!(pair[0].start <= pair[1].start, "{profile}");
    }
    let trace = profile.chrome_trace();
    assert_eq!(trace.matches("\"ph\":\"X\"").count(), profile.spans.len());
    assert!(profile.to_string().contains("  sum "), "{profile}");
    // Afterwards nothing is recorded any more, and another profile starts afresh.
    let (_, empty) = dev.profile(|| ()).unwrap();
    assert!(empty.spans.is_empty(), "{empty}");
}

#[test]
fn on_the_cpu() {
    check(&cpu());
}

#[test]
fn on_the_gpu() {
    let Some(dev) = gpu() else { return };
    match dev.profile(|| ()) {
        Ok(_) => check(&dev),
        Err(error) => assert!(error.to_string().contains("timestamp"), "{error}"),
    }
}

#[test]
fn the_recorded_graph_as_a_picture() {
    let dev = cpu();
    let x = Tensor::from_vec(vec![1.0f32; 6], [2, 3], &dev);
    let w = Tensor::from_vec(vec![0.5f32; 12], [4, 3], &dev).requires_grad();
    let loss = (x.linear(&w, None) * 2.0).relu().sum();
    let dot = loss.graph_dot().unwrap();
    assert!(
        dot.starts_with("digraph {") && dot.ends_with("}\n"),
        "{dot}"
    );
    for part in [
        "[label=\"sum\\nf32 []\\n",
        "[label=\"relu\\nf32 [2, 4]\\n",
        "[label=\"mul 2\\n",
        "[label=\"matmul\\n",
        "[shape=box, label=\"f32 [4, 3]\"]",
        "tests/profile.rs:",
        // The weight is read turned.
        " [label=\"[3, 4]\"];",
    ] {
        assert!(dot.contains(part), "{part} in\n{dot}");
    }
    // What has run is a value.
    let _ = loss.item::<f32>().unwrap();
    let dot = loss.graph_dot().unwrap();
    assert!(
        dot.contains("n0 [shape=box, label=\"f32 []\"]") && !dot.contains("->"),
        "{dot}"
    );
    // A diamond is drawn once.
    let y = &x + 1.0;
    let dot = (&y * &y).graph_dot().unwrap();
    assert_eq!(dot.matches("label=\"add 1").count(), 1, "{dot}");
    let failed = x.matmul(&x);
    assert!(failed.graph_dot().is_err());
}

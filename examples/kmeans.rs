//! k-means on irises: centers move to the means of the points that are nearest to them, until nothing changes.
//!
//! ```text
//! cargo run --release --example kmeans
//! cargo run --release --example kmeans -- --device cpu
//! ```
//!
//! The sum of squares within the clusters is compared with scikit-learn's (`examples/reference/classical.py`), from the
//! same three irises as first centers.

#[path = "place/mod.rs"]
mod place;

use clap::Parser;
use wgrad::data::sets;
use wgrad::nn::loss::within_cluster_sum_of_squares;
use wgrad::prelude::*;

/// scikit-learn's sum and sizes.
const WITHIN: f32 = 78.851441;
const SIZES: [i32; 3] = [50, 62, 38];

/// k-means on irises.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    place: place::Place,
}

fn main() -> Result<()> {
    let dev = Options::parse().place.open()?;
    let iris = sets::iris().to_batch(&dev);
    let mut centers = iris.x.index_select(0, &Tensor::new([0, 50, 100], &dev));
    let mut labels = Tensor::zeros([150], (DType::I32, &dev));
    for step in 1.. {
        let nearest = iris.x.cdist(&centers, 2.0).argmin([1], false);
        let moved = nearest.ne(&labels).any().item::<bool>()?;
        labels = nearest;
        let within = within_cluster_sum_of_squares(&iris.x, &centers, &labels);
        println!("step {step}: {:.4}", within.item::<f32>()?);
        if !moved {
            break;
        }
        // The means of the clusters, as a product: rows of 1 for the points of each.
        let members = labels.one_hot(3).to_dtype(DType::F32).t();
        centers = members.matmul(&iris.x) / members.sum_dims([1], true);
    }
    let within = within_cluster_sum_of_squares(&iris.x, &centers, &labels).item::<f32>()?;
    let sizes = labels.one_hot(3).sum_dims([0], false).to_dtype(DType::I32);
    println!("sizes {:?}", sizes.to_vec::<i32>()?);
    assert!((within - WITHIN).abs() < 1e-3, "{within}");
    assert_eq!(sizes.to_vec::<i32>()?, SIZES);

    // The same by gradients: the sum has a derivative in the centers.
    let centers = (&centers + 0.3).requires_grad();
    let mut sgd = Sgd::new(
        vec![centers.clone()],
        SgdOptions {
            lr: 5e-3,
            ..Default::default()
        },
    );
    for _ in 0..60 {
        sgd.zero_grad();
        let labels = no_grad(|| iris.x.cdist(&centers, 2.0).argmin([1], false));
        within_cluster_sum_of_squares(&iris.x, &centers, &labels).backward()?;
        sgd.step()?;
    }
    let labels = no_grad(|| iris.x.cdist(&centers, 2.0).argmin([1], false));
    let within = within_cluster_sum_of_squares(&iris.x, &centers, &labels).item::<f32>()?;
    println!("by gradients, from nearby: {within:.4}");
    assert!((within - WITHIN).abs() < 0.1, "{within}");
    Ok(())
}

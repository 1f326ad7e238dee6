//! `#[derive(Module)]` and training through the facade alone.

mod devices;

use wgrad::prelude::*;

#[derive(Module)]
struct Net {
    body: nn::Sequential,
    head: nn::Linear,
    scale: Tensor,
    #[module(buffer)]
    mean: Tensor,
    #[module(skip)]
    classes: usize,
}

impl Net {
    fn new(dev: &Device) -> Net {
        Net {
            body: nn::Sequential::new()
                .add(nn::Linear::new(4, 16, dev))
                .add(nn::Gelu)
                .add(nn::Dropout::new(0.1)),
            head: nn::Linear::new(16, 3, dev),
            scale: Tensor::ones([3], dev).requires_grad(),
            mean: Tensor::full([4], 0.5, dev).buffer(),
            classes: 3,
        }
    }
}

impl Forward for Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.body.forward(&(x - &self.mean)).in_module("body")?;
        (self.head.forward(&h)? * &self.scale).checked()
    }
}

#[test]
fn a_derived_network_trains_moves_and_interchanges() -> Result<()> {
    for dev in devices::all() {
        dev.seed(1);
        let net = Net::new(&dev);
        let names: Vec<String> = net.named_parameters().into_iter().map(|(n, _)| n).collect();
        let expected = [
            "body.0.weight",
            "body.0.bias",
            "head.weight",
            "head.bias",
            "scale",
        ];
        assert_eq!(names, expected);
        let mut adam = Adam::new(
            net.parameters(),
            AdamOptions {
                lr: 0.02,
                ..Default::default()
            },
        );
        let x = Tensor::from_vec(devices::fill(3, 48 * 4, 1.0), [48, 4], &dev);
        // Which of the first three numbers is the largest.
        let y = x.narrow(1, 0, net.classes).argmax(1, false);
        let loss = || -> Result<f32> {
            net.eval();
            let loss = no_grad(|| net.forward(&x))?.cross_entropy(&y).item();
            net.train();
            loss
        };
        let before = loss()?;
        for _ in 0..100 {
            adam.zero_grad();
            net.forward(&x)?.cross_entropy(&y).backward()?;
            let _norm = clip_grad_norm(&net.parameters(), 1.0)?;
            adam.step()?;
        }
        let after = loss()?;
        assert!(after < 0.3 * before, "{before} to {after} on {dev}");

        // The same network on the CPU, through a file.
        let name = format!("wgrad-modules-{}.safetensors", std::process::id());
        let file = std::env::temp_dir().join(name);
        net.save_safetensors(&file)?;
        let cpu = devices::cpu();
        let mut twin = Net::new(&cpu);
        twin.load_safetensors(&file, Strict)?;
        std::fs::remove_file(&file).ok();
        twin.eval();
        net.eval();
        let here: Vec<f32> = net.forward(&x)?.to_vec()?;
        let there: Vec<f32> = twin.forward(&x.to_device(&cpu)?)?.to_vec()?;
        for (a, b) in here.iter().zip(&there) {
            assert!((a - b).abs() < 1e-4, "{a} for {b}");
        }
        // And moved.
        twin.to_device(&dev)?;
        let moved: Vec<f32> = twin.forward(&x)?.to_vec()?;
        assert_eq!(moved, here);

        let error = net
            .body
            .forward(&Tensor::zeros([2, 3], &dev))
            .in_module("body");
        let text = error.unwrap_err().to_string();
        assert!(
            text.starts_with("body.0: Linear(4, 16): linear: "),
            "{text}"
        );
    }
    Ok(())
}

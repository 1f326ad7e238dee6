//! Transforms against torch's numbers (transforms.py wrote them) and against their formulas.

use wgrad::data::transform::{
    CenterCrop, ColorJitter, Compose, Filter, Flip, Normalize, Pad, Pixel, RandomCrop,
    RandomErasing, RandomResizedCrop, RandomRotation, Resize, Transform, crop, cutmix, grayscale,
    mixup, normalize, one_hot, rotate,
};
use wgrad::data::{Array, Batch, Random};
use wgrad::prelude::*;

const HEIGHT: usize = 7;
const WIDTH: usize = 10;

/// The image of transforms.py.
fn image() -> Array<f32> {
    let value = |i: usize| {
        let (c, y, x) = (i / (HEIGHT * WIDTH), i / WIDTH % HEIGHT, i % WIDTH);
        ((c * 31 + y * 7 + x * 13) * 17 % 64) as f32 / 63.0
    };
    let values = (0..2 * HEIGHT * WIDTH).map(value).collect();
    Array::new(values, [2, HEIGHT, WIDTH]).unwrap()
}

fn once<E: Pixel>(transform: &dyn Transform<E>, image: &Array<E>) -> Array<E> {
    transform.apply(image.clone(), &mut Random::new(0)).unwrap()
}

#[test]
fn resizing_and_rotating_are_torchs() {
    let mut cases = 0;
    for line in include_str!("transforms.txt").lines() {
        let (name, values) = line.split_once(": ").unwrap();
        let expected: Vec<f32> = values.split(' ').map(|v| v.parse().unwrap()).collect();
        let [kind, a, b] = name.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{name}")
        };
        let resized = |filter| {
            once(
                &Resize::to(a.parse().unwrap(), b.parse().unwrap()).filter(filter),
                &image(),
            )
        };
        let got = match kind {
            "bilinear" => resized(Filter::Bilinear),
            "linear" => resized(Filter::Linear),
            "nearest" => resized(Filter::Nearest),
            "rotate" => rotate(&image(), a.parse().unwrap(), Filter::Bilinear).unwrap(),
            other => panic!("{other}"),
        };
        assert_eq!(got.values().len(), expected.len(), "{name}");
        for (i, (a, b)) in got.values().iter().zip(&expected).enumerate() {
            assert!((a - b).abs() < 1e-5, "{name}, {i}: {a}, not {b}");
        }
        cases += 1;
    }
    assert_eq!(cases, 18);
}

#[test]
fn nearest_rotation_permutes_pixels() {
    let square = Array::new((0..25u8).collect(), [1, 5, 5]).unwrap();
    let quarter = |image: &Array<u8>| rotate(image, 90.0, Filter::Nearest).unwrap();
    let turned = quarter(&square);
    for (y, x) in (0..5).flat_map(|y| (0..5).map(move |x| (y, x))) {
        // Counterclockwise: the last column becomes the first row.
        assert_eq!(turned.values()[y * 5 + x], square.values()[x * 5 + 4 - y]);
    }
    assert_eq!(quarter(&quarter(&quarter(&turned))), square);
    assert_eq!(rotate(&image(), 360.0, Filter::Nearest).unwrap(), image());
}

#[test]
fn bytes_are_rounded_and_saturate() {
    let black_and_white = Array::new(vec![0u8, 255], [1, 1, 2]).unwrap();
    let wide = once(&Resize::to(1, 4), &black_and_white);
    assert_eq!(wide.values(), [0, 64, 191, 255]); // 63.75, 191.25
    let bright = ColorJitter {
        brightness: 10.0,
        ..Default::default()
    };
    let mut seen = 0;
    for seed in 0..20 {
        let changed = bright
            .apply(black_and_white.clone(), &mut Random::new(seed))
            .unwrap();
        assert_eq!(changed.values()[0], 0);
        seen += usize::from(changed.values()[1] == 255);
    }
    assert!(seen > 10);
}

#[test]
fn crops_and_borders() {
    let image = image();
    let at = |y: usize, x: usize| image.values()[y * WIDTH + x];
    let middle = once(&CenterCrop::new(4, 5), &image);
    // round(1.5) and round(2.5) to even: 2 and 2.
    assert_eq!(
        (middle.dims(), middle.values()[0]),
        (&[2, 4, 5][..], at(2, 2))
    );
    let larger = once(&CenterCrop::new(9, 13), &image);
    assert_eq!(larger.values()[13 + 1], at(0, 0));
    assert_eq!(larger.values()[0], 0.0);
    let padded = once(&Pad::new(2), &image);
    assert_eq!(padded.dims(), [2, 11, 14]);
    assert_eq!(crop(&padded, 2, 2, HEIGHT, WIDTH).unwrap(), image);
    assert_eq!(crop(&image, 100, -100, 1, 1).unwrap().values(), [0.0, 0.0]);
    assert_eq!(
        crop(&image, isize::MAX, isize::MIN, 1, 1).unwrap().values(),
        [0.0, 0.0]
    );

    // All places come, each as often.
    let mut counts = [0usize; 9];
    let mut random = Random::new(3);
    let digit = Array::new((1..=16).map(|v| v as f32).collect(), [1, 4, 4]).unwrap();
    for _ in 0..9000 {
        let part = RandomCrop::new(4, 4)
            .padding(1)
            .apply(digit.clone(), &mut random)
            .unwrap();
        let place = (0..9).find(|p| crop(&digit, p / 3 - 1, p % 3 - 1, 4, 4).unwrap() == part);
        counts[place.unwrap() as usize] += 1;
    }
    assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
    assert!(
        RandomCrop::new(5, 4)
            .apply(digit.clone(), &mut random)
            .is_err()
    );

    for seed in 0..200 {
        let crop = RandomResizedCrop::new(3, 4);
        let part = crop.apply(image.clone(), &mut Random::new(seed)).unwrap();
        assert_eq!(part.dims(), [2, 3, 4]);
        assert!(part.values().iter().all(|v| (0.0..=1.0).contains(v)));
    }
    let thin = Array::full(1.0f32, [1, 1, 50]);
    assert_eq!(
        once(&RandomResizedCrop::new(2, 2), &thin),
        Array::full(1.0, [1, 2, 2])
    );
}

#[test]
fn erasing_makes_rectangles_of_the_stated_area() {
    let white = Array::full(1.0f32, [2, 20, 30]);
    let mut random = Random::new(1);
    let mut changed = 0;
    for _ in 0..500 {
        let erased = RandomErasing::default()
            .apply(white.clone(), &mut random)
            .unwrap();
        let zero = |i: &usize| erased.values()[*i] == 0.0;
        let area = (0..600).filter(zero).count();
        assert_eq!(
            erased.values().iter().filter(|&&v| v == 0.0).count(),
            2 * area
        );
        if area > 0 {
            changed += 1;
            let rows: Vec<usize> = (0..600).filter(zero).map(|i| i / 30).collect();
            let columns: Vec<usize> = (0..600).filter(zero).map(|i| i % 30).collect();
            let side = |v: &[usize]| v.iter().max().unwrap() - v.iter().min().unwrap() + 1;
            assert_eq!(side(&rows) * side(&columns), area);
            assert!((0.01..0.36).contains(&(area as f64 / 600.0)), "{area}");
        }
    }
    assert!((200..300).contains(&changed), "{changed}");
    for _ in 0..100 {
        let cut = RandomErasing::cutout(6)
            .apply(white.clone(), &mut random)
            .unwrap();
        let area = cut.values()[..600].iter().filter(|&&v| v == 0.0).count();
        assert!((9..=36).contains(&area), "{area}");
    }
}

#[test]
fn chances_are_as_stated_and_repeatable() {
    let image = image();
    let steps = || {
        Compose::new()
            .then(Flip::horizontal(0.25))
            .then(RandomRotation::new(20.0))
            .sometimes(0.5, RandomErasing::cutout(2))
    };
    let twice = [0, 1].map(|_| steps().apply(image.clone(), &mut Random::new(9)).unwrap());
    assert_eq!(twice[0], twice[1]);
    let mut random = Random::new(2);
    let flipped = (0..4000).filter(|_| {
        Flip::vertical(0.25)
            .apply(image.clone(), &mut random)
            .unwrap()
            != image
    });
    let flipped = flipped.count();
    assert!((900..1100).contains(&flipped), "{flipped}");
    assert_eq!(once(&Flip::horizontal(0.0), &image), image);
}

#[test]
fn colours_change_by_their_formulas() {
    let image = Array::new(vec![0.2f32, 0.6, 0.4, 0.5, 0.1, 0.3], [3, 1, 2]).unwrap();
    let gray = grayscale(&image).unwrap();
    let expected = [
        0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.1,
        0.299 * 0.6 + 0.587 * 0.5 + 0.114 * 0.3,
    ];
    assert!(
        gray.values()
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-6)
    );
    for seed in 0..50 {
        let apply =
            |jitter: ColorJitter| jitter.apply(image.clone(), &mut Random::new(seed)).unwrap();
        let bright = apply(ColorJitter {
            brightness: 0.3,
            ..Default::default()
        });
        let factor = bright.values()[0] / 0.2;
        assert!((0.7..=1.3).contains(&factor));
        for (a, b) in bright.values().iter().zip(image.values()) {
            assert!((a - factor * b).abs() < 1e-6);
        }
        // Towards the mean luminance, all alike.
        let contrast = apply(ColorJitter {
            contrast: 0.3,
            ..Default::default()
        });
        let mean = (expected[0] + expected[1]) / 2.0;
        let factor = (contrast.values()[0] - mean) / (0.2 - mean);
        assert!((0.69..=1.31).contains(&factor));
        for (a, b) in contrast.values().iter().zip(image.values()) {
            assert!((a - (mean + factor * (b - mean))).abs() < 1e-5);
        }
        // The luminance stays.
        let saturated = apply(ColorJitter {
            saturation: 0.3,
            ..Default::default()
        });
        let after = grayscale(&saturated).unwrap();
        assert!(
            after
                .values()
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-5)
        );
        assert_ne!(saturated, image);
    }
    assert!(
        ColorJitter {
            hue: 0.1,
            ..Default::default()
        }
        .apply(Array::full(0.5f32, [1, 2, 2]), &mut Random::new(0))
        .is_err()
    );
}

#[test]
fn wrong_images_are_errors() {
    let flat = || Array::full(0.5f32, [4, 4]);
    let mut random = Random::new(0);
    let all: [&dyn Transform<f32>; 9] = [
        &Resize::to(2, 2),
        &CenterCrop::new(2, 2),
        &Pad::new(1),
        &RandomCrop::new(2, 2),
        &RandomResizedCrop::new(2, 2),
        &Flip::horizontal(1.0),
        &RandomRotation::new(3.0),
        &RandomErasing::default(),
        &Normalize::new(&[0.5], &[0.5]),
    ];
    for transform in all {
        let error = transform.apply(flat(), &mut random).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        // Images without pixels.
        for dims in [[0, 4, 4], [1, 0, 4], [1, 4, 0]] {
            let _ = transform.apply(Array::full(0.5, dims), &mut random);
        }
    }
    assert!(
        Normalize::new(&[0.5], &[0.5, 1.0])
            .apply(Array::full(0.5, [1, 2, 2]), &mut random)
            .is_err()
    );
}

#[test]
fn batches_are_mixed_on_the_device() {
    let dev = wgrad::cpu();
    let values = (0..360).map(|v| v as f32).collect();
    let x = Tensor::from_vec(values, [4, 3, 6, 5], &dev);
    let batch = Batch {
        x,
        y: Tensor::new([0, 1, 2, 1], &dev),
    };
    let plain = batch.x.to_vec::<f32>().unwrap();
    let (mut shares, mut areas) = (Vec::new(), Vec::new());
    for seed in 0..20 {
        let mixed = mixup(&batch, 3, 0.4, &mut Random::new(seed)).unwrap();
        let y = mixed.y.to_vec::<f32>().unwrap();
        let l = y[0]; // class 0 is the first example's alone
        let x = mixed.x.to_vec::<f32>().unwrap();
        for (i, v) in x.iter().enumerate() {
            let neighbour = plain[(i + 3 * 90) % 360];
            assert!((v - (l * plain[i] + (1.0 - l) * neighbour)).abs() < 1e-3);
        }
        assert!(
            y.chunks(3)
                .all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6)
        );
        shares.push(l);

        let cut = cutmix(&batch, 3, 1.0, &mut Random::new(seed)).unwrap();
        let y = cut.y.to_vec::<f32>().unwrap();
        let x = cut.x.to_vec::<f32>().unwrap();
        let other = x[..90].iter().zip(&plain).filter(|(a, b)| a != b).count();
        assert!(
            (other as f32 / 90.0 - (1.0 - y[0])).abs() < 1e-6,
            "{other} {y:?}"
        );
        areas.push(other);
    }
    assert!(shares.iter().any(|&l| l < 0.3) && shares.iter().any(|&l| l > 0.7));
    assert!(areas.iter().any(|&a| a > 30));
    assert!(mixup(&batch, 3, 0.0, &mut Random::new(0)).is_err());
    let flat = Batch {
        x: Tensor::zeros([4, 3], &dev),
        y: batch.y.clone(),
    };
    assert!(cutmix(&flat, 3, 1.0, &mut Random::new(0)).is_err());
    assert_eq!(
        one_hot(&mixed_probabilities(&dev), 9).dims::<2>().unwrap(),
        [1, 2]
    );
    let bytes = batch.x.to_dtype(DType::U8);
    let scaled = normalize(&bytes, &[0.5, 0.25, 0.0], &[0.5, 0.25, 1.0])
        .to_vec::<f32>()
        .unwrap();
    for (i, v) in scaled.iter().enumerate() {
        let (mean, std) = [(0.5, 0.5), (0.25, 0.25), (0.0, 1.0)][i / 30 % 3];
        let byte = plain[i].min(255.0); // to bytes, saturating
        assert!((v - (byte / 255.0 - mean) / std).abs() < 1e-5, "{i}");
    }
}

fn mixed_probabilities(dev: &Device) -> Tensor {
    Tensor::new([[0.5, 0.5]], dev)
}

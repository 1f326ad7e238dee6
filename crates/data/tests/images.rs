//! Images from files, and folders of them.
#![cfg(feature = "images")]

use std::path::PathBuf;

use wgrad::data::transform::{Resize, Transform};
use wgrad::data::{
    Array, Batches, Channels, DataLoader, Dataset, ImageFolder, decode_image, encode_png,
    load_image,
};
use wgrad::prelude::*;

fn gradient(channels: usize, height: usize, width: usize) -> Array<u8> {
    let value = |i: usize| (i * 37 % 256) as u8;
    let values = (0..channels * height * width).map(value).collect();
    Array::new(values, [channels, height, width]).unwrap()
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files")
        .join(name)
}

#[test]
fn png_files_go_both_ways() {
    for image in [gradient(3, 5, 7), gradient(1, 1, 1), gradient(1, 300, 2)] {
        let file = encode_png(&image).unwrap();
        let channels = if image.dims()[0] == 3 {
            Channels::Rgb
        } else {
            Channels::Gray
        };
        assert_eq!(decode_image(&file, "x", channels).unwrap(), image);
        // Every shorter file is an error.
        for end in 0..file.len().min(400) {
            assert!(
                decode_image(&file[..end], "x", channels).is_err(),
                "{end} of {}",
                file.len()
            );
        }
    }
    let gray = decode_image(&encode_png(&gradient(1, 2, 2)).unwrap(), "x", Channels::Rgb).unwrap();
    assert_eq!(gray.values()[..4], gray.values()[4..8]);
    assert!(encode_png(&gradient(2, 2, 2)).is_err());
    assert!(encode_png(&gradient(3, 0, 2)).is_err());
}

#[test]
fn all_kinds_of_files_are_read() {
    // Written by Pillow (images.py): a quarter each of red, green, blue and white.
    let corners = |image: &Array<u8>| -> Vec<[u8; 3]> {
        let &[3, height, width] = image.dims() else {
            panic!("{:?}", image.dims())
        };
        let at = |c: usize, y: usize, x: usize| image.values()[(c * height + y) * width + x];
        let places = [
            (1, 1),
            (1, width - 2),
            (height - 2, 1),
            (height - 2, width - 2),
        ];
        places.map(|(y, x)| [0, 1, 2].map(|c| at(c, y, x))).to_vec()
    };
    let expected = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];
    for name in [
        "rgb.png",
        "rgba.png",
        "palette.png",
        "rgb.jpg",
        "progressive.jpg",
        "odd.jpg",
    ] {
        let image = load_image(fixture(name), Channels::Rgb).unwrap();
        let (height, width) = if name == "odd.jpg" {
            (19, 33)
        } else {
            (16, 24)
        };
        assert_eq!(image.dims(), [3, height, width], "{name}");
        for (got, wanted) in corners(&image).iter().zip(expected) {
            let near = got.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 4);
            assert!(near, "{name}: {got:?}, not {wanted:?}");
        }
    }
    for name in ["gray.png", "gray16.png", "gray.jpg", "bits.png"] {
        let image = load_image(fixture(name), Channels::Gray).unwrap();
        assert_eq!(image.dims(), [1, 16, 24], "{name}");
        assert!(
            image.values()[25] < 4 && image.values()[15 * 24 + 22] > 251,
            "{name}"
        );
    }
    let gray = load_image(fixture("rgb.png"), Channels::Gray).unwrap();
    assert_eq!([gray.values()[0], gray.values()[23]], [76, 150]);
}

#[test]
fn damaged_images_are_errors() {
    for name in ["rgb.png", "rgb.jpg", "progressive.jpg"] {
        let file = std::fs::read(fixture(name)).unwrap();
        for end in 0..file.len() - 1 {
            let error = decode_image(&file[..end], "cut", Channels::Rgb).err();
            assert!(
                matches!(error, Some(Error::File { .. })),
                "{name}, {end}: {error:?}"
            );
        }
    }
    let error = decode_image(b"GIF89a", "x.gif", Channels::Rgb)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "x.gif: neither a PNG nor a JPEG image");
    // A header alone that states 2^31 - 1 pixels in each direction.
    let mut file = encode_png(&gradient(3, 2, 2)).unwrap();
    file[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let mut checksum = flate2::Crc::new();
    checksum.update(&file[12..29]);
    file[29..33].copy_from_slice(&checksum.sum().to_be_bytes());
    let error = decode_image(&file, "x.png", Channels::Rgb)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("x.png: "), "{error}");
}

#[test]
fn folders_are_sets_with_classes() {
    let root = std::env::temp_dir().join(format!("wgrad-folder-{}", std::process::id()));
    let write = |name: &str, bytes: &[u8]| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write(
        "dog/b.png",
        &encode_png(&Array::full(30, [3, 6, 4])).unwrap(),
    );
    write(
        "cat/2.PNG",
        &encode_png(&Array::full(20, [1, 8, 8])).unwrap(),
    );
    write(
        "cat/1.png",
        &encode_png(&Array::full(10, [3, 4, 4])).unwrap(),
    );
    write(
        "cat/more/0.png",
        &encode_png(&Array::full(40, [3, 4, 4])).unwrap(),
    );
    write("cat/readme.txt", b"not an image");
    let set = ImageFolder::open(&root, Channels::Rgb).unwrap();
    assert_eq!(set.class_names(), ["cat", "dog"]);
    let found: Vec<(u8, i32)> = (0..set.len())
        .map(|i| {
            set.example(i)
                .map(|(image, class)| (image.values()[0], class))
                .unwrap()
        })
        .collect();
    assert_eq!(found, [(10, 0), (20, 0), (40, 0), (30, 1)]);

    // Of one size, a loader takes them.
    let dev = wgrad::cpu();
    let same = set.clone().augment(1, |(image, class), random| {
        Ok((Resize::to(5, 5).apply(image, random)?, class))
    });
    let loader = DataLoader::new(same, &dev).batch_size(4).workers(2);
    let batch = loader.epoch(0, 0).next().unwrap().unwrap();
    assert_eq!(batch.x.dims::<4>().unwrap(), [4, 3, 5, 5]);
    assert_eq!(batch.y.to_vec::<i32>().unwrap(), [0, 0, 0, 1]);

    // A damaged file is an error with its name.
    write("dog/a.jpg", b"\xff\xd8\xff\xe0 nothing more");
    let set = ImageFolder::open(&root, Channels::Rgb).unwrap();
    let error = set.example(3).unwrap_err().to_string();
    assert!(error.contains("a.jpg: JPEG: "), "{error}");
    std::fs::remove_dir_all(&root).unwrap();
    assert!(ImageFolder::open(&root, Channels::Rgb).is_err());
    std::fs::create_dir_all(&root).unwrap();
    let error = ImageFolder::open(&root, Channels::Rgb)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no .png, .jpg or .jpeg file"), "{error}");
    std::fs::remove_dir_all(&root).unwrap();
}

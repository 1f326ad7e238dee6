//! safetensors files: round trips, other writers, and files that lie.

mod device;

use std::path::PathBuf;

use device::{cpu, values};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use wgrad_core::{DType, Error, Result, Tensor};
use wgrad_nn::safetensors::{self as files, Metadata};
use wgrad_nn::{Linear, Loose, Module, StateDict, Strict};

/// A path that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let name = format!("wgrad-{name}-{}.safetensors", std::process::id());
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

fn every_type() -> StateDict {
    let dev = cpu();
    StateDict::from([
        (
            "f64".into(),
            Tensor::from_vec(vec![0.1f64, -1e300], [2], &dev),
        ),
        (
            "f32".into(),
            Tensor::from_vec(vec![0.1f32, f32::NAN, -0.0], [3, 1], &dev),
        ),
        (
            "f16".into(),
            Tensor::from_vec(vec![f16::from_f32(0.1); 3], [3], &dev),
        ),
        (
            "bf16".into(),
            Tensor::from_vec(vec![bf16::from_f32(0.1); 5], [5], &dev),
        ),
        (
            "i64".into(),
            Tensor::from_vec(vec![i64::MIN, i64::MAX], [2], &dev),
        ),
        ("i32".into(), Tensor::from_vec(vec![i32::MIN, 7], [2], &dev)),
        ("u32".into(), Tensor::from_vec(vec![u32::MAX], (), &dev)),
        ("u8".into(), Tensor::from_vec(vec![1u8, 2, 255], [3], &dev)),
        (
            "bool".into(),
            Tensor::from_vec(vec![true, false, true], [3], &dev),
        ),
        (
            "empty".into(),
            Tensor::from_vec(Vec::<f32>::new(), [0, 4], &dev),
        ),
    ])
}

fn assert_same(a: &StateDict, b: &StateDict) -> Result<()> {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, tensor) in a {
        assert_eq!(tensor.dtype()?, b[name].dtype()?, "{name}");
        assert_eq!(tensor.shape()?, b[name].shape()?, "{name}");
        assert_eq!(tensor.to_bytes()?, b[name].to_bytes()?, "{name}");
    }
    Ok(())
}

#[test]
fn every_type_comes_back() -> Result<()> {
    let scratch = Scratch::new("types");
    let tensors = every_type();
    let metadata = Metadata::from([("format".to_string(), "pt \"quoted\" \u{1F980}".to_string())]);
    files::save_with_metadata(&scratch.0, &tensors, &metadata)?;
    let (loaded, strings) = files::load_with_metadata(&scratch.0, &cpu())?;
    assert_same(&tensors, &loaded)?;
    assert_eq!(strings, metadata);
    let bytes = std::fs::read(&scratch.0).expect("the file is there");
    assert_same(&tensors, &files::decode(&bytes, "memory", &cpu())?.0)?;
    // No partial file stays behind.
    let folder = scratch.0.parent().expect("a folder");
    let own = format!("wgrad-types-{}", std::process::id());
    let left = std::fs::read_dir(folder).expect("a folder").flatten();
    let left = left.filter(|e| e.file_name().to_string_lossy().contains(&own));
    assert_eq!(left.count(), 1);
    Ok(())
}

#[test]
fn the_reference_implementation_reads_and_writes_the_same() -> Result<()> {
    let scratch = Scratch::new("reference");
    let tensors = every_type();
    files::save(&scratch.0, &tensors)?;
    let bytes = std::fs::read(&scratch.0).expect("the file is there");
    let parsed = safetensors::SafeTensors::deserialize(&bytes).expect("a sound file");
    assert_eq!(parsed.len(), tensors.len());
    for (name, tensor) in &tensors {
        let view = parsed.tensor(name).expect("the tensor is there");
        assert_eq!(view.data(), tensor.to_bytes()?, "{name}");
        assert_eq!(view.shape(), tensor.shape()?.dims(), "{name}");
    }
    let data: Vec<u8> = [1f32, 2.0, 3.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let view = TensorView::new(Dtype::F32, vec![3], &data).expect("a view");
    let written = safetensors::serialize([("x", view)], None).expect("bytes");
    let (loaded, _) = files::decode(&written, "memory", &cpu())?;
    assert_eq!(loaded["x"].to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    Ok(())
}

#[test]
fn modules_save_and_load() -> Result<()> {
    let scratch = Scratch::new("module");
    let dev = cpu();
    let (a, b) = (Linear::new(3, 2, &dev), Linear::new(3, 2, &dev));
    a.save_safetensors(&scratch.0)?;
    b.load_safetensors(&scratch.0, Strict)?;
    assert_eq!(values(&a.weight), values(&b.weight));
    // Halves and doubles become the parameter's type.
    let state: StateDict = a.state_dict();
    for dtype in [DType::F16, DType::F64] {
        let other = state.iter().map(|(n, t)| (n.clone(), t.to_dtype(dtype)));
        let other: StateDict = other.collect();
        files::save(&scratch.0, &other)?;
        b.load_safetensors(&scratch.0, Strict)?;
        assert_eq!(b.weight.dtype()?, DType::F32);
        assert_eq!(values(&b.weight), values(&other["weight"]));
    }
    // One error tells everything, with the file's name; nothing changes.
    let before = values(&b.weight);
    let dict = StateDict::from([
        ("weight".to_string(), Tensor::zeros([2, 4], &dev)),
        ("wait".to_string(), Tensor::zeros([2], &dev)),
    ]);
    files::save(&scratch.0, &dict)?;
    let error = b.load_safetensors(&scratch.0, Strict).unwrap_err();
    let expected = Error::File {
        path: scratch.0.display().to_string(),
        problem: "missing: bias; unexpected: wait; weight has shape [2, 4], not [2, 3]".into(),
    };
    assert_eq!(error, expected);
    let dict = StateDict::from([("weight".to_string(), Tensor::zeros([2, 3], &dev))]);
    files::save(&scratch.0, &dict)?;
    assert!(b.load_safetensors(&scratch.0, Strict).is_err());
    assert_eq!(values(&b.weight), before);
    b.load_safetensors(&scratch.0, Loose)?;
    assert_eq!(values(&b.weight), [0.0; 6]);
    Ok(())
}

#[test]
fn failures_to_write_keep_the_old_file() -> Result<()> {
    let scratch = Scratch::new("kept");
    let dev = cpu();
    let tensors = StateDict::from([("x".to_string(), Tensor::ones([2], &dev))]);
    files::save(&scratch.0, &tensors)?;
    let before = std::fs::read(&scratch.0).expect("the file is there");
    let failed = Tensor::ones([2], &dev) + Tensor::ones([3], &dev);
    let bad = StateDict::from([("x".to_string(), failed)]);
    assert!(matches!(
        files::save(&scratch.0, &bad),
        Err(Error::Broadcast { .. })
    ));
    let reserved = StateDict::from([("__metadata__".to_string(), Tensor::ones([2], &dev))]);
    assert!(matches!(
        files::save(&scratch.0, &reserved),
        Err(Error::File { .. })
    ));
    assert_eq!(
        std::fs::read(&scratch.0).expect("the file is there"),
        before
    );
    for path in ["/nowhere/at/all.safetensors", "/", ""] {
        let error = files::save(path, &tensors).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error}");
        let error = files::load(path, &dev).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error}");
    }
    Ok(())
}

/// A file of this header and this many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn hostile_files_are_errors() {
    let dev = cpu();
    let entry = |dtype: &str, shape: &str, begin: u64, end: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    let one = |e: String| format!(r#"{{"a":{e}}}"#);
    let two = |a: String, b: String| format!(r#"{{"a":{a},"b":{b}}}"#);
    let good = entry("F32", "[2]", 0, 8);
    assert!(files::decode(&file(&one(good.clone()), 8), "good", &dev).is_ok());
    assert!(files::decode(&file("{}", 0), "empty", &dev).is_ok());

    let next = entry("F32", "[2]", 8, 16);
    let step = (1 << 61) - 1;
    let tower = (0..8).map(|i| {
        let storey = entry("U8", &format!("[{step}]"), i * step, (i + 1) * step);
        format!(r#""{i}":{storey}"#)
    });
    let tower = format!("{{{}}}", tower.collect::<Vec<_>>().join(","));
    let vast = entry("F32", &format!("[0,{step},{step}]"), 0, 0);
    if let Ok((tensors, _)) = files::decode(&file(&one(vast), 0), "vast", &dev) {
        assert!(tensors["a"].to_vec::<f32>().is_ok_and(|v| v.is_empty()));
    }
    let huge = "[18446744073709551615, 2]";
    let deep = "[".repeat(100_000);
    let many = format!("[{}]", vec!["1"; 1000].join(","));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("seven bytes", vec![0; 7]),
        ("no header", 0u64.to_le_bytes().to_vec()),
        ("a header longer than the file", file("{}", 0)[..9].to_vec()),
        (
            "a huge header",
            [u64::MAX.to_le_bytes().to_vec(), b"{}".to_vec()].concat(),
        ),
        (
            "a large header",
            [99_999_999u64.to_le_bytes().to_vec(), b"{}".to_vec()].concat(),
        ),
        ("no JSON", file("hello", 0)),
        ("no map", file("[1, 2]", 0)),
        (
            "not UTF-8",
            [2u64.to_le_bytes().to_vec(), vec![0xff, 0xfe]].concat(),
        ),
        ("deep JSON", file(&deep, 0)),
        ("trailing text", file("{} {}", 0)),
        ("data cut off", file(&one(good.clone()), 7)),
        ("too much data", file(&one(good.clone()), 9)),
        ("end before begin", file(&one(entry("F32", "[2]", 8, 0)), 8)),
        (
            "beyond the end",
            file(&one(entry("F32", "[2]", 1 << 60, (1 << 60) + 8)), 8),
        ),
        ("an unknown type", file(&one(entry("F33", "[2]", 0, 8)), 8)),
        ("a wrong size", file(&one(entry("F32", "[3]", 0, 8)), 8)),
        ("a wrong type", file(&one(entry("F64", "[2]", 0, 8)), 8)),
        (
            "an overflowing shape",
            file(&one(entry("F32", huge, 0, 8)), 8),
        ),
        ("an overflow of all lengths", file(&tower, 8)),
        (
            "a negative shape",
            file(&one(entry("F32", "[-2]", 0, 8)), 8),
        ),
        (
            "a fractional shape",
            file(&one(entry("F32", "[2.5]", 0, 8)), 8),
        ),
        ("many dimensions", file(&one(entry("F32", &many, 0, 4)), 4)),
        (
            "a gap",
            file(&two(good.clone(), entry("F32", "[1]", 12, 16)), 16),
        ),
        (
            "an overlap",
            file(&two(good.clone(), entry("F32", "[2]", 4, 12)), 12),
        ),
        ("the same bytes", file(&two(good.clone(), good.clone()), 8)),
        (
            "a name twice",
            file(&format!(r#"{{"a":{good},"a":{next}}}"#), 16),
        ),
        (
            "no offsets",
            file(r#"{"a":{"dtype":"F32","shape":[2]}}"#, 8),
        ),
        ("wrong metadata", file(r#"{"__metadata__":{"a":1}}"#, 0)),
        (
            "metadata twice",
            file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0),
        ),
        ("a bool of 2", {
            let mut bytes = file(&one(entry("BOOL", "[1]", 0, 1)), 0);
            bytes.push(2);
            bytes
        }),
    ];
    let scratch = Scratch::new("hostile");
    let module = Linear::new(1, 1, &dev);
    let before = values(&module.weight);
    for (what, bytes) in cases {
        let error = files::decode(&bytes, "name of the file", &dev).expect_err(what);
        assert!(matches!(error, Error::File { .. }), "{what}: {error}");
        assert!(
            error.to_string().starts_with("name of the file: "),
            "{what}: {error}"
        );
        if what == "a bool of 2" {
            continue; // the module does not read that tensor
        }
        std::fs::write(&scratch.0, &bytes).expect("writable");
        let error = module.load_safetensors(&scratch.0, Loose).expect_err(what);
        assert!(matches!(error, Error::File { .. }), "{what}: {error}");
    }
    assert_eq!(values(&module.weight), before);
}

/// A tensor of a type that wgrad does not know hinders only who reads it.
#[test]
fn an_unknown_type_hinders_no_other_tensor() -> Result<()> {
    let header = r#"{"weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"bias":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"scale":{"dtype":"F8_E5M2","shape":[4],"data_offsets":[8,12]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend([0; 4]);
    let dev = cpu();
    let (tensors, _) = files::decode(&bytes, "name", &dev)?;
    assert_eq!(tensors["weight"].to_vec::<f32>()?, [1.5]);
    let error = tensors["scale"].shape().expect_err("not a type of tensors");
    let said = "name: tensor scale: the type F8_E5M2 is not known";
    assert_eq!(error.to_string(), said);

    let scratch = Scratch::new("unknown");
    std::fs::write(&scratch.0, &bytes).expect("writable");
    let module = Linear::new(1, 1, &dev);
    module.load_safetensors(&scratch.0, Loose)?;
    assert_eq!(values(&module.weight), [1.5]);
    let error = module
        .load_safetensors(&scratch.0, Strict)
        .expect_err("one too many");
    assert!(error.to_string().contains("unexpected: scale"), "{error}");
    Ok(())
}

#[test]
fn every_truncation_is_an_error() -> Result<()> {
    let scratch = Scratch::new("cut");
    files::save(&scratch.0, &every_type())?;
    let bytes = std::fs::read(&scratch.0).expect("the file is there");
    let dev = cpu();
    for length in 0..bytes.len() {
        let result = files::decode(&bytes[..length], "cut", &dev);
        assert!(matches!(result, Err(Error::File { .. })), "at {length}");
    }
    // A flipped bit gives an error or other values, never a panic.
    for at in 0..bytes.len() {
        for bit in [0, 4, 7] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let _ = files::decode(&flipped, "flipped", &dev);
        }
    }
    Ok(())
}

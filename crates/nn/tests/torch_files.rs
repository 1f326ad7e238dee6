//! Files that torch wrote (torch/write.py), and shards of safetensors.

mod device;

use std::collections::BTreeMap;
use std::path::PathBuf;

use device::{cpu, values};
use half::{bf16, f16};
use wgrad_core::{DType, Error, Result, Tensor};
use wgrad_nn::safetensors as files;
use wgrad_nn::torch::{self, TorchValue};
use wgrad_nn::{BatchNorm2d, Conv2d, Linear, Module, StateDict, Strict};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/torch")
        .join(name)
}

/// The numbers that torch printed, by name.
fn expected() -> BTreeMap<String, Vec<f64>> {
    let line = |line: &str| {
        let (name, values) = line.split_once(": ").unwrap();
        let values = values.split(' ').map(|v| v.parse().unwrap()).collect();
        (name.to_string(), values)
    };
    include_str!("torch/expected.txt")
        .lines()
        .map(line)
        .collect()
}

fn assert_is(dict: &StateDict, prefix: &str) {
    let expected = expected();
    let wanted: Vec<_> = expected
        .iter()
        .filter_map(|(name, v)| Some((name.strip_prefix(prefix)?, v)))
        .filter(|(name, _)| !name.starts_with("trained") && !name.starts_with("exp_avg"))
        .collect();
    assert_eq!(dict.len(), wanted.len());
    for (name, wanted) in wanted {
        let got = values(&dict[name]);
        assert_eq!(got.len(), wanted.len(), "{name}");
        for (a, b) in got.iter().zip(wanted) {
            assert!((a - b).abs() <= 1e-7 * b.abs(), "{name}: {a}, not {b}");
        }
    }
}

#[test]
fn state_dictionaries_of_all_protocols_are_read() -> Result<()> {
    let dev = cpu();
    assert_is(&torch::load_state_dict(fixture("state.pt"), &dev)?, "");
    assert_is(
        &torch::load_state_dict(fixture("protocol4.pt"), &dev)?,
        "trained.",
    );
    let dict = torch::load_state_dict(fixture("state.pt"), &dev)?;
    assert_eq!(dict["conv.weight"].dims::<4>()?, [2, 1, 3, 3]);
    assert_eq!(dict["norm.num_batches_tracked"].dtype()?, DType::I64);
    Ok(())
}

#[test]
fn modules_take_torchs_values() -> Result<()> {
    let dev = cpu();
    let dict = torch::load_state_dict(fixture("state.pt"), &dev)?;
    let part = |prefix: &str| -> StateDict {
        let named = dict.iter();
        named
            .filter_map(|(k, v)| Some((k.strip_prefix(prefix)?.to_string(), v.clone())))
            .collect()
    };
    let conv = Conv2d::new(1, 2, 3, &dev);
    conv.load_state_dict(&part("conv."), Strict)?;
    BatchNorm2d::new(2, &dev).load_state_dict(&part("norm."), Strict)?;
    Linear::new(2, 3, &dev).load_state_dict(&part("head."), Strict)?;
    assert_eq!(
        values(&conv.state_dict()["bias"]),
        values(&dict["conv.bias"])
    );
    Ok(())
}

#[test]
fn views_become_tensors_of_their_own() -> Result<()> {
    let dev = cpu();
    let dict = torch::load_state_dict(fixture("views.pt"), &dev)?;
    let is = |name: &str, shape: &[usize], wanted: &[f64]| {
        assert_eq!(dict[name].shape().unwrap().dims(), shape, "{name}");
        assert_eq!(values(&dict[name]), wanted, "{name}");
    };
    is("tied", &[4], &[0.0, 1.0, 2.0, 3.0]);
    is("tied_again", &[4], &[0.0, 1.0, 2.0, 3.0]);
    is("slice", &[4], &[3.0, 4.0, 5.0, 6.0]);
    is(
        "strided",
        &[3, 3],
        &[6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 22.0],
    );
    let transposed: Vec<f64> = (0..24).map(|i| f64::from(i % 4 * 6 + i / 4)).collect();
    is("transposed", &[6, 4], &transposed);
    let expanded: Vec<f64> = (0..2000).map(|i| f64::from(1 + i / 1000)).collect();
    is("expanded", &[2, 1000], &expanded);
    let windows: Vec<f64> = (0..44).map(|i| f64::from(i / 4 * 2 + i % 4)).collect();
    is("windows", &[11, 4], &windows);
    is("scalar", &[], &[2.5]);
    is("empty", &[0, 3], &[]);
    is("parameter", &[2], &[1.0, 1.0]);
    is("gradient", &[2], &[1.0, 1.0]);
    Ok(())
}

#[test]
fn every_type_is_read_or_named() -> Result<()> {
    let dev = cpu();
    let dict = torch::load_state_dict(fixture("types.pt"), &dev)?;
    let known = [
        ("float64", DType::F64),
        ("float32", DType::F32),
        ("float16", DType::F16),
        ("bfloat16", DType::BF16),
        ("int64", DType::I64),
        ("int32", DType::I32),
        ("int16", DType::I16),
        ("int8", DType::I8),
        ("uint8", DType::U8),
        ("uint32", DType::U32),
        ("bool", DType::Bool),
    ];
    for (name, dtype) in known {
        assert_eq!(dict[name].dtype()?, dtype, "{name}");
        let third = if name == "bool" { 1.0 } else { 3.0 };
        assert_eq!(values(&dict[name]), [1.0, 0.0, third], "{name}");
    }
    for name in ["uint16", "complex64", "float8_e4m3fn"] {
        let error = dict[name].to_vec::<f32>().unwrap_err().to_string();
        assert!(error.contains("is not known"), "{name}: {error}");
    }
    assert_eq!(dict.len(), 14);
    Ok(())
}

#[test]
fn checkpoints_keep_all_that_is_in_them() -> Result<()> {
    let dev = cpu();
    let all = torch::load(fixture("checkpoint.pt"), &dev)?;
    assert_eq!(all.get("epoch").and_then(TorchValue::as_int), Some(3));
    assert_eq!(all.get("7").and_then(TorchValue::as_text), Some("seven"));
    assert_eq!(all.get("best").and_then(TorchValue::as_float), Some(0.75));
    assert_eq!(
        all.get("device").and_then(TorchValue::as_text),
        Some("cuda:1")
    );
    assert_eq!(
        all.get("dtype").and_then(TorchValue::as_text),
        Some("torch.bfloat16")
    );
    let TorchValue::Dict(pairs) = &all else {
        panic!("{all:?}")
    };
    let odd = pairs
        .iter()
        .find(|(key, _)| key.as_list().is_some())
        .unwrap();
    let list = odd.1.as_list().unwrap();
    assert!(matches!(list[0], TorchValue::None) && matches!(list[1], TorchValue::Bool(true)));
    assert_eq!(list[2].as_int(), Some(1 << 70));
    assert_eq!(list[3].as_int(), Some(-5));
    assert_eq!(list[4].as_float(), Some(0.5));
    assert!(matches!(&list[5], TorchValue::Bytes(b) if b == &[0, 255]));
    assert_eq!(list[6].as_list().unwrap().len(), 2);
    let size: Vec<_> = list[7]
        .as_list()
        .unwrap()
        .iter()
        .map(TorchValue::as_int)
        .collect();
    assert_eq!(size, [Some(2), Some(3)]);
    let args = all.get("args").unwrap();
    assert!(matches!(args, TorchValue::Object { class, .. } if class == "argparse.Namespace"));
    assert_eq!(args.get("name").and_then(TorchValue::as_text), Some("run"));
    let nested = all.get("nested").unwrap().state_dict()?;
    assert_eq!(nested.keys().collect::<Vec<_>>(), ["list.0", "list.1.deep"]);

    assert_is(
        &torch::load_state_dict(fixture("checkpoint.pt"), &dev)?,
        "trained.",
    );
    // The optimizer's state: parameters have numbers.
    let optimizer = all.get("optimizer").unwrap();
    let state = optimizer.get("state").unwrap().state_dict()?;
    for index in 0..6 {
        let got = values(&state[&format!("{index}.exp_avg")]);
        let wanted = &expected()[&format!("exp_avg.{index}")];
        assert!(
            got.iter()
                .zip(wanted)
                .all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs()),
            "{index}"
        );
        assert_eq!(values(&state[&format!("{index}.step")]), [3.0]);
    }
    let groups = optimizer
        .get("param_groups")
        .and_then(TorchValue::as_list)
        .unwrap();
    assert_eq!(
        groups[0].get("lr").and_then(TorchValue::as_float),
        Some(0.01 * 0.1)
    );
    assert_eq!(
        groups[0]
            .get("params")
            .and_then(TorchValue::as_list)
            .unwrap()
            .len(),
        6
    );
    // A Counter of milestones.
    let milestones = all.get("schedule").unwrap().get("milestones").unwrap();
    assert_eq!(milestones.get("4").and_then(TorchValue::as_int), Some(2));
    Ok(())
}

#[test]
fn whole_modules_give_their_tensors_and_run_nothing() -> Result<()> {
    let dev = cpu();
    assert_is(
        &torch::load_state_dict(fixture("module.pt"), &dev)?,
        "trained.",
    );
    let module = torch::load(fixture("module.pt"), &dev)?;
    let TorchValue::Object { class, .. } = &module else {
        panic!("{module:?}")
    };
    assert_eq!(class, "torch.nn.modules.container.Sequential");
    assert_eq!(module.get("training").and_then(TorchValue::as_int), Some(0));
    Ok(())
}

#[test]
fn other_files_are_errors_that_say_why() {
    let dev = cpu();
    let problem = |name: &str| torch::load(fixture(name), &dev).unwrap_err().to_string();
    assert!(
        problem("legacy.pt")
            .ends_with("written by PyTorch before 1.6; load it there and save it again")
    );
    assert!(
        problem("write.py").contains("not a zip archive"),
        "{}",
        problem("write.py")
    );
    assert!(problem("nowhere.pt").contains("nowhere.pt: "));
    let bytes = std::fs::read(fixture("checkpoint.pt")).unwrap();
    for end in 0..bytes.len() {
        let error = torch::decode(&bytes[..end], "cut", &dev).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{end}: {error}");
    }
    // A changed number in a tensor: the checksum tells.
    let bytes = std::fs::read(fixture("state.pt")).unwrap();
    let archive = wgrad_files::zip::Archive::parse(&bytes).unwrap();
    let numbers = archive
        .entries()
        .iter()
        .find(|e| e.name().ends_with("data/0"))
        .unwrap();
    let numbers = numbers.read().unwrap();
    let at = bytes
        .windows(numbers.len())
        .position(|w| w == &*numbers)
        .unwrap();
    let mut changed = bytes.clone();
    changed[at] ^= 1;
    let error = torch::decode(&changed, "changed.pt", &dev)
        .unwrap_err()
        .to_string();
    assert!(error.contains("data/0: the checksum is wrong"), "{error}");
}

/// A file of torch.save of a pickle and one storage "0" of four floats.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = wgrad_files::zip::Writer::new(&mut bytes);
    writer.add("x/data.pkl", pickle).unwrap();
    writer.add("x/data/0", &[0; 16]).unwrap();
    writer.finish().unwrap();
    bytes
}

/// `tensor` of the storage with this offset, sizes and strides, as numbers of four bytes.
fn rebuild(offset: i32, sizes: &[i32], strides: &[i32]) -> Vec<u8> {
    let int = |n: i32| [b"J".to_vec(), n.to_le_bytes().to_vec()].concat();
    let ints = |values: &[i32]| {
        let all: Vec<u8> = values.iter().flat_map(|&n| int(n)).collect();
        [b"(".to_vec(), all, b"t".to_vec()].concat()
    };
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ".to_vec(),
        int(offset),
        ints(sizes),
        ints(strides),
        b"\x89NtR.".to_vec(),
    ]
    .concat()
}

#[test]
fn hostile_files_are_refused() {
    let dev = cpu();
    let decoded = |pickle: &[u8]| torch::decode(&archive(pickle), "x.pt", &dev);
    let problem = |pickle: &[u8]| decoded(pickle).unwrap_err().to_string();
    assert_eq!(
        values(
            decoded(&rebuild(1, &[3], &[1]))
                .unwrap()
                .as_tensor()
                .unwrap()
        ),
        [0.0; 3]
    );
    for (offset, sizes, strides) in [
        (2, &[3][..], &[1][..]),
        (0, &[2, 3], &[3, 1]),
        (0, &[5], &[1]),
        (-1, &[1], &[1]),
        (0, &[2], &[-1]),
        (0, &[2], &[i32::MAX]),
        (i32::MAX, &[1], &[1]),
        (0, &[i32::MAX, i32::MAX, i32::MAX, 2], &[1, 1, 1, 1]),
        (0, &[1, 1], &[1]),
        (0, &[1; 40], &[1; 40]),
    ] {
        let text = problem(&rebuild(offset, sizes, strides));
        assert!(
            text.starts_with("x.pt: x/data.pkl, byte "),
            "{sizes:?} {strides:?}: {text}"
        );
    }
    // 2^31 numbers of one: a view, not memory.
    let wide = decoded(&rebuild(0, &[i32::MAX], &[0])).unwrap();
    assert_eq!(
        wide.as_tensor().unwrap().shape().unwrap().dims(),
        [i32::MAX as usize]
    );

    // Nothing is called: os.system is data.
    let object = decoded(b"cos\nsystem\n(X\x04\0\0\0truetR.").unwrap();
    assert!(
        matches!(&object, TorchValue::Object { class, args, .. } if class == "os.system" && args.len() == 1)
    );
    // A list within itself, and one deep in lists.
    assert!(problem(b"]q\0h\0a.").contains("more than 200 deep"));
    let deep = [vec![b']'; 5000], vec![b'a'; 4999], vec![b'.']].concat();
    assert!(problem(&deep).contains("more than 200 deep"));
    // Each list holds the one before ten times.
    let mut laughs = b"]".to_vec();
    for level in 0..30u8 {
        laughs.extend([b'q', level, b'0', b']', b'(']);
        laughs.extend([b'h', level].repeat(10));
        laughs.push(b'e');
    }
    laughs.push(b'.');
    assert!(
        problem(&laughs).contains("far more than the file"),
        "{}",
        problem(&laughs)
    );
    // A long list copied by many calls.
    let mut copies = b"(".to_vec();
    copies.extend(vec![b'N'; 100_000]);
    copies.extend(b"lq\x000cbuiltins\nlist\nq\x010(");
    copies.extend(b"h\x01(h\0tR".repeat(100_000));
    copies.extend(b"l.");
    assert!(
        problem(&copies).contains("far more than the file"),
        "{}",
        problem(&copies)
    );
    // Lengths beyond the file, marks that are not there, an empty stack, unknown instructions, no end.
    for pickle in [
        &b"X\xff\xff\xff\x7fab."[..],
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffab.",
        b"\x8b\xff\xff\xff\xff.",
        b"t.",
        b".",
        b"(.",
        b"]N(a.",
        b"h\0.",
        b"\xff.",
        b"N",
        b"",
        b"NNR.",
        b"Q.",
        b"N)\x81.",
        b"}NNa.",
        b"cno line",
    ] {
        assert!(
            problem(pickle).starts_with("x.pt: x/data.pkl, byte "),
            "{pickle:?}"
        );
    }
}

#[test]
fn archives_that_lie_are_refused() {
    use wgrad_files::zip::{Archive, Writer};
    let dev = cpu();
    let parse = |bytes: &[u8]| Archive::parse(bytes).err().unwrap();
    let twice = {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.add("x/data.pkl", b"N.").unwrap();
        writer.add("x/data.pkl", b"N.").unwrap();
        writer.finish().unwrap();
        bytes
    };
    assert!(
        parse(&twice).contains("two entries are named"),
        "{}",
        parse(&twice)
    );
    // The second entry of the directory points to where the first one lies (both are called "a").
    let mut overlapping = Vec::new();
    let mut writer = Writer::new(&mut overlapping);
    writer.add("a", &[1; 50]).unwrap();
    writer.add("b", &[1; 50]).unwrap();
    writer.finish().unwrap();
    let directory = 2 * (30 + 1 + 50);
    let second = directory + 46 + 1;
    overlapping[second + 42..second + 46].fill(0);
    assert!(
        parse(&overlapping).contains("another name at byte 0"),
        "{}",
        parse(&overlapping)
    );
    // Of the first entry, a size that reaches over the second.
    let mut long = Vec::new();
    let mut writer = Writer::new(&mut long);
    writer.add("a", &[1; 50]).unwrap();
    writer.add("b", &[1; 50]).unwrap();
    writer.finish().unwrap();
    for at in [20, 24] {
        long[directory + at] = 60;
    }
    assert!(
        parse(&long).contains("overlap at byte 81"),
        "{}",
        parse(&long)
    );
    for at in [20, 24] {
        long[directory + at..directory + at + 4].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    }
    assert!(parse(&long).contains("cut short"), "{}", parse(&long));
    // More entries than 16 bits count, which needs zip64.
    let mut many = Vec::new();
    let mut writer = Writer::new(&mut many);
    for i in 0..70_000 {
        writer.add(&i.to_string(), b"").unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(Archive::parse(&many).unwrap().entries().len(), 70_000);
    assert!(torch::decode(&many, "many", &dev).is_err());
}

/// What torch reads in `python write.py check DIR`; without WGRAD_KEEP_FILES it is removed.
#[test]
fn shards_go_both_ways() -> Result<()> {
    let dev = cpu();
    let kept = std::env::var_os("WGRAD_KEEP_FILES").map(PathBuf::from);
    let scratch = std::env::temp_dir().join(format!("wgrad-shards-{}", std::process::id()));
    let root = kept.clone().unwrap_or(scratch);
    let directory = root.join("sharded");
    let half = [0.5, 1.5, -2.0].map(f16::from_f32).to_vec();
    let brain = [0.5, 3.0].map(bf16::from_f32).to_vec();
    let tensors = StateDict::from([
        ("half".to_string(), Tensor::from_vec(half, [3], &dev)),
        ("brain".to_string(), Tensor::from_vec(brain, [1, 2], &dev)),
        (
            "ids".to_string(),
            Tensor::from_vec(vec![-1i64, 1 << 40], [2], &dev),
        ),
        ("large".to_string(), Tensor::ones([100], &dev)),
    ]);
    let index = files::save_sharded(&directory, &tensors, 24)?;
    let back = files::load(&index, &dev)?;
    assert_eq!(back.len(), 4);
    for (name, tensor) in &tensors {
        assert_eq!(back[name].dtype()?, tensor.dtype()?, "{name}");
        assert_eq!(back[name].to_bytes()?, tensor.to_bytes()?, "{name}");
    }
    assert!(directory.join("model-00003-of-00003.safetensors").exists());

    let linear = Linear::new(2, 3, &dev);
    linear.load_state_dict(
        &StateDict::from([
            (
                "weight".to_string(),
                Tensor::arange(6, &dev).to_dtype(DType::F32).reshape([3, 2]),
            ),
            ("bias".to_string(), Tensor::zeros([3], &dev)),
        ]),
        Strict,
    )?;
    let mut model = torch::load_state_dict(fixture("state.pt"), &dev)?;
    model.insert("head.weight".into(), linear.state_dict()["weight"].clone());
    files::save(root.join("model.safetensors"), &model)?;

    // A module is loaded by an index too.
    let linear_index = files::save_sharded(root.join("linear"), &linear.state_dict(), 1)?;
    let other = Linear::new(2, 3, &dev);
    other.load_safetensors(&linear_index, Strict)?;
    assert_eq!(
        values(&other.state_dict()["weight"]),
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    );

    // Indices that lie.
    let problem = |index: &str| {
        let path = directory.join("bad.index.json");
        std::fs::write(&path, index).unwrap();
        files::load(&path, &dev).unwrap_err().to_string()
    };
    let shard = "model-00001-of-00003.safetensors";
    assert!(
        problem(r#"{"weight_map": {"half": "../x.safetensors"}}"#).contains("is not a file's name")
    );
    assert!(problem(r#"{"weight_map": {"half": "/etc/passwd"}}"#).contains("is not a file's name"));
    assert!(
        problem(r#"{"weight_map": {"half": "none.safetensors"}}"#).contains("none.safetensors")
    );
    let missing = format!(r#"{{"weight_map": {{"nothing": "{shard}"}}}}"#);
    assert!(
        problem(&missing).contains("tensor nothing is not in"),
        "{}",
        problem(&missing)
    );
    let twice = format!(r#"{{"weight_map": {{"half": "{shard}", "half": "{shard}"}}}}"#);
    assert!(
        problem(&twice).contains("listed twice"),
        "{}",
        problem(&twice)
    );
    assert!(problem("{}").contains("weight_map"));
    assert!(problem(&"[".repeat(100_000)).contains("bad.index.json"));
    if kept.is_none() {
        std::fs::remove_dir_all(&root).unwrap();
    }
    Ok(())
}

#[test]
fn torchs_safetensors_are_read() -> Result<()> {
    let dev = cpu();
    let (tensors, metadata) = files::load_with_metadata(fixture("torch.safetensors"), &dev)?;
    assert_eq!(metadata["format"], "pt");
    assert_eq!(tensors["half"].dtype()?, DType::F16);
    assert_eq!(
        (tensors["brain"].dtype()?, tensors["brain"].dims::<2>()?),
        (DType::BF16, [3, 2])
    );
    assert_eq!(values(&tensors["float"]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(tensors["long"].to_vec::<i64>()?, [-1, 1 << 40]);
    assert_eq!(tensors["flag"].to_vec::<bool>()?, [true, false]);
    Ok(())
}

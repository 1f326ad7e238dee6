//! Readers, on files that NumPy wrote (files.py), on files made here, and on damaged ones.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use half::f16;
use wgrad::data::cifar::{Cifar, Kind};
use wgrad::data::idx::{self, Mnist};
use wgrad::data::{Array, Column, ColumnType, CsvOptions, Dataset, Table, npy, npz, text};
use wgrad::prelude::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files")
        .join(name)
}

/// A directory of its own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("wgrad-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[test]
fn numpys_arrays_are_read_in_all_their_types() {
    let dev = wgrad::cpu();
    let cases = [
        ("lf8", DType::F64),
        ("lf4", DType::F32),
        ("lf2", DType::F16),
        ("li8", DType::I64),
        ("li4", DType::I32),
        ("li2", DType::I16),
        ("i1", DType::I8),
        ("lu8", DType::I64),
        ("lu4", DType::U32),
        ("lu2", DType::I32),
        ("u1", DType::U8),
        ("bf4", DType::F32),
        ("bi8", DType::I64),
        ("bu2", DType::I32),
        ("bf2", DType::F16),
    ];
    for (name, dtype) in cases {
        let tensor = npy::load(fixture(&format!("{name}.npy")), &dev).unwrap();
        assert_eq!(
            (tensor.dtype().unwrap(), tensor.dims::<3>().unwrap()),
            (dtype, [2, 3, 4]),
            "{name}"
        );
        let shift = if name.contains('u') { 0.0 } else { 5.0 };
        let expected: Vec<f64> = (0..24).map(|v| f64::from(v) - shift).collect();
        assert_eq!(
            tensor.to_dtype(DType::F64).to_vec::<f64>().unwrap(),
            expected,
            "{name}"
        );
    }
    let columns = npy::load_array::<f32>(fixture("columns.npy")).unwrap();
    assert_eq!(
        columns.values(),
        (0..24).map(|v| v as f32).collect::<Vec<_>>()
    );
    let bools = npy::load_array::<bool>(fixture("bool.npy")).unwrap();
    assert_eq!(
        bools.values(),
        (0..24).map(|v| v % 3 == 0).collect::<Vec<_>>()
    );
    assert_eq!(
        npy::load_array::<f32>(fixture("scalar.npy")).unwrap(),
        Array::full(2.5, ())
    );
    assert_eq!(
        npy::load_array::<i32>(fixture("row.npy")).unwrap().values(),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(
        npy::load_array::<f32>(fixture("empty.npy")).unwrap().dims(),
        [0, 3]
    );
    for (name, part) in [
        ("objects", "Python objects are not read"),
        ("records", "records are not read"),
        ("complex", "type \"<c8\" is not known"),
        ("large_unsigned", "beyond the largest i64"),
        ("nowhere", "nowhere.npy: "),
    ] {
        let error = npy::load(fixture(&format!("{name}.npy")), &dev).unwrap_err();
        assert!(
            matches!(error, Error::File { .. }) && error.to_string().contains(part),
            "{error}"
        );
    }
    let error = npy::load_array::<f64>(fixture("lf4.npy"))
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("lf4.npy: it holds f32, not f64"), "{error}");
}

#[test]
fn arrays_are_written_as_numpy_does() {
    let dev = wgrad::cpu();
    let directory = Directory::new("npy");
    let path = directory.path("x.npy");
    // Byte by byte, but for the types that wgrad widens and the layouts it changes.
    for name in [
        "lf8", "lf4", "lf2", "li8", "li4", "li2", "i1", "lu4", "u1", "bool", "scalar", "row",
        "empty",
    ] {
        let original = fixture(&format!("{name}.npy"));
        npy::save(&path, &npy::load(&original, &dev).unwrap()).unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap(),
            std::fs::read(&original).unwrap(),
            "{name}"
        );
    }
    npy::save_array(&path, &Array::full(f16::from_f32(1.5), [2, 1])).unwrap();
    assert_eq!(npy::load_array::<f16>(&path).unwrap().dims(), [2, 1]);
    let error = npy::save(&path, &Tensor::zeros([2], (DType::BF16, &dev))).unwrap_err();
    assert!(error.to_string().contains("NumPy has no bf16"), "{error}");
    assert!(npy::save(directory.path("no/x.npy"), &Tensor::zeros([2], &dev)).is_err());
}

#[test]
fn archives_of_arrays_go_both_ways() {
    let dev = wgrad::cpu();
    for name in ["stored.npz", "deflated.npz"] {
        let arrays = npz::load(fixture(name), &dev).unwrap();
        assert_eq!(
            arrays.keys().collect::<Vec<_>>(),
            ["labels", "weights", "zeros"]
        );
        assert_eq!(arrays["labels"].to_vec::<i64>().unwrap(), [0, 1, 2]);
        assert_eq!(arrays["weights"].dims::<3>().unwrap(), [2, 3, 4]);
        assert_eq!(arrays["zeros"].sum().item::<f32>().unwrap(), 0.0);
        // Every shorter file is an error, whatever it ends in.
        let bytes = std::fs::read(fixture(name)).unwrap();
        for end in 0..bytes.len() {
            assert!(
                npz::decode(&bytes[..end], "cut", &dev).is_err(),
                "{name}, {end} bytes"
            );
        }
    }
    let directory = Directory::new("npz");
    let tensors = BTreeMap::from([
        ("a".to_string(), Tensor::new([[1.0, 2.0]], &dev)),
        ("größe/b".to_string(), Tensor::scalar(3, &dev)),
    ]);
    npz::save(directory.path("x.npz"), &tensors).unwrap();
    let back = npz::load(directory.path("x.npz"), &dev).unwrap();
    assert_eq!(back["a"].to_vec::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(back["größe/b"].item::<i32>().unwrap(), 3);
    assert_eq!(back.len(), 2);
}

/// An IDX file.
fn idx_file(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, dims.len() as u8];
    dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(data);
    bytes
}

#[test]
fn mnist_is_read_plain_and_packed() {
    let directory = Directory::new("mnist");
    let pixels: Vec<u8> = (0..3 * 4 * 5).collect();
    let images = idx_file(8, &[3, 4, 5], &pixels);
    let labels = idx_file(8, &[3], &[7, 0, 9]);
    std::fs::write(directory.path("train-images-idx3-ubyte"), &images).unwrap();
    std::fs::write(directory.path("train-labels-idx1-ubyte"), &labels).unwrap();
    std::fs::write(
        directory.path("t10k-images-idx3-ubyte.gz"),
        gzipped(&images),
    )
    .unwrap();
    std::fs::write(directory.path("t10k-labels.idx1-ubyte"), &labels).unwrap();
    for set in [
        Mnist::train(&directory.0).unwrap(),
        Mnist::test(&directory.0).unwrap(),
    ] {
        assert_eq!(set.len(), 3);
        let (image, label) = set.example(2).unwrap();
        assert_eq!((image.dims(), label), (&[1, 4, 5][..], 9));
        assert_eq!(image.values(), &pixels[40..]);
        assert!(set.example(3).is_err());
    }
    std::fs::write(
        directory.path("train-labels-idx1-ubyte"),
        idx_file(8, &[2], &[7, 0]),
    )
    .unwrap();
    let error = Mnist::train(&directory.0).unwrap_err().to_string();
    assert!(
        error.ends_with("train-labels-idx1-ubyte: 2 classes for 3 images"),
        "{error}"
    );
    let error = Mnist::train(directory.path("none"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz"),
        "{error}"
    );

    let floats: Vec<u8> = [1.5f32, -2.0]
        .iter()
        .flat_map(|v| v.to_be_bytes())
        .collect();
    let array = idx::decode::<f32>(&idx_file(0x0d, &[2], &floats), "floats").unwrap();
    assert_eq!(array.values(), [1.5, -2.0]);
    let shorts: Vec<u8> = [300i16, -1].iter().flat_map(|v| v.to_be_bytes()).collect();
    assert_eq!(
        idx::decode::<i16>(&idx_file(0x0b, &[2], &shorts), "shorts")
            .unwrap()
            .values(),
        [300, -1]
    );
}

#[test]
fn damaged_idx_files_are_errors_that_say_where() {
    let good = idx_file(8, &[2, 3], &[1, 2, 3, 4, 5, 6]);
    let packed = gzipped(&good);
    for end in 0..good.len() {
        assert!(idx::decode::<u8>(&good[..end], "cut").is_err(), "{end}");
    }
    for end in 0..packed.len() {
        assert!(idx::decode::<u8>(&packed[..end], "cut").is_err(), "{end}");
    }
    let problem = |bytes: &[u8]| idx::decode::<u8>(bytes, "x.idx").unwrap_err().to_string();
    assert_eq!(
        problem(&good[..6]),
        "x.idx: byte 6: the file ends within the header"
    );
    assert_eq!(
        problem(&idx_file(7, &[1], &[0])),
        "x.idx: byte 2: type 7 is not known"
    );
    assert_eq!(
        problem(&idx_file(0x0d, &[1], &[0; 4])),
        "x.idx: it holds f32, not u8"
    );
    assert_eq!(problem(&[1, 0, 8, 0, 5]), "x.idx: byte 0: not an IDX file");
    assert_eq!(
        problem(&idx_file(8, &[1; 33], &[0])),
        "x.idx: byte 3: 33 dimensions are too many"
    );
    assert_eq!(
        problem(&idx_file(8, &[9], &[0])),
        "x.idx: 1 bytes for shape [9], which needs 9"
    );
    // 64 EiB in 24 bytes, and 4 GiB in a packed file of 40.
    let huge = idx_file(8, &[u32::MAX, u32::MAX, 9], &[0]);
    assert!(
        problem(&huge).contains("beyond any memory"),
        "{}",
        problem(&huge)
    );
    assert!(problem(&gzipped(&huge)).contains("beyond any memory"));
    let large = gzipped(&idx_file(8, &[u32::MAX], &[0]));
    assert!(
        problem(&large).contains("cannot be packed into"),
        "{}",
        problem(&large)
    );
    let bomb = gzipped(&idx_file(8, &[3], &vec![0; 10_000_000]));
    assert!(
        problem(&bomb).contains("more bytes than the 11 expected"),
        "{}",
        problem(&bomb)
    );
}

#[test]
fn cifar_is_read_and_checked() {
    let directory = Directory::new("cifar");
    let record = |labels: &[u8], pixel: u8| {
        let mut record = labels.to_vec();
        record.resize(labels.len() + 3072, pixel);
        record
    };
    for i in 1..=5 {
        let file = [record(&[i], i), record(&[0], 0)].concat();
        std::fs::write(directory.path(&format!("data_batch_{i}.bin")), file).unwrap();
    }
    let set = Cifar::train(&directory.0, Kind::Cifar10).unwrap();
    assert_eq!(set.len(), 10);
    let (image, class) = set.example(4).unwrap();
    assert_eq!((image, class), (Array::full(3u8, [3, 32, 32]), 3));
    assert!(set.example(10).is_err());
    std::fs::write(directory.path("test.bin"), record(&[19, 99], 1)).unwrap();
    let fine = Cifar::test(&directory.0, Kind::Cifar100).unwrap();
    let coarse = Cifar::test(&directory.0, Kind::Cifar100Coarse).unwrap();
    assert_eq!(
        (fine.example(0).unwrap().1, coarse.example(0).unwrap().1),
        (99, 19)
    );
    let problem =
        |bytes: Vec<u8>, kind| Cifar::decode(bytes, kind, "x.bin").unwrap_err().to_string();
    let two = [record(&[1], 0), record(&[10], 0)].concat();
    assert_eq!(
        problem(two, Kind::Cifar10),
        "x.bin: byte 3073: class 10 of 10"
    );
    assert_eq!(
        problem(vec![0; 3072], Kind::Cifar10),
        "x.bin: 3072 bytes are not whole records of 3073"
    );
    assert!(Cifar::decode(Vec::new(), Kind::Cifar10, "x.bin").is_err());
    assert!(Cifar::test(directory.path("none"), Kind::Cifar10).is_err());
}

fn csv(text: &str, options: &CsvOptions) -> Result<Table> {
    Table::from_csv(text.as_bytes(), "x.csv", options)
}

#[test]
fn csv_columns_have_types() {
    let text = "\u{feff}name, id ,x,\"note, long\"\r\n\"A \"\"B\"\"\",1,0.5,\"two\nlines\"\r\n\r\nC,-2,NA,\nD,3,1e3,x\n";
    let table = csv(text, &CsvOptions::default()).unwrap();
    assert_eq!(table.names(), ["name", "id", "x", "note, long"]);
    assert_eq!(table.text("name").unwrap(), ["A \"B\"", "C", "D"]);
    assert_eq!(table.integers("id").unwrap(), [1, -2, 3]);
    let Column::Float(x) = table.column("x").unwrap() else {
        panic!()
    };
    assert!(x[0] == 0.5 && x[1].is_nan() && x[2] == 1000.0);
    assert_eq!(table.text("note, long").unwrap(), ["two\nlines", "", "x"]);
    assert_eq!(
        table.classes("id").unwrap(),
        (vec![1, 0, 2], ["-2", "1", "3"].map(String::from).to_vec())
    );
    assert_eq!(
        table.floats(&["x", "id"]).unwrap().values()[4..],
        [1000.0, 3.0]
    );
    for error in [
        table.floats(&["name"]).unwrap_err(),
        table.floats(&["y"]).unwrap_err(),
        table.integers("x").unwrap_err(),
        table.text("id").unwrap_err(),
        table.classes("x").unwrap_err(),
    ] {
        assert!(error.to_string().starts_with("x.csv: "), "{error}");
    }

    let options = CsvOptions {
        separator: b';',
        header: false,
        types: vec![
            ("c0".into(), ColumnType::Text),
            ("c1".into(), ColumnType::Float),
        ],
        ..Default::default()
    };
    let table = csv("007;1\n8;2", &options).unwrap();
    assert_eq!(table.text("c0").unwrap(), ["007", "8"]);
    assert_eq!(table.column("c1").unwrap(), &Column::Float(vec![1.0, 2.0]));
    assert_eq!(csv("", &CsvOptions::default()).unwrap().num_rows(), 0);
    assert_eq!(
        csv("a,b\n", &CsvOptions::default()).unwrap().names().len(),
        2
    );

    let directory = Directory::new("csv");
    std::fs::write(directory.path("t.csv"), "a\n1\n").unwrap();
    let table = Table::read_csv(directory.path("t.csv"), &CsvOptions::default()).unwrap();
    assert_eq!(table.integers("a").unwrap(), [1]);
}

#[test]
fn damaged_csv_files_are_errors_that_say_where() {
    let typed = CsvOptions {
        types: vec![("b".into(), ColumnType::Integer)],
        ..Default::default()
    };
    let problem = |text: &[u8]| {
        Table::from_csv(text, "x.csv", &typed)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        problem(b"a,b\n1,2\n\"x\ny\",z\n"),
        "x.csv: line 4, column \"b\": \"z\" is not an integer"
    );
    assert_eq!(
        problem(b"a,b\n1,\n"),
        "x.csv: line 2, column \"b\": \"\" is not an integer"
    );
    assert_eq!(
        problem(b"a,b\n1,2\n3\n"),
        "x.csv: line 3: 1 fields, but 2 columns"
    );
    assert_eq!(
        problem(b"a,b\n1,\"2\n3,4\n"),
        "x.csv: line 2: a quote that is not closed"
    );
    assert_eq!(
        problem(b"a,b\n\"1\"x,2\n"),
        "x.csv: line 2, column 1: text behind a quote"
    );
    assert_eq!(
        problem(b"a,b\n1,\xff\n"),
        "x.csv: line 2, column 2: not UTF-8"
    );
    assert_eq!(
        problem(b"b,b\n1,2\n"),
        "x.csv: line 1: two columns are named \"b\""
    );
    assert_eq!(
        problem(b"a,c\n1,2\n"),
        "x.csv: line 1: no column \"b\", whose type is given"
    );
}

#[test]
fn text_is_cut_into_windows() {
    let set = text::Windows::new((0..10).collect(), 3, 3).unwrap();
    assert_eq!(set.len(), 3);
    assert_eq!(set.example(2).unwrap(), (vec![6, 7, 8], vec![7, 8, 9]));
    assert!(set.example(3).is_err());
    let every = text::Windows::new((0..10).collect(), 3, 1).unwrap();
    assert_eq!(
        (every.len(), every.example(6).unwrap().1),
        (7, vec![7, 8, 9])
    );
    for short in 0..4 {
        assert_eq!(
            text::Windows::new((0..short).collect(), 3, 1)
                .unwrap()
                .len(),
            0
        );
    }
    assert!(text::Windows::new(vec![1], 0, 1).is_err());
    assert!(text::Windows::new(vec![1], 1, 0).is_err());
    assert_eq!(text::Windows::new(vec![1], usize::MAX, 1).unwrap().len(), 0);
    assert_eq!(text::decode_bytes(&[104, 300, 105]), "h\u{fffd}i");
}

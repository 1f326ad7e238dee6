//! Parquet files that pyarrow wrote (parquet.py).
#![cfg(feature = "parquet")]

use std::path::PathBuf;

use wgrad::data::{Column, Table};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files")
        .join(name)
}

#[test]
fn columns_have_the_types_of_tables() {
    for kind in ["none", "snappy", "gzip", "zstd", "lz4"] {
        let table = Table::read_parquet(fixture(&format!("{kind}.parquet"))).unwrap();
        assert_eq!(
            table.names(),
            ["id", "small", "x", "half", "count", "name", "day", "yes"]
        );
        assert_eq!(table.integers("id").unwrap(), [1, -2, 3]);
        assert_eq!(table.integers("small").unwrap(), [7, 8, 255]);
        for name in ["x", "count"] {
            let Column::Float(values) = table.column(name).unwrap() else {
                panic!("{name}")
            };
            assert!(values[1].is_nan() && values[2] >= 3.0, "{name}");
        }
        assert_eq!(
            table.column("half").unwrap(),
            &Column::Float(vec![1.5, -2.25, 0.0])
        );
        assert_eq!(table.text("name").unwrap(), ["a", "", "größe"]);
        assert_eq!(table.integers("day").unwrap(), [1, 10957, -1]);
        assert_eq!(table.integers("yes").unwrap(), [1, 0, 1]);
    }
}

#[test]
fn other_files_are_errors() {
    let problem = |name: &str| Table::read_parquet(fixture(name)).unwrap_err().to_string();
    assert!(
        problem("nested.parquet").ends_with("nested columns are not read"),
        "{}",
        problem("nested.parquet")
    );
    assert!(problem("rgb.png").contains("rgb.png: "));
    assert!(problem("nowhere.parquet").contains("nowhere.parquet: "));
    let bytes = std::fs::read(fixture("snappy.parquet")).unwrap();
    let path = std::env::temp_dir().join(format!("wgrad-cut-{}.parquet", std::process::id()));
    for end in (0..bytes.len()).step_by(7) {
        std::fs::write(&path, &bytes[..end]).unwrap();
        assert!(Table::read_parquet(&path).is_err(), "{end}");
    }
    std::fs::remove_file(&path).unwrap();
}

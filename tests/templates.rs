//! Kernels are files: a folder of one's own replaces them, and what is wrong in one is told with its
//! name and line.

mod devices;

use std::process::Command;

use wgrad::optim::{Optimizer, Sgd, SgdOptions};
use wgrad::prelude::*;

/// Set in the processes that the test watches.
const WATCHED: &str = "WGRAD_TEST_WATCHED";

/// One step, and what came of it.
fn step() -> String {
    let Some(dev) = devices::gpu() else {
        return "no GPU".into();
    };
    let w = Tensor::new([1.0, 2.0], &dev).requires_grad();
    (&w * 3.0).sum().backward().unwrap();
    let options = SgdOptions {
        lr: 0.5,
        ..Default::default()
    };
    match Sgd::new(vec![w.clone()], options).step() {
        Ok(()) => format!("{:?}", w.to_vec::<f32>().unwrap()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_folder_of_ones_own_replaces_kernels() {
    if std::env::var_os(WATCHED).is_some() {
        println!("outcome: {}", step());
        return;
    }
    if devices::gpu().is_none() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("wgrad-kernels-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let builtin = include_str!("../shaders/src/update.wgsl");
    let outcome = |from: &str, to: &str| {
        assert!(builtin.contains(from));
        std::fs::write(folder.join("update.wgsl"), builtin.replace(from, to)).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_folder_of_ones_own_replaces_kernels",
                "--nocapture",
            ])
            .env(WATCHED, "1")
            .env("WGRAD_SHADERS", &folder)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, outcome) = text
            .split_once("outcome: ")
            .unwrap_or_else(|| panic!("{text}"));
        outcome.lines().next().unwrap_or_default().to_string()
    };
    let last = "store4_goal(i, {{value}});";
    let line = 1 + builtin.lines().position(|l| l.contains(last)).unwrap();
    // 1 - 0.5 * 3, or twice as far.
    assert_eq!(outcome(last, last), "[-0.5, 0.5]");
    assert_eq!(
        outcome(last, "store4_goal(i, p + 2.0 * ({{value}} - p));"),
        "[-2.0, -1.0]"
    );
    let refused = outcome(last, "store4_goal(i, {{value}} - missing);");
    let place = format!("(update.wgsl, line {line})");
    assert!(
        refused.contains("does not compile") && refused.contains(&place),
        "{refused}"
    );
    let undefined = outcome(last, "store4_goal(i, {{missing}});");
    let place = format!("shader template update.wgsl, line {line}: undefined value");
    assert!(undefined.contains(&place), "{undefined}");
    std::fs::remove_dir_all(folder).unwrap();
}

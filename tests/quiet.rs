//! A program says what it wants to say and nothing else.

use std::process::Command;

/// What the other test runs in a process of its own.
#[test]
#[ignore = "run by the other test"]
fn lists_and_opens() {
    for device in wgrad::devices() {
        println!("{device}");
    }
    if let Ok(device) = wgrad::DeviceOptions::gpu().open() {
        println!("opened {device}");
    }
}

/// Without a display, nobody looks for one.
#[test]
fn looking_for_devices_prints_nothing() {
    let own = std::env::current_exe().expect("the test's own path");
    let output = Command::new(own)
        .args(["--exact", "lists_and_opens", "--ignored", "--nocapture"])
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("DISPLAY")
        .env_remove("WGRAD_STRICT")
        .output()
        .expect("the test runs");
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("1 passed") && said.contains("CPU"), "{said}");
    if std::env::var("WGRAD_REQUIRE_GPU").is_ok_and(|v| v == "1") {
        assert!(said.contains("opened "), "{said}");
    }
    assert_eq!(errors, "");
}

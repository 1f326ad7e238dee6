//! A program says what it wants to say and nothing else.

use std::process::Command;

/// Set in the process that the test watches.
const WATCHED: &str = "WGRAD_TEST_WATCHED";

/// Without a display, nobody looks for one. The test runs itself again in a process of its own.
#[test]
fn looking_for_devices_prints_nothing() {
    if std::env::var_os(WATCHED).is_some() {
        for device in wgrad::devices() {
            println!("{device}");
        }
        if let Ok(device) = wgrad::DeviceOptions::gpu().open() {
            println!("opened {device}");
        }
        return;
    }
    let own = std::env::current_exe().expect("the test's own path");
    let output = Command::new(own)
        .args([
            "--exact",
            "looking_for_devices_prints_nothing",
            "--nocapture",
        ])
        .env(WATCHED, "1")
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

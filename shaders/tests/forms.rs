//! One rendering of each form of each kernel, so that a change is read as the diff of a shader.
//! `cargo insta review`, or `INSTA_UPDATE=always`, takes new ones.

use wgrad_shaders::{Value, context, render};

fn snapshot(name: &str, template: &str, variables: &Value) {
    let rendering = render(template, variables).unwrap_or_else(|error| panic!("{name}: {error}"));
    // Where a line comes from is known for all of them.
    for line in 1..=rendering.text.lines().count() {
        assert!(
            rendering
                .origin(line)
                .is_some_and(|(file, _)| file == template)
        );
    }
    insta::assert_snapshot!(name, rendering.text);
}

#[test]
fn cross_entropy() {
    let form = |form, size, count, more: Value| {
        let usual = context! {
            form, size, count,
            blocks => false, block_length => 64, vectors => true, ragged => false,
            strided => false, signed => true, weighted => false,
            loss => true, row_weight => true, grad => true,
        };
        context! { ..more, ..usual }
    };
    let snap = |name: &str, variables: Value| snapshot(name, "cross_entropy.wgsl", &variables);
    let thread = form("thread", 64, 1, context! {});
    snap("cross_entropy_thread", thread);
    let weighted = form("registers", 64, 2, context! { weighted => true });
    snap("cross_entropy_registers", weighted);
    let strided = context! { blocks => true, vectors => false, ragged => true, strided => true, signed => false };
    snap("cross_entropy_long_strided", form("long", 256, 1, strided));
}

#[test]
fn optimizers() {
    let adam = |maximize, decoupled, amsgrad, segments, keep| {
        context! { maximize, decoupled, amsgrad, segments, keep }
    };
    snapshot("adam", "adam.wgsl", &adam(false, false, false, 1, false));
    snapshot(
        "adamw_amsgrad_maximize",
        "adam.wgsl",
        &adam(true, true, true, 2, true),
    );
    let sgd = |maximize, momentum, nesterov, segments, keep| {
        context! { maximize, momentum, nesterov, segments, keep }
    };
    snapshot("sgd", "sgd.wgsl", &sgd(false, false, false, 1, false));
    snapshot(
        "sgd_momentum",
        "sgd.wgsl",
        &sgd(false, true, false, 1, false),
    );
    snapshot(
        "sgd_nesterov_maximize",
        "sgd.wgsl",
        &sgd(true, true, true, 3, true),
    );
}

//! One rendering of each form of each kernel, so that a change is read as the diff of a shader.
//! `cargo insta review`, or `INSTA_UPDATE=always`, takes new ones.

use wgrad_shaders::{Value, context, render};

fn snapshot(name: &str, template: &str, variables: &Value) {
    let rendering = render(template, variables).unwrap_or_else(|error| panic!("{name}: {error}"));
    // Where a line comes from is known for all of them.
    for line in 1..=rendering.text.lines().count() {
        // Its own text, or that which it includes.
        const PARTS: [&str; 3] = ["elements.wgsl", "index.wgsl", "scatter_sort.wgsl"];
        let known = |file| file == template || PARTS.contains(&file);
        assert!(rendering.origin(line).is_some_and(|(file, _)| known(file)));
    }
    insta::assert_snapshot!(name, rendering.text);
}

#[test]
fn cross_entropy() {
    let form = |task, form, size, count, more: Value| {
        let usual = context! {
            task, form, size, count,
            blocks => false, block_length => 64, vectors => true, ragged => false,
            strided => false, signed => true, weighted => false,
            loss => task == "targets" || task == "logsumexp", row_weight => task == "targets",
            grad => task != "logsumexp",
        };
        context! { ..more, ..usual }
    };
    let snap = |name: &str, variables: Value| snapshot(name, "cross_entropy.wgsl", &variables);
    snap(
        "cross_entropy_thread",
        form("targets", "thread", 64, 1, context! {}),
    );
    snap(
        "cross_entropy_registers",
        form("targets", "registers", 64, 2, context! { weighted => true }),
    );
    let strided = context! { blocks => true, vectors => false, ragged => true, strided => true, signed => false };
    snap(
        "cross_entropy_long_strided",
        form("targets", "long", 256, 1, strided),
    );
    snap(
        "softmax_registers_ragged",
        form("softmax", "registers", 256, 1, context! { ragged => true }),
    );
    snap(
        "log_softmax_thread",
        form("log_softmax", "thread", 64, 1, context! {}),
    );
    snap(
        "logsumexp_long",
        form("logsumexp", "long", 256, 2, context! { blocks => true }),
    );
}

#[test]
fn running_sums() {
    let scan = |form, size: u32, count: u32, reverse, sums| {
        context! { stage => "scan", form, size, count, reverse, sums, t => "f32" }
    };
    let snap = |name, variables: Value| snapshot(name, "cumsum.wgsl", &variables);
    snap("cumsum_thread", scan("thread", 64, 1, false, false));
    snap("cumsum_group", scan("group", 256, 2, true, true));
    snap(
        "cumsum_add",
        context! { stage => "add", reverse => true, t => "i32" },
    );
}

#[test]
fn moved_elements() {
    let parts = |parts: u32, t| context! { parts, t };
    snapshot("concat", "concat.wgsl", &parts(2, "f32"));
    snapshot("concat_of_one", "concat.wgsl", &parts(1, "bool"));
    let gather = |signed, t| context! { signed, t };
    snapshot("gather", "gather.wgsl", &gather(true, "f32"));
    snapshot("gather_of_integers", "gather.wgsl", &gather(false, "u32"));
    for stage in ["clear", "link", "sort", "add", "join"] {
        let name = format!("scatter_{stage}");
        let form = context! { stage, signed => true, before => false, block => 64, t => "f32" };
        snapshot(&name, "scatter_add.wgsl", &form);
    }
    let more =
        context! { stage => "add", signed => false, before => true, block => 64, t => "i32" };
    snapshot("scatter_add_more", "scatter_add.wgsl", &more);
    let place = |rank: u32, filled| context! { rank, filled, t => "f32" };
    snapshot("place", "place.wgsl", &place(2, true));
    snapshot("place_of_nothing", "place.wgsl", &place(2, false));
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

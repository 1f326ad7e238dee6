//! One rendering of each form of each kernel, so that a change is read as the diff of a shader.
//! `cargo insta review`, or `INSTA_UPDATE=always`, takes new ones.

use wgrad_shaders::{Value, context, render};

fn snapshot(name: &str, template: &str, variables: &Value) {
    let rendering = render(template, variables).unwrap_or_else(|error| panic!("{name}: {error}"));
    // Where a line comes from is known for all of them: the kernel's file or one that it includes.
    for line in 1..=rendering.text.lines().count() {
        const PARTS: [&str; 4] = [
            "elements.wgsl",
            "index.wgsl",
            "merged.wgsl",
            "scatter_sort.wgsl",
        ];
        let known = |file: &str| file == template || file.contains('/') || PARTS.contains(&file);
        assert!(rendering.origin(line).is_some_and(|(file, _)| known(file)));
    }
    insta::assert_snapshot!(name, rendering.text);
}

#[test]
fn attention() {
    let snap = |name: &str, pass: &str, across: usize, more: Value| {
        let size = 8;
        let usual = context! {
            pass, across, size,
            vectors => vec!["q", "k", "v", "g"],
            whole => vec!["out", "dq", "dk", "dv"],
            head => 64, value_head => 64, split => false, rolled => false,
            causal => false, window => false, mask => "none", alibi => false, dropout => false,
        };
        let template = match across {
            0 => "attention_lanes.wgsl",
            _ => "attention.wgsl",
        };
        snapshot(name, template, &context! { ..more, ..usual });
    };
    let causal = context! { causal => true, window => true, alibi => true };
    snap("attention_forward", "forward", 8, causal);
    let odd = context! {
        head => 5, value_head => 3, vectors => vec!["q"; 0], whole => vec!["q"; 0],
        mask => "float", dropout => true, rolled => true,
    };
    snap("attention_forward_odd", "forward", 8, odd.clone());
    snap("attention_lanes_forward", "forward", 0, odd.clone());
    snap(
        "attention_lanes_query",
        "query",
        0,
        context! { causal => true },
    );
    snap("attention_lanes_key", "key", 0, context! { window => true });
    snap("attention_query", "query", 8, context! { mask => "bool" });
    snap("attention_key", "key", 8, context! {});
    snap("attention_key_odd", "key", 8, odd);
    let large = context! { head => 256, value_head => 256, split => true };
    snap("attention_key_split", "key", 16, large);
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

/// An accumulator of elements `x0` in a register of type `d`, whose running value is a `t`.
fn accumulator(op: &str, d: &str, t: &str) -> Value {
    let position = op.starts_with("arg");
    context! { op, dtype => d, d, t, position, value => "x0", at => "vec4<u32>(r)" }
}

fn reduction(form: &str, accumulators: Vec<Value>, more: Value) -> Value {
    let stores: Vec<Value> = (0..accumulators.len())
        .map(|i| context! { name => format!("y{i}"), value => format!("acc{i}") })
        .collect();
    let usual = context! {
        prefix => "", zero => "params.zero", form, accumulators, second => false, masked => false, blocks => 2, block_length => 64,
        before => "let x0_base = o * params.length;", element => "let x0 = load4_x0(x0_base + r);",
        after => "", stores,
    };
    context! { ..more, ..usual }
}

#[test]
fn reductions() {
    let snap = |name: &str, size: usize, split: bool, reduction: Value| {
        let form = reduction.get_attr("form").unwrap();
        let variables = context! { form, size, band => 2, split, reduction };
        snapshot(name, "reduce.wgsl", &variables);
    };
    let sum = || accumulator("sum", "f32", "f32");
    let argmax = || accumulator("argmax", "f32", "u32");
    snap(
        "reduce_columns",
        64,
        false,
        reduction("columns", vec![sum(), argmax()], context! {}),
    );
    let truths = vec![
        accumulator("any", "bool", "u32"),
        accumulator("all", "f32", "u32"),
        accumulator("sum", "bool", "u32"),
    ];
    snap(
        "reduce_rows_masked",
        64,
        false,
        reduction("rows", truths, context! { masked => true, blocks => 1 }),
    );
    snap(
        "reduce_rows_masked_sum",
        64,
        true,
        reduction(
            "rows",
            vec![sum(), argmax()],
            context! { masked => true, blocks => 1 },
        ),
    );
    let factors = vec![
        accumulator("product", "f32", "f32"),
        accumulator("product", "i32", "i32"),
    ];
    snap(
        "reduce_rows_masked_product",
        64,
        false,
        reduction("rows", factors, context! { masked => true }),
    );
    let least = accumulator("min", "i32", "u32");
    snap(
        "reduce_group",
        256,
        false,
        reduction("group", vec![sum(), least, argmax()], context! {}),
    );
    snap(
        "reduce_band",
        256,
        false,
        reduction("band", vec![sum(), argmax()], context! {}),
    );
    snap(
        "reduce_columns_split",
        64,
        true,
        reduction("columns", vec![argmax()], context! { second => true }),
    );
}

#[test]
fn map() {
    let variables = context! {
        loads => "let x0 = load4_x0(i);\nlet x1 = load4_x1(i);\n",
        program => "let v0 = x0 * x1;\nlet v1 = exp_f32(v0);\n",
        values => vec!["v0", "v1"],
    };
    snapshot("map", "map.wgsl", &variables);
}

#[test]
fn products() {
    let form = |a: &str, b: &str, more: Value| {
        let usual = context! {
            t => "f32", a_walk => a, b_walk => b, deep => false, block_length => 256,
            counts => context! { a => 0, b => 0 },
            split => false, whole => true, sums => Value::from(()),
            batch => "", base => context! { a => "params.a_start", b => "params.b_start" },
            epilogue => "let z0 = load4_z0(col);\nlet ev0 = fma(acc, vec4<f32>(params.one0), z0);",
            stores => vec![context! { name => "y0", value => "ev0" }],
        };
        context! { ..more, ..usual }
    };
    // A part of k: nothing behind the product yet.
    let part = context! {
        split => true, whole => false, epilogue => "",
        stores => vec![context! { name => "partial", value => "acc" }],
    };
    let tile64 = context! { tile => 64, block => 4, depth => 16 };
    let tile128 = context! { tile => 128, block => 8, depth => 16 };
    let tiled = |name: &str, variables: Value| snapshot(name, "matmul_tiled.wgsl", &variables);
    tiled(
        "matmul_tiled_64_deep",
        form(
            "single",
            "across",
            context! { ..context! { deep => true }, ..part.clone(), ..tile64.clone() },
        ),
    );
    tiled("matmul_tiled_128", form("across", "k", tile128.clone()));
    let batched = context! {
        t => "i32", sums => reduction("columns", vec![accumulator("sum", "f32", "f32")], context! {
            prefix => "sums_",
        }),
        batch => "let t_c0 = batch;",
        base => context! { a => "params.a_start + t_c0 * params.a_t0", b => "params.b_start" },
    };
    tiled(
        "matmul_tiled_128_batched",
        form("k", "k", context! { ..batched, ..tile128 }),
    );
    // Windows behind a weight; and both over several dimensions.
    let convolution = context! { counts => context! { a => 0, b => 3 } };
    let counting = context! { counts => context! { a => 4, b => 2 } };
    tiled(
        "matmul_tiled_64_convolution",
        form("k", "single", context! { ..convolution.clone(), ..tile64 }),
    );
    let registers = |name: &str, variables: Value| {
        snapshot(name, "matmul_registers.wgsl", &variables);
    };
    registers(
        "matmul_registers_4x4",
        form("k", "single", context! { rows => 4, quads => 1 }),
    );
    registers(
        "matmul_registers_8x8_deep",
        form(
            "across",
            "across",
            context! { rows => 8, quads => 2, deep => true, ..part.clone() },
        ),
    );
    registers(
        "matmul_registers_1x4",
        form("single", "k", context! { rows => 1, quads => 1 }),
    );
    registers(
        "matmul_registers_4x4_counting",
        form(
            "single",
            "k",
            context! { rows => 4, quads => 1, ..counting.clone() },
        ),
    );
    let lanes = |name: &str, variables: Value| snapshot(name, "matmul_lanes.wgsl", &variables);
    lanes(
        "matmul_lanes_4x4_convolution",
        form(
            "k",
            "single",
            context! { rows => 4, quads => 1, size => 8, ..convolution },
        ),
    );
    lanes(
        "matmul_lanes_2x4_counting",
        form(
            "single",
            "across",
            context! { rows => 2, quads => 1, size => 8, ..counting },
        ),
    );
    lanes(
        "matmul_lanes_2x8",
        form("k", "across", context! { rows => 2, quads => 2, size => 8 }),
    );
    lanes(
        "matmul_lanes_2x4_deep",
        form(
            "across",
            "k",
            context! { rows => 2, quads => 1, size => 8, deep => true, ..part },
        ),
    );
    lanes(
        "matmul_lanes_1x4",
        form(
            "single",
            "single",
            context! { rows => 1, quads => 1, size => 8 },
        ),
    );
}

#[test]
fn running_sums() {
    let scan = |form, size: u32, count: u32, combine, more: Value| {
        let usual = context! {
            stage => "scan", form, size, count, combine, reverse => false, states => false,
            before => false, t => "f32",
        };
        context! { ..more, ..usual }
    };
    let snap = |name, variables: Value| snapshot(name, "scan.wgsl", &variables);
    let totals = context! { stage => "totals", reverse => true, t => "i32" };
    let before = context! { before => true, reverse => true };
    let states = context! { before => true, states => true };
    snap("scan_thread", scan("thread", 64, 1, "sum", context! {}));
    snap(
        "scan_group",
        scan("group", 256, 2, "product", before.clone()),
    );
    snap("scan_totals", scan("group", 256, 2, "argmax", totals));
    snap("scan_states", scan("thread", 64, 1, "argmin", states));
    snap("scan_logs", scan("thread", 64, 1, "logsumexp", before));
}

/// The rest of a template that includes `elements.wgsl`: elements of type `t` that are stored as they are.
fn stored(t: &str, more: Value) -> Value {
    let stores = vec![context! { name => "y", value => "acc" }];
    let own = context! { t, epilogue => "", stores };
    context! { ..own, ..more, ..context! { quads => false } }
}

#[test]
fn moved_elements() {
    let parts = |parts: u32, t| stored(t, context! { parts, vectors => Vec::<String>::new() });
    snapshot("concat", "concat.wgsl", &parts(2, "f32"));
    let quads = context! { parts => 2, quads => true, vectors => vec!["x1"] };
    snapshot("concat_of_quads", "concat.wgsl", &stored("f32", quads));
    snapshot("concat_of_one", "concat.wgsl", &parts(1, "bool"));
    let gather = |signed, t| stored(t, context! { signed, vector => false });
    snapshot("gather", "gather.wgsl", &gather(true, "f32"));
    snapshot("gather_of_integers", "gather.wgsl", &gather(false, "u32"));
    let finished = context! {
        epilogue => "let z0 = load4_z0(i);\nlet ev0 = acc * z0;\nlet ev1 = ev0 > acc;",
        stores => vec![context! { name => "y0", value => "ev0" }, context! { name => "y1", value => "ev1" }],
        t => "f32", signed => true, quads => true, vector => true,
    };
    snapshot("gather_with_epilogue", "gather.wgsl", &finished);
    for stage in ["find", "clear", "link", "sort", "add", "join"] {
        let name = format!("scatter_{stage}");
        let merge = "sum";
        let form = context! { stage, merge, signed => true, before => false, block => 64, each => 8, words => 64 };
        snapshot(&name, "scatter.wgsl", &stored("f32", form));
    }
    let more =
        context! { stage => "add", merge => "max", signed => false, before => true, block => 64 };
    snapshot("scatter_max_more", "scatter.wgsl", &stored("i32", more));
    let search = |right, key| stored("i32", context! { right, key });
    snapshot("search_sorted", "search_sorted.wgsl", &search(true, "f32"));
    let place = |filled| stored("f32", context! { steps => [false, true], filled });
    snapshot("place", "place.wgsl", &place(true));
    snapshot("place_of_nothing", "place.wgsl", &place(false));
    let fold = |positions, filled| stored("f32", context! { positions, filled, dilated => true });
    snapshot("fold", "fold.wgsl", &fold(false, true));
    snapshot("fold_at_positions", "fold.wgsl", &fold(true, true));
    snapshot("fold_of_nothing", "fold.wgsl", &fold(false, false));
    let pool = |combine, [alone, values, positions]: [bool; 3]| {
        let t = if positions { "i32" } else { "f32" };
        stored(
            t,
            context! { combine, alone, values, positions, dilated => combine == "sum" },
        )
    };
    snapshot("sum_pool", "pool.wgsl", &pool("sum", [true, true, false]));
    snapshot("max_pool", "pool.wgsl", &pool("max", [true, true, true]));
    snapshot(
        "max_pool_values",
        "pool.wgsl",
        &pool("max", [false, false, false]),
    );
    snapshot(
        "max_pool_positions",
        "pool.wgsl",
        &pool("max", [false, false, true]),
    );
}

#[test]
fn order() {
    let snap = |name, variables: Value| snapshot(name, "sort.wgsl", &variables);
    let block = |form, length: u32, descending, keys| {
        context! { stage => "block", form, length, descending, keys, key => "f32" }
    };
    snap("sort_block_thread", block("thread", 32, true, true));
    snap("sort_block_group", block("group", 1024, false, true));
    snap("sort_block_group_short", block("group", 16, false, false));
    snap(
        "sort_merge",
        context! { stage => "merge", ways => 4, keys => true },
    );
    snap(
        "sort_merge_last",
        context! { stage => "merge", ways => 4, keys => false },
    );
    snap("sort_values", stored("f32", context! { stage => "values" }));
}

#[test]
fn optimizers() {
    let update = |segments, keep, states, program: &str, values: &[&str]| {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        context! { segments, keep, numbers => 2, states, program, values, decided => false, read => 0, first => 1 }
    };
    let plain = update(1, false, 0, "let v0 = n0 * g;", &["p - v0"]);
    snapshot("update", "update.wgsl", &plain);
    let states = update(2, true, 2, "let v0 = n0 * g;", &["p - v0", "x1", "x0"]);
    snapshot("update_states_elsewhere", "update.wgsl", &states);
    let values = vec!["p - v0".to_string()];
    let program = "let v0 = n0 * g * n1;";
    let decided = context! { segments => 2, keep => true, numbers => 2, states => 0, program, values, decided => true, read => 1, first => 9 };
    snapshot("update_decided", "update.wgsl", &decided);
}

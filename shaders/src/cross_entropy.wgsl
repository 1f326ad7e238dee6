// Cross-entropy of rows of logits against their classes, with its gradient. Row r with target t, all sums
// over its classes:
//
//     peak = max(x)
//     others = sum(e^(x - peak)) without the target's        total = others + e^(x_t - peak)
//     loss = w (ln(total) + (peak - x_t))                    w = weight[t], 0 where t is ignored
//     grad = w e^(x - peak) / total, at the target -w others / total, because p - 1 would cancel
//
// A target out of range writes the fault word; its loss is NaN, its weight 1 and its gradient 0.
//
// Threads take quads of four classes. Forms: "thread", a thread per row, for few classes and for adapters
// that run on the CPU; "registers", a workgroup per row, which it keeps in registers, `count` quads a
// thread; "long", a workgroup per row, which it reads again, `count` quads a thread in one round of its
// loops (a driver may leave long loops early). Sums of many terms are sums of blocks of `block_length`.
//
// Varies: form, size (threads), count, blocks; how the logits lie: vectors (quads that may be loaded
// at once), ragged (the last quad is not whole), strided (classes have a stride); what is wanted: weighted,
// loss, row_weight, grad; signed (targets).
#set grouped = form != "thread"

#if grouped
var<workgroup> shared_row: array<f32, {{size}}>;

#for name, merge in [("max", "max(shared_row[lane], shared_row[lane + width])"), ("sum", "shared_row[lane] + shared_row[lane + width]")]
fn group_{{name}}(lane: u32, value: f32) -> f32 {
    shared_row[lane] = value;
    workgroupBarrier();
    for (var width = {{size // 2}}u; width > 0u; width >>= 1u) {
        if lane < width {
            shared_row[lane] = {{merge}};
        }
        workgroupBarrier();
    }
    let result = shared_row[0];
    workgroupBarrier();
    return result;
}

#endfor
#endif
#set class_step = " * params.logits_class" if strided else ""
fn logit(row: u32, c: u32) -> f32 {
    return load_logits(params.logits_start + row * params.logits_row + c{{class_step}});
}

// The logits of four classes; beyond the end the last one, or the first of the four, again.
fn logits4(row: u32, at: u32) -> vec4<f32> {
    let base = params.logits_start + row * params.logits_row;
    #if not vectors
    let c = min(vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.classes - 1u)){{class_step}} + base;
    return vec4<f32>(load_logits(c.x), load_logits(c.y), load_logits(c.z), load_logits(c.w));
    #elif ragged
    // What a whole vector holds beyond the last class must not become the maximum.
    let live = vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.classes);
    let x = load4_logits(base + at);
    return select(vec4<f32>(x.x), x, live);
    #else
    return load4_logits(base + at);
    #endif
}

#if grad
fn put_grad(row: u32, c: u32, value: vec4<f32>) {
    let to = row * params.classes + c;
    #if ragged
    store_grad(to, value.x);
    #for lane in ["y", "z", "w"]
    if c + {{loop.index}}u < params.classes {
        store_grad(to + {{loop.index}}u, value.{{lane}});
    }
    #endfor
    #else
    store4_grad(to, value);
    #endif
}

#endif
## The caller's lines for each quad of classes of the row: `x` are its logits, `c` the classes. The first of
## several such walks loads what the register form keeps.
#macro each_quad(first_walk=false)
#if form == "registers"
#for q in range(count)
    #if first_walk
    let at{{q}} = (lane + {{q * size}}u) * 4u;
    let x{{q}} = logits4(row, at{{q}});
    #endif
    if at{{q}} < params.classes {
        let c = vec4<u32>(at{{q}}) + vec4<u32>(0u, 1u, 2u, 3u);
        let x = x{{q}};
{{caller()}}
    }
#endfor
#elif form == "long"
    for (var first = lane * 4u; first < params.classes; first += {{count * size * 4}}u) {
        #for q in range(count)
        if first + {{q * size * 4}}u < params.classes {
            let c = vec4<u32>(first + {{q * size * 4}}u) + vec4<u32>(0u, 1u, 2u, 3u);
            let x = logits4(row, c.x);
{{caller()}}
        }
        #endfor
    }
#else
    for (var at = 0u; at < params.classes; at += 4u) {
        let c = vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u);
        let x = logits4(row, at);
{{caller()}}
    }
#endif
#endmacro
## A sum over quads: what `add` gives it ends up in `sums`.
#macro begin_sum()
    var sums = vec4<f32>(0.0);
    #if blocks
    var block = vec4<f32>(0.0);
    var steps = 0u;
    #endif
#endmacro
#macro add(term)
        #if blocks
        block += {{term}};
        steps++;
        if (steps & {{block_length - 1}}u) == 0u {
            sums += block;
            block = vec4<f32>(0.0);
        }
        #else
        sums += {{term}};
        #endif
#endmacro
#macro end_sum(name)
    #if blocks
    sums += block;
    #endif
    var {{name}} = (sums.x + sums.y) + (sums.z + sums.w);
    #if grouped
    {{name}} = group_sum(lane, {{name}});
    #endif
#endmacro
@compute @workgroup_size({{size}})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    #if grouped
    let row = linear_group(group, groups);
    #else
    let row = linear_group(group, groups) * {{size}}u + lane;
    #endif
    if row >= params.rows {
        return;
    }
    #if signed
    let target_class = load_targets(params.targets_start + row * params.targets_row);
    #else
    // What does not fit becomes a negative number, which is outside as well.
    let target_class = bitcast<i32>(load_targets(params.targets_start + row * params.targets_row));
    #endif
    let ignored = target_class == params.ignore_index;
    let inside = target_class >= 0 && target_class < i32(params.classes);
    if !ignored && !inside{{" && lane == 0u" if grouped}} {
        #if signed
        report_fault(bitcast<u32>(target_class), select(0u, 0xffffffffu, target_class < 0));
        #else
        report_fault(bitcast<u32>(target_class), 0u);
        #endif
    }
    let chosen = u32(clamp(target_class, 0, i32(params.classes) - 1));
    #if weighted
    let own_weight = load_weight(params.weight_start + chosen * params.weight_class);
    #else
    let own_weight = 1.0;
    #endif
    let weight = select(select(1.0, own_weight, inside), 0.0, ignored);
    let counted = inside && !ignored;

    var top = vec4<f32>(logit(row, 0u));
    #call each_quad(true)
        top = max(top, x);
    #endcall
    var peak = max(max(top.x, top.y), max(top.z, top.w));
    #if grouped
    peak = group_max(lane, peak);
    #endif

    // The target's logit is read before the last barrier: the gradient may overwrite it.
    let own_logit = logit(row, chosen);
{{begin_sum()}}
    #call each_quad()
        let other = (c < vec4<u32>(params.classes)) & (c != vec4<u32>(chosen));
{{add("select(vec4<f32>(0.0), exp_f32(x - peak), other)")}}
    #endcall
{{end_sum("others")}}
    let own = exp_f32(vec4<f32>(own_logit - peak)).x;
    let total = others + own;
    #if loss or row_weight
    #if grouped
    if lane == 0u {
    #else
    {
    #endif
        #if loss
        // Where the target is the maximum, ln(1 + others) keeps small losses exact.
        let log_total = select(ln_f32(vec4<f32>(total)), log1p_f32(vec4<f32>(others)), vec4<bool>(own_logit == peak)).x;
        let value = weight * (log_total + (peak - own_logit));
        let nothing = nan_f32(vec4<f32>(value)).x;
        store_loss(row, select(select(nothing, value, inside), 0.0, ignored));
        #endif
        #if row_weight
        store_row_weight(row, weight);
        #endif
    }
    #endif
    #if grad
    let scale = weight / total;
    #call each_quad()
        let slope = select(exp_f32(x - peak) * scale, vec4<f32>(-scale * others), c == vec4<u32>(chosen));
        put_grad(row, c.x, select(vec4<f32>(0.0), slope, counted));
    #endcall
    #endif
}

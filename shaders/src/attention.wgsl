// Attention of queries q [queries, {E}] to keys k [keys, {E}] with values v [keys, {V}], for each head, without its
// scores in memory (Dao 2024). With scores s = scale q k^T and what mask, slopes, causality and window make of them:
//
//     forward   lse_i = ln(sum_j e^s_ij), out_i = sum_j e^(s_ij - lse_i) v_j
//     query     dq_i = sum_j t_ij k_j
//     key       dk_j = sum_i t_ij q_i, dv_j = sum_i m_ij p_ij g_i, over the heads that share a key, too
//
// where p = e^(s - lse), m are the factors of dropout, and t = scale p (m (g v^T) - delta), for the gradient g of
// `out` and delta_i = g_i . out_i.
//
// A workgroup of 16 by `across` threads has 64 rows of its own: queries, in the last pass keys. It goes over the
// others, 32 at a time, which causality and window leave. Of these scores each thread computes those of four rows
// (ty + 16 r) and `columns` others (tx + across c): factors come through workgroup memory, 16 of a row at a time. Scores
// become weights there, and sums of the others' rows by weights stay in registers: each thread has four rows and
// `quads` quads of columns (tx + across n).
//
// Varies: pass; across; head and value_head (sizes); vectors (which operands load quads) and whole (which results store
// quads); split (the gradients of keys and of values come one after the other); rolled (loops stay loops, for drivers
// that compile slowly); causal, window, mask ("none", "bool", "float"), alibi, dropout.
#set threads = 16 * across
#set columns = 32 // across
#set unrolled = 1 if rolled else 4
#set by_key = pass == "key"
#set lanes = ["x", "y", "z", "w"]
#set head_quads = (head + 3) // 4
#set value_quads = (value_head + 3) // 4

// Factors: 64 own rows and 32 others of four quads each (in five, against conflicts of banks); or rows to sum up.
var<workgroup> stage: array<vec4<f32>, 480>;
// Of four rows each: [32 others][16 threads].
var<workgroup> weights: array<vec4<f32>, 512>;

#include "attention/scores.wgsl"

## Adds the products of a quad of the factors' columns.
#macro multiply_quad(result, quad)
            #for r in range(4)
            let a{{r}} = stage[(ty + {{r * 16}}u) * 5u + {{quad}}];
            #endfor
            #for c in range(columns)
            let b{{c}} = stage[320u + (tx + {{c * across}}u) * 5u + {{quad}}];
            #for lane in lanes
            {{result}}{{c}} = mad_f32(b{{c}}.{{lane}}, vec4<f32>(a0.{{lane}}, a1.{{lane}}, a2.{{lane}}, a3.{{lane}}), {{result}}{{c}});
            #endfor
            #endfor
#endmacro
## Declares vectors of products, each of the thread's four rows with one of its others.
#macro multiply(result, own, own_base, own_count, other, other_base, other_count, quads)
#for c in range(columns)
    var {{result}}{{c}} = vec4<f32>(0.0);
#endfor
    for (var d = 0u; d < {{quads * 4}}u; d += 16u) {
        workgroupBarrier();
        #for u in range(0, 256, threads)
        {
            let unit = lane + {{u}}u;
            let row = min(first + (unit >> 2u), {{own_count}} - 1u);
            stage[(unit >> 2u) * 5u + (unit & 3u)] = {{own}}_quad({{own_base}}, row, d + (unit & 3u) * 4u);
        }
        #endfor
        if lane < 128u {
            let row = min(other + (lane >> 2u), {{other_count}} - 1u);
            stage[320u + (lane >> 2u) * 5u + (lane & 3u)] = {{other}}_quad({{other_base}}, row, d + (lane & 3u) * 4u);
        }
        workgroupBarrier();
        #if rolled
        for (var quad = 0u; quad < 4u; quad++) {
{{multiply_quad(result, "quad")}}
        }
        #else
        #for quad in range(4)
        {
{{multiply_quad(result, quad ~ "u")}}
        }
        #endfor
        #endif
    }
#endmacro
## Adds the others' rows by the weights to sums.
#macro add(result, other, other_base, other_count, quads)
#set rows = 32 if quads <= 15 else 16 if quads <= 30 else 8 if quads <= 60 else 4
#set units = rows * quads
    for (var some = 0u; some < 32u; some += {{rows}}u) {
        workgroupBarrier();
        #for u in range(0, units, threads)
        {
            let unit = lane + {{u}}u;
            let row = other + some + unit / {{quads}}u;
            if unit < {{units}}u {
                var quad = vec4<f32>(0.0);
                if row < {{other_count}} {
                    quad = {{other}}_quad({{other_base}}, row, unit % {{quads}}u * 4u);
                }
                stage[unit] = quad;
            }
        }
        #endfor
        workgroupBarrier();
        for (var j = 0u; j < {{rows}}u; j += {{unrolled}}u) {
            #for i in range(unrolled)
            {
                let w = weights[(some + j + {{i}}u) * 16u + ty];
                #for n in range((quads + across - 1) // across)
                let x{{n}} = stage[min((j + {{i}}u) * {{quads}}u + tx + {{n * across}}u, 479u)];
                #for r in range(4)
                {{result}}{{r}}_{{n}} = mad_f32(w.{{lanes[r]}}, x{{n}}, {{result}}{{r}}_{{n}});
                #endfor
                #endfor
            }
            #endfor
        }
    }
#endmacro
#macro sums(result, quads)
    #for r in range(4)
    #for n in range((quads + across - 1) // across)
    var {{result}}{{r}}_{{n}} = vec4<f32>(0.0);
    #endfor
    #endfor
#endmacro
#macro store(result, name, first_row, count, quads, step="1u", factor="")
    #for r in range(4)
    if first + ty + {{r * 16}}u < {{count}} {
        #for n in range((quads + across - 1) // across)
        if tx + {{n * across}}u < {{quads}}u {
            put_{{name}}({{first_row}} + (first + ty + {{r * 16}}u) * {{step}}, (tx + {{n * across}}u) * 4u, {{result}}{{r}}_{{n}}{{factor ~ "." ~ lanes[r] if factor}});
        }
        #endfor
    }
    #endfor
#endmacro
## One number for each of the thread's four rows, from those of all threads of the row.
#macro across_rows(name, value, merge)
    workgroupBarrier();
    stage[tx * 16u + ty] = {{value}};
    workgroupBarrier();
    var {{name}} = stage[ty];
    #for t in range(1, across)
    {{name}} = {{merge ~ "(" ~ name ~ ", stage[" ~ t * 16 ~ "u + ty])" if merge else name ~ " + stage[" ~ t * 16 ~ "u + ty]"}};
    #endfor
#endmacro
@compute @workgroup_size({{threads}})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = linear_group(group, groups);
    if block >= params.blocks {
        return;
    }
    let tx = lane % {{across}}u;
    let ty = lane / {{across}}u;
    let first = block % params.tiles * 64u;
    let of_heads = block / params.tiles;
    #set own_rows = 64
    #include "attention/others.wgsl"
    from_other = from_other / 32u * 32u;
    let own = vec4<u32>(first + ty) + vec4<u32>(0u, 16u, 32u, 48u);
    #if not by_key
    let base = head_of(of_heads / params.heads, of_heads % params.heads);
    #if pass == "query"
    let at = base.row + min(own, vec4<u32>(params.queries - 1u));
    let lse = vec4<f32>(load_lse(place_lse(at.x)), load_lse(place_lse(at.y)), load_lse(place_lse(at.z)), load_lse(place_lse(at.w)));
    let delta = vec4<f32>(load_delta(place_delta(at.x)), load_delta(place_delta(at.y)), load_delta(place_delta(at.z)), load_delta(place_delta(at.w)));
{{sums("dq", head_quads)}}
    #else
    var most = -inf_f32(vec4<f32>(params.scale));
    var total = vec4<f32>(0.0);
{{sums("out", value_quads)}}
    #endif
    for (var other = from_other; other < to_other; other += 32u) {
{{multiply("s", "q", "base.q", "params.queries", "k", "base.k", "params.keys", head_quads)}}
        #if pass == "query"
{{multiply("d", "g", "base.g", "params.queries", "v", "base.v", "params.keys", value_quads)}}
        #endif
        #for c in range(columns)
        let j{{c}} = vec4<u32>(other + tx + {{c * across}}u);
        s{{c}} = scores_of(base, s{{c}}, own, j{{c}});
        #endfor
        #if pass == "query"
        #for c in range(columns)
        #if dropout
        d{{c}} *= kept(base, own, j{{c}});
        #endif
        weights[(tx + {{c * across}}u) * 16u + ty] = params.scale * exp_f32(s{{c}} - lse) * (d{{c}} - delta);
        #endfor
{{add("dq", "k", "base.k", "params.keys", head_quads)}}
        #else
        var here = s0;
        #for c in range(1, columns)
        here = max(here, s{{c}});
        #endfor
{{across_rows("tile_most", "here", "max")}}
        let larger = max(most, tile_most);
        // Nothing can be subtracted from minus infinity.
        let shift = select(larger, vec4<f32>(0.0), larger < vec4<f32>(-3.4028234e38));
        let shrink = exp_f32(most - shift);
        most = larger;
        total *= shrink;
        #for r in range(4)
        #for n in range((value_quads + across - 1) // across)
        out{{r}}_{{n}} *= shrink.{{lanes[r]}};
        #endfor
        #endfor
        #for c in range(columns)
        s{{c}} = exp_f32(s{{c}} - shift);
        total += s{{c}};
        #if dropout
        s{{c}} *= kept(base, own, j{{c}});
        #endif
        weights[(tx + {{c * across}}u) * 16u + ty] = s{{c}};
        #endfor
{{add("out", "v", "base.v", "params.keys", value_quads)}}
        #endif
    }
    #if pass == "query"
{{store("dq", "dq", "base.row", "params.queries", head_quads)}}
    #else
{{across_rows("sum", "total", "")}}
    let dead = most < vec4<f32>(-3.4028234e38);
    let factor = select(1.0 / sum, vec4<f32>(0.0), dead);
    // The heads of a query lie beside each other.
    let out_row = of_heads / params.heads * params.queries * params.heads + of_heads % params.heads;
{{store("out", "out", "out_row", "params.queries", value_quads, "params.heads", " * factor")}}
    let lse = select(most + ln_f32(sum), inf_f32(sum), dead);
    #for r in range(4)
    if tx == 0u && own.{{lanes[r]}} < params.queries {
        store_lse(base.row + own.{{lanes[r]}}, lse.{{lanes[r]}});
    }
    #endfor
    #endif
    #else
    let shared_heads = params.heads / params.group;
    let batch = of_heads / shared_heads;
    let first_head = of_heads % shared_heads * params.group;
    let row = of_heads * params.keys;
    ## Where registers do not hold both sums, one after the other.
    #for parts in ([["dv"], ["dk"]] if split else [["dv", "dk"]])
    {
    #for part in parts
{{sums(part, head_quads if part == "dk" else value_quads)}}
    #endfor
    for (var head = first_head; head < first_head + params.group; head++) {
        let base = head_of(batch, head);
        for (var other = from_other; other < to_other; other += 32u) {
{{multiply("s", "k", "base.k", "params.keys", "q", "base.q", "params.queries", head_quads)}}
            #if "dk" in parts
{{multiply("d", "v", "base.v", "params.keys", "g", "base.g", "params.queries", value_quads)}}
            #endif
            #for c in range(columns)
            let i{{c}} = other + tx + {{c * across}}u;
            let at{{c}} = base.row + min(i{{c}}, params.queries - 1u);
            s{{c}} = exp_f32(scores_of(base, s{{c}}, vec4<u32>(i{{c}}), own) - load_lse(place_lse(at{{c}})));
            #set kept = " * kept" ~ c if dropout else ""
            #if dropout
            let kept{{c}} = kept(base, vec4<u32>(i{{c}}), own);
            #endif
            #if "dk" in parts
            d{{c}} = params.scale * s{{c}} * (d{{c}}{{kept}} - load_delta(place_delta(at{{c}})));
            #endif
            #if "dv" in parts
            weights[(tx + {{c * across}}u) * 16u + ty] = s{{c}}{{kept}};
            #endif
            #endfor
            #if "dv" in parts
{{add("dv", "g", "base.g", "params.queries", value_quads)}}
            #endif
            #if "dk" in parts
            workgroupBarrier();
            #for c in range(columns)
            weights[(tx + {{c * across}}u) * 16u + ty] = d{{c}};
            #endfor
{{add("dk", "q", "base.q", "params.queries", head_quads)}}
            #endif
        }
    }
    #for part in parts
{{store(part, part, "row", "params.keys", head_quads if part == "dk" else value_quads)}}
    #endfor
    }
    #endfor
    #endif
}

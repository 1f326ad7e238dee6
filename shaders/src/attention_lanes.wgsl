// Attention, as attention.wgsl has it, by subgroups, without workgroup memory or barriers, for adapters that run on the
// CPU (see matmul_lanes.wgsl). The `size` lanes of a subgroup share 8 rows of their own: queries, in the pass "key"
// keys. Of the others each lane has four at a time for their scores; sums of the others' rows by weights, which all lanes
// get by shuffles, stay in registers: each lane has a quad of the columns, or `size` quads apart several.
//
// Varies: size; and what attention.wgsl varies, but for its workgroups.
#set own_rows = 8
#set by_key = pass == "key"
#set head_quads = (head + 3) // 4
#set value_quads = (value_head + 3) // 4
#include "attention/scores.wgsl"

## Declares vectors of products, each of an own row with this lane's four others.
#macro multiply(result, mine, mine_base, mine_count, other, other_base, other_count, quads)
#for r in range(own_rows)
    var {{result}}{{r}} = vec4<f32>(0.0);
#endfor
    for (var d = 0u; d < {{quads}}u; d += {{size}}u) {
        #for r in range(own_rows)
        let p{{r}} = {{mine}}_quad({{mine_base}}, min(first + {{r}}u, {{mine_count}} - 1u), (d + lane) * 4u);
        #endfor
        let steps = min({{size}}u, {{quads}}u - d);
        for (var step = 0u; step < steps; step++) {
            #for c in range(4)
            let x{{c}} = {{other}}_quad({{other_base}}, min(other + lane * 4u + {{c}}u, {{other_count}} - 1u), (d + step) * 4u);
            #endfor
            #for e in lanes
            let y{{e}} = vec4<f32>(x0.{{e}}, x1.{{e}}, x2.{{e}}, x3.{{e}});
            #for r in range(own_rows)
            {{result}}{{r}} = mad_f32(subgroupShuffle(p{{r}}.{{e}}, step), y{{e}}, {{result}}{{r}});
            #endfor
            #endfor
        }
    }
#endmacro
## Adds the others' rows by weights to sums.
#macro add(result, weights, other, other_base, other_count, quads)
    for (var l = 0u; l < {{size}}u; l++) {
        #for c in range(4)
        if other + l * 4u + {{c}}u < {{other_count}} {
            #for n in range((quads + size - 1) // size)
            let x{{n}} = {{other}}_quad({{other_base}}, other + l * 4u + {{c}}u, (lane + {{n * size}}u) * 4u);
            #endfor
            #for r in range(own_rows)
            let w{{r}} = subgroupShuffle({{weights}}{{r}}.{{lanes[c]}}, l);
            #for n in range((quads + size - 1) // size)
            {{result}}{{r}}_{{n}} = mad_f32(w{{r}}, x{{n}}, {{result}}{{r}}_{{n}});
            #endfor
            #endfor
        }
        #endfor
    }
#endmacro
#macro sums(result, quads)
    #for r in range(own_rows)
    #for n in range((quads + size - 1) // size)
    var {{result}}{{r}}_{{n}} = vec4<f32>(0.0);
    #endfor
    #endfor
#endmacro
#macro store(result, name, first_row, count, quads, step="1u", factor="")
    #for r in range(own_rows)
    if first + {{r}}u < {{count}} {
        #for n in range((quads + size - 1) // size)
        if lane + {{n * size}}u < {{quads}}u {
            put_{{name}}({{first_row}} + (first + {{r}}u) * {{step}}, (lane + {{n * size}}u) * 4u, {{result}}{{r}}_{{n}}{{factor ~ r if factor}});
        }
        #endfor
    }
    #endfor
#endmacro
@compute @workgroup_size({{size}})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = linear_group(group, groups);
    if block >= params.blocks {
        return;
    }
    let first = block % params.tiles * {{own_rows}}u;
    let of_heads = block / params.tiles;
    #include "attention/others.wgsl"
    let four = vec4<u32>(0u, 1u, 2u, 3u);
    #if not by_key
    let base = head_of(of_heads / params.heads, of_heads % params.heads);
    #if pass == "query"
    #for r in range(own_rows)
    let at{{r}} = base.row + min(first + {{r}}u, params.queries - 1u);
    let lse{{r}} = load_lse(place_lse(at{{r}}));
    let delta{{r}} = load_delta(place_delta(at{{r}}));
    #endfor
{{sums("dq", head_quads)}}
    #else
    #for r in range(own_rows)
    var most{{r}} = -inf_f32(vec4<f32>(params.scale)).x;
    var total{{r}} = 0.0;
    #endfor
{{sums("out", value_quads)}}
    #endif
    for (var other = from_other; other < to_other; other += {{size * 4}}u) {
        let j = vec4<u32>(other + lane * 4u) + four;
{{multiply("s", "q", "base.q", "params.queries", "k", "base.k", "params.keys", head_quads)}}
        #if pass == "query"
{{multiply("d", "g", "base.g", "params.queries", "v", "base.v", "params.keys", value_quads)}}
        #endif
        #for r in range(own_rows)
        {
            let i = vec4<u32>(first + {{r}}u);
            let scores = scores_of(base, s{{r}}, i, j);
            #if pass == "query"
            #if dropout
            d{{r}} *= kept(base, i, j);
            #endif
            s{{r}} = params.scale * exp_f32(scores - vec4<f32>(lse{{r}})) * (d{{r}} - vec4<f32>(delta{{r}}));
            #else
            let larger = max(most{{r}}, subgroupMax(max(max(scores.x, scores.y), max(scores.z, scores.w))));
            // Nothing can be subtracted from minus infinity.
            let shift = select(larger, 0.0, larger < -3.4028234e38);
            let shrink = exp_f32(vec4<f32>(most{{r}} - shift));
            most{{r}} = larger;
            s{{r}} = exp_f32(scores - vec4<f32>(shift));
            total{{r}} = total{{r}} * shrink.x + ((s{{r}}.x + s{{r}}.y) + (s{{r}}.z + s{{r}}.w));
            #for n in range((value_quads + size - 1) // size)
            out{{r}}_{{n}} *= shrink;
            #endfor
            #if dropout
            s{{r}} *= kept(base, i, j);
            #endif
            #endif
        }
        #endfor
        #if pass == "query"
{{add("dq", "s", "k", "base.k", "params.keys", head_quads)}}
        #else
{{add("out", "s", "v", "base.v", "params.keys", value_quads)}}
        #endif
    }
    #if pass == "query"
{{store("dq", "dq", "base.row", "params.queries", head_quads)}}
    #else
    #for r in range(own_rows)
    let sum{{r}} = subgroupAdd(total{{r}});
    let dead{{r}} = most{{r}} < -3.4028234e38;
    let factor{{r}} = select(1.0 / sum{{r}}, 0.0, dead{{r}});
    if lane == 0u && first + {{r}}u < params.queries {
        let all = vec4<f32>(sum{{r}});
        store_lse(base.row + first + {{r}}u, select(most{{r}} + ln_f32(all).x, inf_f32(all).x, dead{{r}}));
    }
    #endfor
    // The heads of a query lie beside each other.
    let out_row = of_heads / params.heads * params.queries * params.heads + of_heads % params.heads;
{{store("out", "out", "out_row", "params.queries", value_quads, "params.heads", " * factor")}}
    #endif
    #else
    let shared_heads = params.heads / params.group;
    let batch = of_heads / shared_heads;
    let first_head = of_heads % shared_heads * params.group;
    let row = of_heads * params.keys;
{{sums("dk", head_quads)}}
{{sums("dv", value_quads)}}
    for (var head = first_head; head < first_head + params.group; head++) {
        let base = head_of(batch, head);
        for (var other = from_other; other < to_other; other += {{size * 4}}u) {
            let i = vec4<u32>(other + lane * 4u) + four;
            let at = base.row + min(i, vec4<u32>(params.queries - 1u));
            let lse = vec4<f32>(load_lse(place_lse(at.x)), load_lse(place_lse(at.y)), load_lse(place_lse(at.z)), load_lse(place_lse(at.w)));
            let delta = vec4<f32>(load_delta(place_delta(at.x)), load_delta(place_delta(at.y)), load_delta(place_delta(at.z)), load_delta(place_delta(at.w)));
{{multiply("s", "k", "base.k", "params.keys", "q", "base.q", "params.queries", head_quads)}}
{{multiply("d", "v", "base.v", "params.keys", "g", "base.g", "params.queries", value_quads)}}
            #for r in range(own_rows)
            {
                let j = vec4<u32>(first + {{r}}u);
                let weights = exp_f32(scores_of(base, s{{r}}, i, j) - lse);
                #if dropout
                let factors = kept(base, i, j);
                s{{r}} = weights * factors;
                d{{r}} = params.scale * weights * (d{{r}} * factors - delta);
                #else
                s{{r}} = weights;
                d{{r}} = params.scale * weights * (d{{r}} - delta);
                #endif
            }
            #endfor
{{add("dv", "s", "g", "base.g", "params.queries", value_quads)}}
{{add("dk", "d", "q", "base.q", "params.queries", head_quads)}}
        }
    }
{{store("dk", "dk", "row", "params.keys", head_quads)}}
{{store("dv", "dv", "row", "params.keys", value_quads)}}
    #endif
}

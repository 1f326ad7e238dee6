// A reduction: a program computes, of each element over the kept and the reduced dimensions, what
// accumulators take in; another, of their results, what is stored over the kept dimensions.
//
// Forms: "columns", a thread keeps four neighbouring results and walks the reduced part, so neighbouring
// threads read neighbouring elements where the kept dimensions are the inner ones; "rows", a thread keeps one
// result and its four lanes walk the reduced part; "group", as rows, but the `size` threads of a workgroup
// share a result and combine in a tree; "band", as columns, but a workgroup's threads share `band` times four
// results. Where `split`, this reduces parts of the reduced dimensions, and another launch of this kernel their
// results. The order depends on sizes alone, so results are the same every time.
//
// Varies: form, size, band, split, and what the files in reduce/ need.

#set columns = form in ["columns", "band"]
#if form in ["group", "band"]
#for a in reduction.accumulators
var<workgroup> shared{{loop.index0}}: array<{{"vec4<" ~ a.t ~ ">" if columns else a.t}}, {{size}}>;
#if a.position
var<workgroup> shared{{loop.index0}}_at: array<{{"vec4<u32>" if columns else "u32"}}, {{size}}>;
#endif
#endfor

#endif
@compute @workgroup_size({{size}})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    #if form == "group"
    let unit = linear_group(group, groups);
    #elif form == "band"
    // All threads have to meet, so those beyond the results share the last.
    let unit = linear_group(group, groups) * {{band}}u + lane % {{band}}u;
    let last = (params.{{reduction.prefix}}results - 1u) / 4u;
    #else
    let unit = linear_group(group, groups) * {{size}}u + lane;
    #endif
    #if split
    let part = unit / params.units;
    if part >= params.parts {
        return;
    }
    let begin = part * params.chunk;
    let end = min(begin + params.chunk, params.{{reduction.prefix}}length);
    let result = unit % params.units;
    #else
    let begin = 0u;
    let end = params.{{reduction.prefix}}length;
    let result = {{"min(unit, last)" if form == "band" else "unit"}};
    #endif
    #include "reduce/accumulate.wgsl"
    #if form == "band"
    if lane >= {{band}}u || unit > last {
        return;
    }
    #endif
    #if split
    let to = part * params.pitch + o;
    #for a in reduction.accumulators
    #set i = loop.index0
    #if columns
    store4_part{{i}}(to, a{{i}});
    #else
    store_part{{i}}(to, a{{i}}.x);
    #endif
    #if a.position and columns
    store4_part{{i}}_at(to, a{{i}}_at);
    #elif a.position
    store_part{{i}}_at(to, a{{i}}_at.x);
    #endif
    #endfor
    #else
    #include "reduce/finish.wgsl"
    #endif
}

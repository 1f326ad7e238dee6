// Rows: reductions of a row, maps of its elements with their results, in as many stages as it takes.
//
//     for each row:
//         for each stage:
//             walk along the row: compute the elements and fold them        r = fold(f(x, r's so far))
//             compute what follows of the results, once a row               r = g(r's so far)
//         walk along the row: store what is computed of the elements        y = h(x, r's)
//
// A thread takes quads of four elements, of which `c` is the first. Forms: "thread", a thread per row, for
// short rows and for adapters that run on the CPU; "registers", a workgroup per row, `count` quads a
// thread, which keeps in registers what a later walk needs again; "long", a workgroup per row, in loops whose
// rounds take `count` quads a thread (a driver may leave long loops early).
//
// Varies: form, size (threads), count, masked (the last quad of a row is not whole), blocks (sums of many
// terms are sums of blocks of `block_length`). bases: where the row's operands begin. held: the registers
// that are kept, and their types. Of each stage: walk, with the generated program `body` of a quad, the
// registers it takes and keeps, and its folds (value: what is folded; kind: sum, product, max or position; enter
// and leave: functions into and out of the type `t` that it runs in; to: the row value); after: the
// generated program of a row; results: the row values that it makes. last: a walk with its stores. row_stores:
// row values that are stored.
#set grouped = form != "thread"
#if grouped
#for fold in widest
var<workgroup> shared{{loop.index0}}: array<u32, {{size}}>;
#if fold.kind == "position"
var<workgroup> shared{{loop.index0}}_at: array<u32, {{size}}>;
#endif
#endfor

#endif
## Takes a number into another; of equal ones the first position stays.
#macro merge(kind, value, other, at, other_at)
#if kind == "sum"
    {{value}} = {{value}} + {{other}};
#elif kind == "product"
    {{value}} = {{value}} * {{other}};
#elif kind == "max"
    {{value}} = max({{value}}, {{other}});
#else
    {
        let key = {{other}};
        let place = {{other_at}};
        let wins = (key > {{value}}) | ((key == {{value}}) & (place < {{at}}));
        {{value}} = select({{value}}, key, wins);
        {{at}} = select({{at}}, place, wins);
    }
#endif
#endmacro
## The caller's lines for each quad of the row, after the walk's program.
#macro quads(walk)
#if form == "registers"
#for q in range(count)
    if (lane + {{q * size}}u) * 4u < params.length {
        let c = (lane + {{q * size}}u) * 4u;
        #for name in walk.takes
        let {{name}} = {{name}}_{{q}};
        #endfor
{{walk.body}}
{{caller()}}
        #for name, value in walk.keeps
        {{name}}_{{q}} = {{value}};
        #endfor
    }
#endfor
#elif form == "long"
    for (var first = lane * 4u; first < params.length; first += {{count * size * 4}}u) {
        #for q in range(count)
        if first + {{q * size * 4}}u < params.length {
            let c = first + {{q * size * 4}}u;
{{walk.body}}
{{caller()}}
        }
        #endfor
    }
#else
    for (var c = 0u; c < params.length; c += 4u) {
{{walk.body}}
{{caller()}}
    }
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
{{bases}}
    #for name, t in held
    #for q in range(count)
    var {{name}}_{{q}}: vec4<{{t}}>;
    #endfor
    #endfor
    #for stage in stages
    #set walk = stage.walk
    #if walk
    #for fold in walk.folds
    #set nothing = 1 if fold.kind == "product" else 0
    var {{fold.name}} = vec4<{{fold.t}}>({{nothing}});
    #if fold.kind == "position"
    var {{fold.name}}_at = vec4<u32>(0xffffffffu);
    #elif fold.t == "f32" and blocks
    var {{fold.name}}_block = vec4<f32>({{nothing}}.0);
    #endif
    #endfor
    #if blocks
    var {{walk.name}}_steps = 0u;
    #endif
    #call quads(walk)
        #if masked
        let live = vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.length);
        #endif
        #for fold in walk.folds
        #set value = fold.enter ~ "(" ~ fold.value ~ ")"
        #set nothing = 1 if fold.kind == "product" else 0
        #if masked
        let {{fold.name}}_new = select(vec4<{{fold.t}}>({{nothing}}), {{value}}, live);
        #else
        let {{fold.name}}_new = {{value}};
        #endif
        #if fold.t == "f32" and blocks
        {{fold.name}}_block {{"*" if fold.kind == "product" else "+"}}= {{fold.name}}_new;
        #else
        #if fold.kind == "position"
        #if masked
        let {{fold.name}}_place = select(vec4<u32>(0xffffffffu), vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u), live);
        #else
        let {{fold.name}}_place = vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u);
        #endif
        #endif
{{merge(fold.kind, fold.name, fold.name ~ "_new", fold.name ~ "_at", fold.name ~ "_place")}}
        #endif
        #endfor
        #if blocks
        {{walk.name}}_steps++;
        if ({{walk.name}}_steps & {{block_length - 1}}u) == 0u {
            #for fold in walk.folds
            #if fold.t == "f32"
            {{fold.name}} {{"*" if fold.kind == "product" else "+"}}= {{fold.name}}_block;
            {{fold.name}}_block = vec4<f32>({{1 if fold.kind == "product" else 0}}.0);
            #endif
            #endfor
        }
        #endif
    #endcall
    #for fold in walk.folds
    #if fold.t == "f32" and blocks
    {{fold.name}} {{"*" if fold.kind == "product" else "+"}}= {{fold.name}}_block;
    #endif
    #for swap in ["zwxy", "yxwz"]
{{merge(fold.kind, fold.name, fold.name ~ "." ~ swap, fold.name ~ "_at", fold.name ~ "_at." ~ swap)}}
    #endfor
    #endfor
    #if grouped
    #for fold in walk.folds
    #set shared = "shared" ~ loop.index0
    {{shared}}[lane] = bitcast<u32>({{fold.name}}.x);
    #if fold.kind == "position"
    {{shared}}_at[lane] = {{fold.name}}_at.x;
    #endif
    #endfor
    workgroupBarrier();
    for (var width = {{size // 2}}u; width > 0u; width >>= 1u) {
        if lane < width {
            #for fold in walk.folds
            #set shared = "shared" ~ loop.index0
            var {{fold.name}}_own = bitcast<{{fold.t}}>({{shared}}[lane]);
            let {{fold.name}}_other = bitcast<{{fold.t}}>({{shared}}[lane + width]);
            #if fold.kind == "position"
            var {{fold.name}}_own_at = {{shared}}_at[lane];
            let {{fold.name}}_other_at = {{shared}}_at[lane + width];
            #endif
{{merge(fold.kind, fold.name ~ "_own", fold.name ~ "_other", fold.name ~ "_own_at", fold.name ~ "_other_at")}}
            {{shared}}[lane] = bitcast<u32>({{fold.name}}_own);
            #if fold.kind == "position"
            {{shared}}_at[lane] = {{fold.name}}_own_at;
            #endif
            #endfor
        }
        workgroupBarrier();
    }
    #for fold in walk.folds
    #set shared = "shared" ~ loop.index0
    {{fold.name}} = vec4<{{fold.t}}>(bitcast<{{fold.t}}>({{shared}}[0]));
    #if fold.kind == "position"
    {{fold.name}}_at = vec4<u32>({{shared}}_at[0]);
    #endif
    #endfor
    workgroupBarrier();
    #endif
    #for fold in walk.folds
    #if fold.kind == "position"
    let {{fold.to}} = vec4<i32>({{fold.name}}_at);
    #else
    let {{fold.to}} = {{fold.leave}}({{fold.name}});
    #endif
    #endfor
    #endif
{{stage.after}}
    #for name, value in stage.results
    let {{name}} = {{value}};
    #endfor
    #endfor
    #if row_stores
    #if grouped
    if lane == 0u {
    #else
    {
    #endif
        #for name, value in row_stores
        store_{{name}}(row, {{value}}.x);
        #endfor
    }
    #endif
    #if last
    #call quads(last)
        #for name, value in last.stores
        #if masked
        store_{{name}}(row * params.length + c, {{value}}.x);
        #for lane in ["y", "z", "w"]
        if c + {{loop.index}}u < params.length {
            store_{{name}}(row * params.length + c + {{loop.index}}u, {{value}}.{{lane}});
        }
        #endfor
        #else
        store4_{{name}}(row * params.length + c, {{value}});
        #endif
        #endfor
    #endcall
    #endif
}

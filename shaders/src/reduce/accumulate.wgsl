## The running values a0, a1, ... of number `result` (times four where four results are neighbours: `o` is the
## first), over the elements from `begin` to `end`. Extremes and their positions work on order-preserving u32
## keys (see the prelude), which makes NaN and infinity ordinary values; the smallest key is 0.
##
## Varies: form, and of `reduction`: prefix (of its parameters), accumulators (op, dtype; t: the running
## value's type, d: the elements' register; value: the register it takes in, at: the position of that;
## position: whether it keeps one), second (it takes in running values of parts), before and element (texts:
## addresses; of the element at `r` the loads and the program), masked (the last four elements may not all be
## there), zero (a 0 that no compiler knows, for f32 sums), blocks (f32 sums and products are those of blocks of
## `block_length`, because the error of a chain grows with its length: 1, or 2 for sums of sums of blocks).
#set columns = form in ["columns", "band"]
## Products run as sums do.
#set floats = reduction.accumulators|selectattr("t", "equalto", "f32")|list|length > 0
## Merges `other` into `value`, and positions with them.
#macro merge(a, i, value, other, at, other_at)
    #if a.op == "sum"
    {{value}} = {{value}} + {{other}};
    #elif a.op == "product"
    {{value}} = {{value}} * {{other}};
    #elif a.op == "any" or a.op == "all"
    {{value}} = {{value}} | {{other}};
    #elif not a.position
    {{value}} = max({{value}}, {{other}});
    #else
    let wins{{i}} = ({{other}} > {{value}}) | (({{other}} == {{value}}) & ({{other_at}} < {{at}}));
    let value{{i}} = select({{value}}, {{other}}, wins{{i}});
    let at{{i}} = select({{at}}, {{other_at}}, wins{{i}});
    {{value}} = value{{i}};
    {{at}} = at{{i}};
    #endif
#endmacro
let o = result{{" * 4u" if columns}};
#if form != "band"
if o >= params.{{reduction.prefix}}results {
    return;
}
#endif
#for a in reduction.accumulators
#set i = loop.index0
#set nothing = 1 if a.op == "product" else 0
#if a.op == "sum" and a.t == "f32"
// A compiler that knew the 0 would make it of 0 / 0 and of 0 * infinity behind a loop that is never entered.
var a{{i}} = vec4<f32>({{reduction.zero}});
#else
var a{{i}} = vec4<{{a.t}}>({{nothing}});
#endif
#if a.t == "f32"
var a{{i}}_block = vec4<f32>({{nothing}}.0);
#if reduction.blocks == 2
var a{{i}}_blocks = vec4<f32>({{nothing}}.0);
#endif
#elif a.position
var a{{i}}_at = vec4<u32>(0xffffffffu);
#endif
#endfor
{{reduction.before}}
#if floats
var steps = 0u;
#endif
#if form == "band"
for (var r = begin + lane / {{band}}u; r < end; r += {{size // band}}u) {
#elif columns
for (var r = begin; r < end; r++) {
#elif form == "rows"
for (var r = begin; r < end; r += 4u) {
#else
for (var r = begin + lane * 4u; r < end; r += {{size * 4}}u) {
#endif
    {{reduction.element}}
    #if reduction.masked
    // Lanes beyond the end must not count.
    let live = vec4<u32>(r) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(end);
    #endif
    #for a in reduction.accumulators
    #set i = loop.index0
    #set nothing = 1 if a.op == "product" else 0
    #if reduction.second or a.op == "product" or (a.op == "sum" and a.dtype != "bool")
    var new{{i}} = {{a.value}};
    #elif a.op == "sum"
    var new{{i}} = select(vec4<u32>(0u), vec4<u32>(1u), {{a.value}});
    #elif a.op == "any" or a.op == "all"
    #set truth = a.value if a.d == "bool" else a.value ~ " != vec4<" ~ a.d ~ ">(0)"
    #if a.op == "all"
    // Whether one is false.
    #endif
    var new{{i}} = select(vec4<u32>({{"0u" if a.op == "any" else "1u"}}), vec4<u32>({{"1u" if a.op == "any" else "0u"}}), {{truth}});
    #elif a.op == "min" or a.op == "argmin"
    var new{{i}} = down_key_{{a.d}}({{a.value}});
    #else
    var new{{i}} = key_{{a.d}}({{a.value}});
    #endif
    #if reduction.masked
    new{{i}} = select(vec4<{{a.t}}>({{nothing}}), new{{i}}, live);
    #endif
    #if a.t == "f32"
    a{{i}}_block {{"*" if a.op == "product" else "+"}}= new{{i}};
    #elif a.op == "sum"
    a{{i}} += new{{i}};
    #elif a.op == "product"
    a{{i}} *= new{{i}};
    #elif a.op == "any" or a.op == "all"
    a{{i}} |= new{{i}};
    #elif not a.position
    a{{i}} = max(a{{i}}, new{{i}});
    #else
    var new{{i}}_at = {{a.at}};
    #if reduction.masked
    new{{i}}_at = select(vec4<u32>(0xffffffffu), new{{i}}_at, live);
    #endif
    let wins{{i}} = (new{{i}} > a{{i}}) | ((new{{i}} == a{{i}}) & (new{{i}}_at < a{{i}}_at));
    a{{i}} = select(a{{i}}, new{{i}}, wins{{i}});
    a{{i}}_at = select(a{{i}}_at, new{{i}}_at, wins{{i}});
    #endif
    #endfor
    #if floats
    steps++;
    if (steps & {{reduction.block_length - 1}}u) == 0u {
        #for a in reduction.accumulators
        #if a.t == "f32"
        a{{loop.index0}}{{"_blocks" if reduction.blocks == 2}} {{"*" if a.op == "product" else "+"}}= a{{loop.index0}}_block;
        a{{loop.index0}}_block = vec4<f32>({{1 if a.op == "product" else 0}}.0);
        #endif
        #endfor
        #if reduction.blocks == 2
        if (steps & {{reduction.block_length * reduction.block_length - 1}}u) == 0u {
            #for a in reduction.accumulators
            #if a.t == "f32"
            a{{loop.index0}} {{"*" if a.op == "product" else "+"}}= a{{loop.index0}}_blocks;
            a{{loop.index0}}_blocks = vec4<f32>({{1 if a.op == "product" else 0}}.0);
            #endif
            #endfor
        }
        #endif
    }
    #endif
}
#for a in reduction.accumulators
#if a.t == "f32"
#set sign = "*" if a.op == "product" else "+"
a{{loop.index0}} {{sign}}= {{"a" ~ loop.index0 ~ "_blocks " ~ sign ~ " " if reduction.blocks == 2}}a{{loop.index0}}_block;
#endif
#endfor
#if not columns
// The four lanes combine into all of them.
#for swap in ["zwxy", "yxwz"]
#for a in reduction.accumulators
#set v = "a" ~ loop.index0
{{merge(a, loop.index0 ~ "_" ~ swap, v, v ~ "." ~ swap, v ~ "_at", v ~ "_at." ~ swap)}}
#endfor
#endfor
#endif
#if form in ["group", "band"]
// A tree over the workgroup. The results are those of the first threads; the others leave.
#for a in reduction.accumulators
shared{{loop.index0}}[lane] = a{{loop.index0}}{{".x" if not columns}};
#if a.position
shared{{loop.index0}}_at[lane] = a{{loop.index0}}_at{{".x" if not columns}};
#endif
#endfor
workgroupBarrier();
for (var width = {{size // 2}}u; width >= {{1 if form == "group" else band}}u; width >>= 1u) {
    if lane < width {
        #for a in reduction.accumulators
        #set v = "shared" ~ loop.index0
        {{merge(a, loop.index0, v ~ "[lane]", v ~ "[lane + width]", v ~ "_at[lane]", v ~ "_at[lane + width]")}}
        #endfor
    }
    workgroupBarrier();
}
#if form == "group"
if lane != 0u {
    return;
}
#for a in reduction.accumulators
a{{loop.index0}} = vec4<{{a.t}}>(shared{{loop.index0}}[0]);
#if a.position
a{{loop.index0}}_at = vec4<u32>(shared{{loop.index0}}_at[0]);
#endif
#endfor
#else
#for a in reduction.accumulators
a{{loop.index0}} = shared{{loop.index0}}[lane];
#if a.position
a{{loop.index0}}_at = shared{{loop.index0}}_at[lane];
#endif
#endfor
#endif
#endif

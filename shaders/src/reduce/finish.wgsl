## Turns running values into results acc0, acc1, ..., of which a program computes what is stored.
##
## Varies: form, and of `reduction`: accumulators (see accumulate.wgsl), after (text: loads and the program),
## stores (what is written, each with the register that holds its value).
#for a in reduction.accumulators
#set i = loop.index0
#if a.op in ["sum", "product"]
let acc{{i}} = a{{i}}{{" != vec4<u32>(0u)" if a.dtype == "bool"}}{{" & vec4<u32>(255u)" if a.dtype == "u8"}};
#elif a.op == "any" or a.op == "all"
#set truth = "a" ~ i ~ (" != " if a.op == "any" else " == ") ~ "vec4<u32>(0u)"
#if a.d == "bool"
let acc{{i}} = {{truth}};
#else
let acc{{i}} = select(vec4<{{a.d}}>(0), vec4<{{a.d}}>(1), {{truth}});
#endif
#elif a.position
let acc{{i}} = vec4<i32>(a{{i}}_at);
#elif a.op == "min"
let acc{{i}} = down_unkey_{{a.d}}(a{{i}});
#else
let acc{{i}} = unkey_{{a.d}}(a{{i}});
#endif
#endfor
{{reduction.after}}
#for y in reduction.stores
#if form in ["columns", "band"]
store4_{{y.name}}(o, {{y.value}});
#else
store_{{y.name}}(o, {{y.value}}.x);
#endif
#endfor

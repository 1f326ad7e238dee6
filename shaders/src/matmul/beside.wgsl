## A reduction of an operand beside the product, by threads of their own. A function, because a thread beyond the end
## returns early: WGSL's rules take all that follows such a return in the same function for divergent, and what
## follows in main has barriers.
##
## Varies: sums (see reduce/accumulate.wgsl), or none.
#if sums
fn sum_beside(result: u32) {
    let begin = 0u;
    let end = params.{{sums.prefix}}length;
    #with reduction = sums, form = sums.form
    #include "reduce/accumulate.wgsl"
    #include "reduce/finish.wgsl"
    #endwith
}

#endif

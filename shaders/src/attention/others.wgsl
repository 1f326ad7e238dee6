## Which of the others, from `from_other` to `to_other`, causality and window leave any of the `own_rows` rows from `first`
## on.
##
## Varies: own_rows; by_key (whether the others are queries); causal, window.
// The others that causality and window leave any of the rows.
var from_other = 0u;
#if by_key
var to_other = params.queries;
#if causal
from_other = first;
#endif
#else
var to_other = params.keys;
#if causal
to_other = min(to_other, first + {{own_rows}}u);
#endif
#endif
#if window
from_other = max(from_other, max(first + 1u, params.window) - params.window);
to_other = min(to_other, first + {{own_rows - 1}}u + params.window);
#endif

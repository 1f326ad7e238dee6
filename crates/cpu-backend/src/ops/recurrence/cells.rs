//! What is elementwise in a step: rows of a state, forward and backward.

use pulp::{Simd, WithSimd};
use wgrad_core::ops::Cell;

use crate::instructions::dispatch;
use crate::lanes::{Element, FloatElement, FloatLane, Lane};
use crate::loops::fused;

/// A row of a step forward.
pub(super) struct Forward<'a, E> {
    pub cell: Cell,
    pub input: &'a [E],
    pub bias: Option<&'a [E]>,
    /// What the state gives; afterwards what is kept.
    pub gates: &'a mut [E],
    /// The state before, afterwards the next one.
    pub h: &'a mut [E],
    pub c: &'a mut [E],
}

/// A row of a step backward.
pub(super) struct Backward<'a, E> {
    pub cell: Cell,
    /// The gradients of the hidden state and of an LSTM's cells.
    pub grad: &'a [E],
    pub of_cells: &'a [E],
    pub kept: &'a [E],
    /// An LSTM's cells or the hidden state, and those before.
    pub state: &'a [E],
    pub before: &'a [E],
    /// Room for the cells' hyperbolic tangents.
    pub squashed: &'a mut [E],
    /// What the step behind gives to the hidden state, afterwards its whole gradient.
    pub dh: &'a mut [E],
    /// The cells' gradient, or a GRU's gradient of the state before that does not go through its gates.
    pub carry: &'a mut [E],
    /// The slopes, and what of them is multiplied by the weights.
    pub slopes: &'a mut [E],
    pub own: &'a mut [E],
}

impl<E: FloatElement> Forward<'_, E> {
    pub fn run(self) {
        dispatch(self);
    }
}

impl<E: FloatElement> Backward<'_, E> {
    pub fn run(self) {
        dispatch(self);
    }
}

impl<E: FloatElement> WithSimd for Forward<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match fused::<S>() {
            true => self.step::<E::Fused>(),
            false => self.step::<E::Plain>(),
        }
    }
}

impl<E: FloatElement> WithSimd for Backward<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match fused::<S>() {
            true => self.step::<E::Fused>(),
            false => self.step::<E::Plain>(),
        }
    }
}

/// `out = f(out, from..)`, element by element.
#[inline(always)]
fn each<L: Lane, const N: usize>(
    out: &mut [L::Raw],
    from: [&[L::Raw]; N],
    f: impl Fn(L, [L; N]) -> L,
) {
    let n = out.len();
    let from = from.map(|x| &x[..n]);
    for j in 0..n {
        let others = std::array::from_fn(|i| L::new(from[i][j]));
        out[j] = f(L::new(out[j]), others).raw();
    }
}

#[inline(always)]
fn one<L: Lane>() -> L {
    L::new(L::Raw::from_f64(1.0))
}

/// `x (1 - x)`, the slope of a gate.
#[inline(always)]
fn rising<L: Lane>(x: L) -> L {
    x.mul(one::<L>().sub(x))
}

/// `1 - x^2`, the slope of a hyperbolic tangent.
#[inline(always)]
fn flat<L: Lane>(x: L) -> L {
    one::<L>().sub(x.mul(x))
}

impl<E: FloatElement> Forward<'_, E> {
    #[inline(always)]
    fn step<L: FloatLane<Raw = E>>(self) {
        let Forward {
            cell,
            input,
            bias,
            gates,
            h,
            c,
        } = self;
        let size = h.len();
        match cell {
            Cell::Tanh => each(h, [gates, input], |_: L, [a, b]| a.add(b).tanh()),
            Cell::Relu => each(h, [gates, input], |_: L, [a, b]| a.add(b).relu()),
            Cell::Gru => {
                let (gates, own) = gates.split_at_mut(3 * size);
                if let Some(bias) = bias {
                    each(gates, [bias], |x: L, [b]| x.add(b));
                }
                let (gates, new) = gates.split_at_mut(2 * size);
                own[..size].copy_from_slice(new);
                each(gates, [input], |x: L, [y]| y.add(x).sigmoid());
                let (reset, update) = gates.split_at(size);
                let rest = &input[2 * size..];
                each(new, [rest, reset, own], |_: L, [x, r, own]| {
                    x.add(r.mul(own)).tanh()
                });
                each(h, [update, new], |h: L, [u, n]| {
                    one::<L>().sub(u).mul(n).add(u.mul(h))
                });
            }
            Cell::Lstm => {
                let (doors, rest) = gates.split_at_mut(2 * size);
                let (new, leave) = rest.split_at_mut(size);
                let leave = &mut leave[..size];
                each(doors, [input], |x: L, [y]| x.add(y).sigmoid());
                each(new, [&input[2 * size..]], |x: L, [y]| x.add(y).tanh());
                each(leave, [&input[3 * size..]], |x: L, [y]| x.add(y).sigmoid());
                let (enter, forget) = doors.split_at(size);
                each(c, [enter, forget, new], |c: L, [i, f, g]| {
                    f.mul(c).add(i.mul(g))
                });
                each(h, [leave, c], |_: L, [o, c]| o.mul(c.tanh()));
            }
        }
    }
}

impl<E: FloatElement> Backward<'_, E> {
    #[inline(always)]
    fn step<L: FloatLane<Raw = E>>(self) {
        let Backward {
            cell,
            grad,
            of_cells,
            kept,
            state,
            before,
            squashed,
            dh,
            carry,
            slopes,
            own,
        } = self;
        let size = dh.len();
        let gate = |i: usize| &kept[i * size..][..size];
        each(dh, [grad], |dh: L, [g]| g.add(dh));
        match cell {
            Cell::Tanh => each(slopes, [dh, state], |_: L, [dh, h]| dh.mul(flat(h))),
            Cell::Relu => {
                let zero = L::new(E::from_f64(0.0));
                each(
                    slopes,
                    [dh, state],
                    |_: L, [dh, h]| {
                        if h.le(zero) { zero } else { dh }
                    },
                );
            }
            Cell::Gru => {
                let (reset, update, new) = (gate(0), gate(1), gate(2));
                each(dh, [carry], |dh: L, [more]| dh.add(more));
                let (of_reset, rest) = slopes.split_at_mut(size);
                let (of_update, inner) = rest.split_at_mut(size);
                each(inner, [dh, update, new], |_: L, [dh, u, n]| {
                    dh.mul(one::<L>().sub(u)).mul(flat(n))
                });
                each(
                    of_update,
                    [dh, before, new, update],
                    |_: L, [dh, h, n, u]| dh.mul(h.sub(n)).mul(rising(u)),
                );
                each(
                    of_reset,
                    [inner, gate(3), reset],
                    |_: L, [inner, own, r]| inner.mul(own).mul(rising(r)),
                );
                each(carry, [dh, update], |_: L, [dh, u]| dh.mul(u));
            }
            Cell::Lstm => {
                let (enter, forget, new, leave) = (gate(0), gate(1), gate(2), gate(3));
                each(squashed, [state], |_: L, [c]| c.tanh());
                each(
                    carry,
                    [of_cells, dh, leave, squashed],
                    |dc: L, [g, dh, o, t]| dh.mul(o).mul(flat(t)).add(g).add(dc),
                );
                let (of_enter, rest) = slopes.split_at_mut(size);
                let (of_forget, rest) = rest.split_at_mut(size);
                let (of_new, of_leave) = rest.split_at_mut(size);
                each(of_enter, [carry, new, enter], |_: L, [dc, g, i]| {
                    dc.mul(g).mul(rising(i))
                });
                each(of_forget, [carry, before, forget], |_: L, [dc, c, f]| {
                    dc.mul(c).mul(rising(f))
                });
                each(of_new, [carry, enter, new], |_: L, [dc, i, g]| {
                    dc.mul(i).mul(flat(g))
                });
                each(of_leave, [dh, squashed, leave], |_: L, [dh, t, o]| {
                    dh.mul(t).mul(rising(o))
                });
                each(carry, [forget], |dc: L, [f]| dc.mul(f));
            }
        }
        own.copy_from_slice(slopes);
        if cell == Cell::Gru {
            each(&mut own[2 * size..], [gate(0)], |x: L, [r]| x.mul(r));
        }
    }
}

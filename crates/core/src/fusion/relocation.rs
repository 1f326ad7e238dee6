//! What moves to another kernel once all groups are known: masks to their users, sums beside products.

use std::collections::HashMap;

use super::{Group, Grouping, Kind};
use crate::fusion::graph::Input;
use crate::kernel::ReduceOp;
use crate::record::node::{Contraction, Op};

/// Most terms of sums beside a product, where one thread adds them up one after the other.
const MAX_SUMMED: usize = 4096;

impl Grouping<'_> {
    /// Moves elementwise items to their only users. They were computed beside their operands,
    /// which saves a read; but where those must be stored anyway, it is less to store and to hold
    /// for long if the users compute them from the operands. The mask of a ReLU is such an item:
    /// the backward pass needs it, and has the activation.
    pub(super) fn sink(&mut self) {
        for i in (0..self.graph.items.len()).rev() {
            let (item, from) = (&self.graph.items[i], self.of[i]);
            let Some(&user) = self.users[i].first() else {
                continue;
            };
            let to = self.of[user];
            if !matches!(item.op, Op::Map(_))
                || item.root
                || to == from
                || self.users[i].iter().any(|&u| self.of[u] != to)
                || !self.is_worth_sinking(i, user)
            {
                continue;
            }
            let Some(group) = self.groups[from].as_mut() else {
                continue;
            };
            let Some(at) = group.members.iter().position(|&m| m == i) else {
                continue; // in a prologue
            };
            if group.members.len() == 1 {
                continue;
            }
            group.members.remove(at);
            let own = self.groups.len();
            self.groups.push(Some(Group {
                kind: Kind::Map,
                members: vec![i],
                prologue: Vec::new(),
                sums: None,
            }));
            self.seen.push(0);
            self.of[i] = own;
            self.try_merge(to, own);
            if self.of[i] == own {
                // It does not fit there.
                self.groups[own] = None;
                self.of[i] = from;
                if let Some(group) = self.groups[from].as_mut() {
                    group.members.insert(at, i);
                }
            }
        }
    }

    /// Whether holding item `i` from its operands' group on is more, in bytes and time, than to
    /// hold these until `user`. Time is counted in items.
    fn is_worth_sinking(&self, i: usize, user: usize) -> bool {
        let bytes = |i: usize| {
            let item = &self.graph.items[i];
            item.shape.numel() * item.dtype.size()
        };
        let item = &self.graph.items[i];
        let (mut longer, mut from) = (0, 0);
        for input in &item.inputs {
            let Input::Item(p, _) = input else { continue };
            from = from.max(*p);
            if self.graph.items[*p].root {
                continue;
            }
            let others = self.users[*p].iter().filter(|&&u| u != i);
            // Those in its own group do not make it be stored.
            let stored = others.filter(|&&u| self.of[u] != self.of[*p]);
            match stored.max() {
                Some(&last) => longer += bytes(*p) * user.saturating_sub(last),
                None => return false,
            }
        }
        longer < bytes(i) * user.saturating_sub(from)
    }

    /// Lets the sums of a product's operand over `k` run beside the product.
    pub(super) fn join_sums(&mut self) {
        let mut sums: HashMap<&Input, Vec<usize>> = HashMap::new();
        for (i, item) in self.graph.items.iter().enumerate() {
            if let Op::Reduce { op, .. } = item.op
                && op == ReduceOp::Sum
                && item.shape.rank() == 1
            {
                sums.entry(&item.inputs[0]).or_default().push(i);
            }
        }
        for (product, item) in self.graph.items.iter().enumerate() {
            let Op::MatMul(contraction) = item.op else {
                continue;
            };
            if contraction != Contraction::matrices(0) {
                continue;
            }
            let (a, b) = (&item.inputs[0], &item.inputs[1]);
            // [k.., n] to [n, k..], as sums over k are recorded.
            let columns = b.with(|layout| {
                let last = layout.shape.rank() - 1;
                let order: Vec<usize> = std::iter::once(last).chain(0..last).collect();
                layout.permute(&order)
            });
            let candidates = [Some(a), columns.as_ref()];
            let candidates = candidates.into_iter().flatten();
            for &sum in candidates.filter_map(|input| sums.get(input)).flatten() {
                self.try_join(self.of[sum], self.of[product]);
            }
        }
    }

    fn try_join(&mut self, sums: usize, product: usize) {
        let (Some(x), Some(y)) = (self.get(sums), self.get(product)) else {
            return;
        };
        let reductions = x.members.iter();
        let reductions = reductions.filter(|&&i| !matches!(self.graph.items[i].op, Op::Map(_)));
        let k = |i: &usize| match &self.graph.items[*i].inputs[0] {
            Input::Item(_, layout) | Input::Leaf(_, layout) => layout.shape[1..].iter().product(),
            Input::Scalar(_) => 0usize,
        };
        let fits = x.kind == Kind::Reduce
            && y.kind == Kind::MatMul
            && y.sums.is_none()
            && x.prologue.is_empty()
            && reductions.clone().count() == 1
            && reductions.clone().all(|i| k(i) <= MAX_SUMMED)
            && self.buffers(x, y) <= self.max_buffers
            && x.all().all(|i| !self.reads(i, y))
            && y.all().all(|i| !self.reads(i, x));
        if !fits || self.reaches(sums, product) || self.reaches(product, sums) {
            return;
        }
        if let Some(x) = self.groups[sums].take() {
            for i in x.all() {
                self.of[i] = product;
            }
            if let Some(y) = self.groups[product].as_mut() {
                y.sums = Some(x.members);
            }
        }
    }

    /// Whether item `i` has an operand in the group.
    fn reads(&self, i: usize, group: &Group) -> bool {
        let inputs = self.graph.items[i].inputs.iter();
        inputs.into_iter().any(|input| match input {
            Input::Item(p, _) => self.is_in(*p, group),
            _ => false,
        })
    }
}

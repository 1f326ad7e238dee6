//! Which groups depend on which, and the order in which they run.

use super::{Group, Grouping};
use crate::fusion::graph::Input;

impl Grouping<'_> {
    /// Whether group `to` depends on group `from` through a third group. The numbers of nodes say
    /// nothing here: a group that ends before `from` starts may depend on one that goes on after
    /// it.
    pub(super) fn reaches(&mut self, from: usize, to: usize) -> bool {
        self.stamp += 1;
        let mut stack = Vec::new();
        self.push_operands(to, Some(from), &mut stack);
        while let Some(g) = stack.pop() {
            if g == from {
                return true;
            }
            self.push_operands(g, None, &mut stack);
        }
        false
    }

    /// Groups that the members of `g` read from, except `skip`.
    fn push_operands(&mut self, g: usize, skip: Option<usize>, stack: &mut Vec<usize>) {
        let Some(group) = self.groups[g].as_ref() else {
            return;
        };
        for i in group.all() {
            for input in &self.graph.items[i].inputs {
                if let Input::Item(p, _) = input {
                    let next = self.of[*p];
                    if next != g && Some(next) != skip && self.seen[next] != self.stamp {
                        self.seen[next] = self.stamp;
                        stack.push(next);
                    }
                }
            }
        }
    }

    /// The groups in topological order, each as early as its last member allows.
    pub(super) fn ordered(self) -> Vec<Group> {
        let mut starts: Vec<usize> = (0..self.groups.len())
            .filter(|&g| self.get(g).is_some())
            .collect();
        starts.sort_by_key(|&g| self.get(g).map_or(0, Group::last));
        let mut done = vec![false; self.groups.len()];
        let mut order = Vec::with_capacity(starts.len());
        for g in starts {
            let mut stack = vec![(g, false)];
            while let Some((g, expanded)) = stack.pop() {
                if done[g] {
                    continue;
                }
                if expanded {
                    done[g] = true;
                    order.push(g);
                    continue;
                }
                stack.push((g, true));
                let Some(group) = self.get(g) else { continue };
                for i in group.all() {
                    for input in &self.graph.items[i].inputs {
                        if let Input::Item(p, _) = input
                            && self.of[*p] != g
                            && !done[self.of[*p]]
                        {
                            stack.push((self.of[*p], false));
                        }
                    }
                }
            }
        }
        let mut groups = self.groups;
        order.into_iter().filter_map(|g| groups[g].take()).collect()
    }
}

//! Rooms by name, in a weight-balanced tree. Each node knows how many rooms its subtree has, and
//! which of them has the most members.
//!
//! So the rooms of any range of names are counted in O(log n), and walked from any place in it. The
//! largest of a range are found one by one, in O(log n) each. No state is kept per reader.
//!
//! Invariants, checked by its tests: names ascend from left to right; of two siblings with more
//! than one room together, neither has more than [`DELTA`] times the rooms of the other. The depth
//! is thus at most 2.5 times the binary logarithm, whatever names a client chooses. A randomised
//! tree with a known seed could be degraded to a list by chosen names.
//!
//! Deliberately absent: changes (`directory`), and rights to see rooms (`scope`).

use std::cell::Cell;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use slab::Slab;

use super::{Listing, NameRange};
use crate::base::slack::Slack;

/// The link to a child that does not exist.
const NONE: u32 = u32::MAX;

/// The largest ratio of rooms between two siblings. With [`GAMMA`], it is proven to restore the
/// balance after each insertion and each removal (Hirai and Yamamoto, "Balancing weight-balanced
/// trees", 2011).
const DELTA: u32 = 3;
/// The ratio of an inner to an outer grandchild from which on a double rotation is needed. See
/// [`DELTA`].
const GAMMA: u32 = 2;

/// Memory for this many rooms is kept when there are none.
const ROOMS_KEPT: usize = 128;

/// The memory of a room in the tree, beside its name and title, in bytes.
pub(super) const NODE_BYTES: usize = size_of::<Node>();

#[derive(Debug)]
struct Node {
    name: Box<str>,
    listing: Listing,
    left: u32,
    right: u32,
    /// How many rooms are in this subtree.
    size: u32,
    /// How many members the largest room of the subtree has.
    top_members: u32,
    /// The rank of that room in the subtree, by name from 0; of equals the first.
    top_at: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Slab<Node>,
    root: u32,
    /// How many nodes were visited since [`Tree::take_visits`].
    visits: Cell<u64>,
    /// The length of all names and titles, in bytes.
    text_bytes: usize,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: Slab::new(), root: NONE, visits: Cell::new(0), text_bytes: 0 }
    }
}

/// A subtree in which the next largest rooms are still to be found. Ordered by its best room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    members: u32,
    /// The rank of that room among all, by name; reversed, so that of equals the first comes first.
    place: Reverse<u32>,
    node: u32,
    /// Whether only the node itself is meant, without its subtree.
    is_single: bool,
}

impl Tree {
    /// How many nodes were visited since the last call.
    pub(super) fn take_visits(&self) -> u64 {
        self.visits.take()
    }

    /// The memory of the tree, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.capacity() * NODE_BYTES + self.text_bytes
    }

    /// How many rooms there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A room's listing.
    pub(super) fn find(&self, name: &str) -> Option<&Listing> {
        self.find_node(name).map(|at| &self.node(at).listing)
    }

    /// Changes a room's listing, or inserts it. False if it is unchanged.
    pub(super) fn set(&mut self, name: &str, title: &str, members: u32) -> bool {
        let Some(at) = self.find_node(name) else {
            let listing = Listing { title: title.into(), members };
            let node = Node {
                name: name.into(),
                listing,
                left: NONE,
                right: NONE,
                size: 1,
                top_members: members,
                top_at: 0,
            };
            self.text_bytes += name.len() + title.len();
            let node = u32::try_from(self.nodes.insert(node)).expect("fewer rooms than 2^32");
            self.root = self.insert(self.root, node);
            return true;
        };
        let listing = &mut self.nodes[at as usize].listing;
        let has_title = *listing.title == *title;
        if has_title && listing.members == members {
            return false;
        }
        if !has_title {
            self.text_bytes = self.text_bytes - listing.title.len() + title.len();
            listing.title = title.into();
        }
        listing.members = members;
        self.update_to(self.root, name);
        true
    }

    /// Removes a room. False if there is none.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Some(at) = self.find_node(name) else { return false };
        self.root = self.remove_below(self.root, name);
        let Node { name, listing, .. } = self.nodes.remove(at as usize);
        self.text_bytes -= name.len() + listing.title.len();
        true
    }

    /// How many rooms have names before a bound.
    pub(super) fn rank(&self, bound: &[u8]) -> usize {
        let (mut at, mut before) = (self.root, 0);
        while at != NONE {
            let node = self.node(at);
            if node.name.as_bytes() < bound {
                before += self.size(node.left) + 1;
                at = node.right;
            } else {
                at = node.left;
            }
        }
        before as usize
    }

    /// The rooms from a bound on, in order of name.
    pub(super) fn from(&self, bound: &[u8]) -> Walk<'_> {
        let (mut at, mut path) = (self.root, Vec::new());
        while at != NONE {
            let node = self.node(at);
            if node.name.as_bytes() < bound {
                at = node.right;
            } else {
                path.push(at);
                at = node.left;
            }
        }
        Walk { tree: self, path }
    }

    /// The rooms in these ranges, which must be disjoint: by members, most first, and then by name.
    pub(super) fn largest<'t>(&'t self, ranges: &[NameRange]) -> Largest<'t> {
        let mut pieces = BinaryHeap::new();
        for range in ranges {
            self.cover(self.root, 0, Some(&range.start), Some(&range.end), &mut pieces);
        }
        Largest { tree: self, pieces }
    }

    /// Gives back memory that is mostly unused.
    pub(super) fn tidy(&mut self) {
        self.nodes.trim(ROOMS_KEPT);
    }

    fn node(&self, at: u32) -> &Node {
        self.visits.set(self.visits.get() + 1);
        &self.nodes[at as usize]
    }

    fn size(&self, at: u32) -> u32 {
        if at == NONE { 0 } else { self.nodes[at as usize].size }
    }

    fn find_node(&self, name: &str) -> Option<u32> {
        let mut at = self.root;
        while at != NONE {
            let node = self.node(at);
            at = match name.cmp(&node.name) {
                Ordering::Less => node.left,
                Ordering::Equal => return Some(at),
                Ordering::Greater => node.right,
            };
        }
        None
    }

    /// Computes a node's `size`, `top_members` and `top_at` from its children.
    fn update(&mut self, at: u32) {
        let node = &self.nodes[at as usize];
        let (left, right) = (node.left, node.right);
        let before = self.size(left);
        let size = before + 1 + self.size(right);
        // Of equals the leftmost is taken: the first by name.
        let (mut top_members, mut top_at) = (node.listing.members, before);
        if left != NONE && self.nodes[left as usize].top_members >= top_members {
            let left = &self.nodes[left as usize];
            (top_members, top_at) = (left.top_members, left.top_at);
        }
        if right != NONE && self.nodes[right as usize].top_members > top_members {
            let right = &self.nodes[right as usize];
            (top_members, top_at) = (right.top_members, before + 1 + right.top_at);
        }
        let node = &mut self.nodes[at as usize];
        (node.size, node.top_members, node.top_at) = (size, top_members, top_at);
    }

    /// Calls [`Tree::update`] for all nodes on the path to an existing room, from below.
    fn update_to(&mut self, at: u32, name: &str) {
        let node = self.node(at);
        let (left, right) = (node.left, node.right);
        match name.cmp(&node.name) {
            Ordering::Less => self.update_to(left, name),
            Ordering::Equal => {}
            Ordering::Greater => self.update_to(right, name),
        }
        self.update(at);
    }

    /// Inserts a new node into the subtree of `at`, and returns its root.
    fn insert(&mut self, at: u32, new: u32) -> u32 {
        if at == NONE {
            return new;
        }
        let node = self.node(at);
        let (left, right) = (node.left, node.right);
        if self.nodes[new as usize].name < node.name {
            self.nodes[at as usize].left = self.insert(left, new);
        } else {
            self.nodes[at as usize].right = self.insert(right, new);
        }
        self.balance(at)
    }

    /// Unlinks the node of an existing room from the subtree of `at`, and returns its root.
    fn remove_below(&mut self, at: u32, name: &str) -> u32 {
        let node = self.node(at);
        let (left, right) = (node.left, node.right);
        match name.cmp(&node.name) {
            Ordering::Less => self.nodes[at as usize].left = self.remove_below(left, name),
            Ordering::Greater => self.nodes[at as usize].right = self.remove_below(right, name),
            Ordering::Equal if left == NONE => return right,
            Ordering::Equal if right == NONE => return left,
            Ordering::Equal => {
                let (first, rest) = self.unlink_first(right);
                let node = &mut self.nodes[first as usize];
                (node.left, node.right) = (left, rest);
                return self.balance(first);
            }
        }
        self.balance(at)
    }

    /// Unlinks the first node of a subtree. Returns it, and the root of the rest.
    fn unlink_first(&mut self, at: u32) -> (u32, u32) {
        let (left, right) = (self.node(at).left, self.node(at).right);
        if left == NONE {
            return (at, right);
        }
        let (first, rest) = self.unlink_first(left);
        self.nodes[at as usize].left = rest;
        (first, self.balance(at))
    }

    /// Restores the balance of a subtree, one side of which has gained or lost one room. Returns
    /// its root.
    fn balance(&mut self, at: u32) -> u32 {
        let Node { left, right, .. } = self.nodes[at as usize];
        let (left_size, right_size) = (self.size(left), self.size(right));
        if left_size + right_size > 1 {
            if right_size > DELTA * left_size {
                let Node { left: inner, right: outer, .. } = self.nodes[right as usize];
                if self.size(inner) >= GAMMA * self.size(outer) {
                    self.nodes[at as usize].right = self.rotate_right(right);
                }
                return self.rotate_left(at);
            }
            if left_size > DELTA * right_size {
                let Node { left: outer, right: inner, .. } = self.nodes[left as usize];
                if self.size(inner) >= GAMMA * self.size(outer) {
                    self.nodes[at as usize].left = self.rotate_left(left);
                }
                return self.rotate_right(at);
            }
        }
        self.update(at);
        at
    }

    fn rotate_left(&mut self, at: u32) -> u32 {
        let top = self.nodes[at as usize].right;
        self.nodes[at as usize].right = self.nodes[top as usize].left;
        self.nodes[top as usize].left = at;
        self.update(at);
        self.update(top);
        top
    }

    fn rotate_right(&mut self, at: u32) -> u32 {
        let top = self.nodes[at as usize].left;
        self.nodes[at as usize].left = self.nodes[top as usize].right;
        self.nodes[top as usize].right = at;
        self.update(at);
        self.update(top);
        top
    }

    /// Covers the rooms from `start` up to `end` in the subtree of `at` with as few pieces as
    /// possible. `before` is how many rooms come before the subtree. `None` is a bound that the
    /// whole subtree is known to be within.
    fn cover(
        &self,
        at: u32,
        before: u32,
        start: Option<&[u8]>,
        end: Option<&[u8]>,
        pieces: &mut BinaryHeap<Piece>,
    ) {
        if at == NONE {
            return;
        }
        if start.is_none() && end.is_none() {
            return pieces.extend(self.piece(at, before));
        }
        let node = self.node(at);
        let own = before + self.size(node.left);
        let starts = start.is_none_or(|start| start <= node.name.as_bytes());
        let ends = end.is_none_or(|end| node.name.as_bytes() < end);
        if starts {
            // If this name is before the end, so are all to its left.
            let end = if ends { None } else { end };
            self.cover(node.left, before, start, end, pieces);
        }
        if starts && ends {
            pieces.push(self.single(at, own));
        }
        if ends {
            let start = if starts { None } else { start };
            self.cover(node.right, own + 1, start, end, pieces);
        }
    }

    fn piece(&self, at: u32, before: u32) -> Option<Piece> {
        if at == NONE {
            return None;
        }
        let Node { top_members, top_at, .. } = *self.node(at);
        let place = Reverse(before + top_at);
        Some(Piece { members: top_members, place, node: at, is_single: false })
    }

    fn single(&self, at: u32, place: u32) -> Piece {
        let members = self.nodes[at as usize].listing.members;
        Piece { members, place: Reverse(place), node: at, is_single: true }
    }

    /// Panics if an invariant does not hold.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let names: Vec<_> = self.from(b"").map(|(name, _)| name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "names ascend");
        assert_eq!(names.len(), self.nodes.len(), "every node is linked");
        for (_, node) in &self.nodes {
            let (left, right) = (self.size(node.left), self.size(node.right));
            assert_eq!(node.size, left + right + 1);
            let is_small = left + right <= 1;
            assert!(is_small || left.max(right) <= DELTA * left.min(right), "{left} and {right}");
        }
    }
}

/// See [`Tree::from`].
pub(super) struct Walk<'t> {
    tree: &'t Tree,
    /// The next node last, behind those of its ancestors that come after it.
    path: Vec<u32>,
}

impl<'t> Iterator for Walk<'t> {
    type Item = (&'t str, &'t Listing);

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.tree.node(self.path.pop()?);
        let mut at = node.right;
        while at != NONE {
            self.path.push(at);
            at = self.tree.node(at).left;
        }
        Some((&*node.name, &node.listing))
    }
}

/// See [`Tree::largest`].
pub(super) struct Largest<'t> {
    tree: &'t Tree,
    pieces: BinaryHeap<Piece>,
}

impl<'t> Iterator for Largest<'t> {
    type Item = (&'t str, &'t Listing);

    fn next(&mut self) -> Option<Self::Item> {
        let Piece { place, mut node, is_single, .. } = self.pieces.pop()?;
        let place = place.0;
        if !is_single {
            // Descends to the best room. What is passed on the way becomes pieces of its own.
            let mut before = place - self.tree.node(node).top_at;
            loop {
                let Node { left, right, .. } = *self.tree.node(node);
                let own = before + self.tree.size(left);
                match place.cmp(&own) {
                    Ordering::Less => {
                        self.pieces.push(self.tree.single(node, own));
                        self.pieces.extend(self.tree.piece(right, own + 1));
                        node = left;
                    }
                    Ordering::Equal => {
                        self.pieces.extend(self.tree.piece(left, before));
                        self.pieces.extend(self.tree.piece(right, own + 1));
                        break;
                    }
                    Ordering::Greater => {
                        self.pieces.push(self.tree.single(node, own));
                        self.pieces.extend(self.tree.piece(left, before));
                        (node, before) = (right, own + 1);
                    }
                }
            }
        }
        let node = self.tree.node(node);
        Some((&*node.name, &node.listing))
    }
}

//! What a connection sent that cannot be handled yet: a part of a frame or request, a message in
//! fragments, or all that came while it was parked. Few connections have any at a time, so it lies
//! beside them.

use std::num::NonZeroU32;

use slab::Slab;

use super::buffers::BufferId;
use crate::base::slack::Slack;
use crate::wire::ws::message::Assembler;

/// One connection's.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// What was received and not handled yet.
    pub(super) held: Option<BufferId>,
    /// When the frame or request that is held in part began to come, in coarse time.
    pub(super) began: u32,
    /// Whether `held` begins with a message that had been put together already.
    pub(super) resumes: bool,
    pub(super) assembler: Assembler,
}

impl Input {
    /// What a message in fragments takes, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.assembler.heap_bytes()
    }

    fn is_at_rest(&self) -> bool {
        self.held.is_none() && !self.resumes && self.assembler.first_fragment_ms().is_none()
    }
}

/// Names an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InputId(NonZeroU32);

impl InputId {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The inputs of a shard.
#[derive(Default)]
pub(super) struct Inputs(Slab<Input>);

impl Inputs {
    /// The input of a connection, if it has one.
    pub(super) fn of(&self, id: Option<InputId>) -> Option<&Input> {
        self.0.get(id?.index())
    }

    /// See [`Inputs::of`].
    pub(super) fn of_mut(&mut self, id: Option<InputId>) -> Option<&mut Input> {
        self.0.get_mut(id?.index())
    }

    /// The input of a connection, made if it has none.
    pub(super) fn made(&mut self, id: &mut Option<InputId>) -> &mut Input {
        let id = *id.get_or_insert_with(|| {
            let number =
                u32::try_from(self.0.insert(Input::default()) + 1).ok().and_then(NonZeroU32::new);
            InputId(number.expect("fewer inputs than descriptors"))
        });
        &mut self.0[id.index()]
    }

    /// Lets an input go if there is nothing in it.
    pub(super) fn tidy(&mut self, id: &mut Option<InputId>) {
        if self.of(*id).is_some_and(Input::is_at_rest) {
            self.free(id);
        }
    }

    /// Lets an input go. What it held is the caller's to give back.
    pub(super) fn free(&mut self, id: &mut Option<InputId>) -> Option<Input> {
        id.take().map(|id| self.0.remove(id.index()))
    }

    /// What all messages in fragments take, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.0.iter().map(|(_, input)| input.heap_bytes()).sum()
    }

    /// Gives back the memory of many that were, but for `kept` places.
    pub(super) fn trim(&mut self, kept: usize) {
        self.0.trim(kept);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

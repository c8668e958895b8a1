//! Memory of byte vectors that are done with, for those that begin: what works in the steady state
//! allocates nothing.
//!
//! What a storm needed and nobody needs now is given back little by little.
//!
//! Deliberately absent: a count of what is lent. Who took a vector owns it, and need not bring it
//! back.

/// Empty vectors with memory.
#[derive(Debug)]
pub struct Spares {
    all: Vec<Vec<u8>>,
    /// How many of them were never taken since the last [`Spares::tidy`].
    unneeded: usize,
    count_max: usize,
    bytes_max: usize,
}

impl Spares {
    /// None yet. At most `count_max` will be kept, none with more than `bytes_max` bytes of memory.
    #[must_use]
    pub const fn new(count_max: usize, bytes_max: usize) -> Self {
        Self { all: Vec::new(), unneeded: 0, count_max, bytes_max }
    }

    /// An empty vector: one with memory, if there is one.
    pub fn take(&mut self) -> Vec<u8> {
        let vector = self.all.pop().unwrap_or_default();
        self.unneeded = self.unneeded.min(self.all.len());
        vector
    }

    /// Keeps a vector's memory, without what is in it.
    pub fn keep(&mut self, mut vector: Vec<u8>) {
        if self.all.len() < self.count_max && (1..=self.bytes_max).contains(&vector.capacity()) {
            vector.clear();
            self.all.push(vector);
        }
    }

    /// Gives back half of those that nobody has needed since the last call.
    pub fn tidy(&mut self) {
        self.all.drain(..self.unneeded.div_ceil(2));
        self.unneeded = self.all.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_nobody_needs_is_given_back_little_by_little() {
        let mut spares = Spares::new(9, 16);
        let use_some = |spares: &mut Spares, count| {
            let taken: Vec<_> = (0..count).map(|_| spares.take()).collect();
            assert!(taken.iter().all(Vec::is_empty));
            for mut vector in taken {
                vector.push(1);
                spares.keep(vector);
            }
        };
        use_some(&mut spares, 12);
        spares.tidy();
        assert_eq!(spares.all.len(), 9, "all that may be kept were needed");
        for expected in [5, 3, 2, 2] {
            use_some(&mut spares, 2);
            spares.tidy();
            assert_eq!(spares.all.len(), expected);
        }
    }

    #[test]
    fn what_is_too_large_or_nothing_at_all_is_not_kept() {
        let mut spares = Spares::new(9, 16);
        spares.keep(Vec::new());
        spares.keep(vec![0; 17]);
        assert!(spares.all.is_empty());
        spares.keep(vec![0; 16]);
        assert_eq!(spares.take().capacity(), 16);
    }
}

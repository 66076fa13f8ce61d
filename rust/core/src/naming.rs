//! What stands for a key in a table: a hash of its parts under a secret (SipHash-2-4 of 128 bits).
//!
//! Whoever does not know the secret can neither choose keys that lie in one place nor find two that are named alike.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// Words of a name.
pub const NAME_WORDS: usize = 4;

/// What stands for a key. Two keys have the same one by luck alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name(pub(crate) [u32; NAME_WORDS]);

/// Reads a key, part by part.
#[derive(Clone)]
pub struct Naming(SipHasher24);

impl Naming {
    /// Names under this secret.
    #[must_use]
    pub fn new(secret: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(secret))
    }

    /// The next part. Parts are told apart by their lengths.
    pub fn add(&mut self, part: &[u8]) {
        self.0.write(&(part.len() as u64).to_le_bytes());
        self.0.write(part);
    }

    /// The name of what was read.
    #[must_use]
    pub fn name(&self) -> Name {
        let hash = self.0.finish128();
        Name([hash.h1 as u32, (hash.h1 >> 32) as u32, hash.h2 as u32, (hash.h2 >> 32) as u32])
    }
}

/// Says nothing of the secret.
impl fmt::Debug for Naming {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Naming").finish_non_exhaustive()
    }
}

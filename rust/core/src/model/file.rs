//! The weights file: header (magic, version, features' version, number of tables, zeros), then each table's header (bits,
//! step, bias, toll, curve), then each table's weights. Numbers are little-endian.

use super::features::FEATURES_VERSION;
use super::{KNOTS, Model, Table};
use crate::error::CompileError;

/// First bytes of a weights file.
pub const MAGIC: [u8; 4] = *b"KGLM";
/// Version of the file's layout.
const VERSION: u16 = 1;
const HEADER: usize = 16;

impl Model {
    /// Read a weights file.
    ///
    /// # Errors
    /// [`CompileError::Pattern`] when anything is not as it should be: sizes, versions, numbers, order of the curve.
    pub fn parse(bytes: &[u8]) -> Result<Self, CompileError> {
        let mut reader = Bytes(bytes);
        let (magic, version, features, tables) = (reader.take::<4>()?, reader.u16()?, reader.u16()?, reader.u16()?);
        if magic != MAGIC || version != VERSION || features != FEATURES_VERSION || tables != 2 {
            return Err(refused("not a weights file of this version"));
        }
        reader.take::<{ HEADER - 10 }>()?;
        let (mut said, mut returned) = (reader.table()?, reader.table()?);
        said.weights = reader.weights(said.bits)?;
        returned.weights = reader.weights(returned.bits)?;
        if reader.0.is_empty() { Ok(Self::new(said, returned)) } else { Err(refused("longer than it says")) }
    }

    /// Write what [`Model::parse`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        for number in [VERSION, FEATURES_VERSION, 2] {
            out.extend(number.to_le_bytes());
        }
        out.extend([0; HEADER - 10]);
        for table in [&self.said.table, &self.returned.table] {
            out.extend(u32::from(table.bits).to_le_bytes());
            for number in [table.step, table.bias, table.toll] {
                out.extend(number.to_le_bytes());
            }
            for (raw, score) in table.curve {
                out.extend(raw.to_le_bytes());
                out.push(score);
            }
        }
        for table in [&self.said.table, &self.returned.table] {
            out.extend(table.weights.iter().flat_map(|weight| weight.to_le_bytes()));
        }
        out
    }
}

fn refused(why: &str) -> CompileError {
    CompileError::Pattern(format!("weights: {why}"))
}

/// What is left of a weights file.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], CompileError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| refused("cut short"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, CompileError> {
        self.take().map(u16::from_le_bytes)
    }

    fn f32(&mut self) -> Result<f32, CompileError> {
        let number = self.take().map(f32::from_le_bytes)?;
        if number.is_finite() { Ok(number) } else { Err(refused("holds a number that is none")) }
    }

    /// A table's header; its weights come later.
    fn table(&mut self) -> Result<Table, CompileError> {
        let bits = u8::try_from(u32::from_le_bytes(self.take()?)).ok().filter(|bits| (8..=20).contains(bits));
        let bits = bits.ok_or_else(|| refused("a table of an impossible size"))?;
        let (step, bias, toll) = (self.f32()?, self.f32()?, self.f32()?);
        let mut curve = [(0.0, 0); KNOTS];
        for knot in &mut curve {
            *knot = (self.f32()?, u8::from_le_bytes(self.take()?));
        }
        if curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1) && curve.iter().all(|knot| knot.1 <= 100) {
            Ok(Table { bits, step, bias, toll, curve, weights: Vec::new() })
        } else {
            Err(refused("a curve that does not rise"))
        }
    }

    fn weights(&mut self, bits: u8) -> Result<Vec<i8>, CompileError> {
        let (head, rest) = self.0.split_at_checked(1 << bits).ok_or_else(|| refused("cut short"))?;
        self.0 = rest;
        Ok(head.iter().map(|&byte| byte.cast_signed()).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_file_that_is_not_as_it_should_be_is_refused() {
        let good = Model::shipped().unwrap().to_bytes();
        assert!(Model::parse(&good[..good.len() - 1]).is_err());
        assert!(Model::parse(&[&good[..], &[0]].concat()).is_err());
        assert!(Model::parse(&[]).is_err());
        // Magic, version, features, tables, bits, a step that is no number, a curve that falls.
        for (at, byte) in [(0, b'X'), (4, 9), (6, 9), (8, 3), (HEADER, 31), (HEADER + 7, 0x7F), (HEADER + 20, 101)] {
            let mut bad = good.clone();
            bad[at] = byte;
            if at == HEADER + 7 {
                bad[HEADER + 6] = 0xFF;
            }
            assert!(Model::parse(&bad).is_err(), "byte {at}");
        }
    }
}

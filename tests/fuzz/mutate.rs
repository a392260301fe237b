//! Changes input at random. The same number always gives the same change.

use argd_pipe::rng::{Stream, stream};

/// Numbers at which sizes and offsets go wrong.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];
/// The longest input.
const LONGEST: usize = 1 << 20;
/// Where headers are: most changes of a long input happen in its first or last bytes.
const EDGE: usize = 1500;

/// Case `number` of a target: one of its seeds with a few changes.
pub fn case(name: &str, number: u64, seeds: &[Vec<u8>], pieces: &[&[u8]]) -> Vec<u8> {
    let mut random = Random(stream(2, name, 0, number));
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        random.change(&mut bytes, seeds, pieces);
    }
    bytes.truncate(LONGEST);
    bytes
}

struct Random(Stream);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0.below(count.max(1) as u32) as usize
    }

    /// A place in an input.
    fn place(&mut self, length: usize) -> usize {
        match self.below(4) {
            0 => self.below(length + 1),
            1 => length - self.below(length.min(EDGE) + 1),
            _ => self.below(length.min(EDGE) + 1),
        }
    }

    /// A number of bytes, mostly a small one.
    fn count(&mut self) -> usize {
        let most = [4, 16, 64, 1024][self.below(4)];
        1 + self.below(most)
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.count()).map(|_| self.0.bits() as u8).collect()
    }

    /// A number of 1, 2, 4 or 8 bytes, in either order of its bytes.
    fn number(&mut self) -> Vec<u8> {
        let (number, size) = (NUMBERS[self.below(NUMBERS.len())], 1 << self.below(4));
        let mut bytes = number.to_le_bytes()[..size].to_vec();
        if self.below(2) == 0 {
            bytes.reverse();
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], pieces: &[&[u8]]) {
        let at = self.place(bytes.len());
        let end = (at + self.count()).min(bytes.len());
        match self.below(10) {
            0 => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << self.below(8)),
            1 => bytes.get_mut(at).into_iter().for_each(|byte| *byte = self.0.bits() as u8),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let number = self.number();
                let end = (at + number.len()).min(bytes.len());
                bytes.splice(at..end, number);
            }
            5 => {
                let new = self.bytes();
                bytes.splice(at..at, new);
            }
            6 => {
                let times = [1, 2, 10, 300][self.below(4)];
                let part = bytes[at..end].repeat(times);
                bytes.splice(at..at, part);
            }
            7 => {
                let from = self.place(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(from..from, part);
            }
            8 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.place(other.len());
                let until = (from + self.count()).min(other.len());
                bytes.splice(at..end, other[from..until].iter().copied());
            }
            _ if pieces.is_empty() => bytes.extend(self.bytes()),
            _ => {
                let replaced = if self.below(2) == 0 { at } else { end };
                bytes.splice(at..replaced, pieces[self.below(pieces.len())].iter().copied());
            }
        }
    }
}

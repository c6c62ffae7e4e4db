//! Constants of a test guest, laid out as the canonical ABI wants them.

use super::{DATA, TestEdit};

/// Constants in the guest's memory.
#[derive(Default)]
pub(super) struct Image {
    pub(super) bytes: Vec<u8>,
}

impl Image {
    fn here(&mut self) -> u32 {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
        DATA + u32::try_from(self.bytes.len()).unwrap()
    }

    pub(super) fn words(&mut self, words: &[u32]) -> u32 {
        let here = self.here();
        self.bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        here
    }

    pub(super) fn slice(&mut self, bytes: &[u8]) -> [u32; 2] {
        let here = self.here();
        self.bytes.extend_from_slice(bytes);
        [here, u32::try_from(bytes.len()).unwrap()]
    }

    pub(super) fn list(&mut self, words: impl Iterator<Item = u32>, words_each: usize) -> [u32; 2] {
        let words: Vec<_> = words.collect();
        [self.words(&words), u32::try_from(words.len() / words_each).unwrap()]
    }

    pub(super) fn option(&mut self, text: Option<&str>) -> [u32; 3] {
        let slice = text.map_or([0, 0], |text| self.slice(text.as_bytes()));
        [u32::from(text.is_some()), slice[0], slice[1]]
    }

    pub(super) fn pairs(&mut self, pairs: &[(&str, &str)]) -> [u32; 2] {
        let slices: Vec<_> = pairs.iter().map(|(a, b)| [self.slice(a.as_bytes()), self.slice(b.as_bytes())]).collect();
        self.list(slices.iter().flatten().flatten().copied(), 4)
    }

    pub(super) fn edits(&mut self, edits: &[TestEdit]) -> [u32; 2] {
        let slices: Vec<_> = edits
            .iter()
            .map(|edit| {
                let (case, name, value) = match edit {
                    TestEdit::Set(name, value) => (0, *name, *value),
                    TestEdit::Append(name, value) => (1, *name, *value),
                    TestEdit::Remove(name) => (2, *name, [].as_slice()),
                };
                let (name, value) = (self.slice(name.as_bytes()), self.slice(value));
                [case, name[0], name[1], value[0], value[1]]
            })
            .collect();
        self.list(slices.iter().flatten().copied(), 5)
    }
}

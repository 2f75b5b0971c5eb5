//! Every distinct text of a column once, with a small number that stands for it.
//!
//! Columns that views read (categories, countries, names) repeat; a kept row holds the four bytes
//! of a number instead of the text. Numbers are given back when no row uses them, so a column whose
//! values change for ever does not grow for ever.
//!
//! ```text
//! text --hash--> number --> view (16 bytes: Arrow's string view) --> block of bytes
//! ```
//!
//! A column of texts is handed out by copying views, never bytes: the blocks are shared with the
//! batch.
//!
//! # Invariants
//! 1. A number is in `free` exactly when its use count is zero; then its text is not in `index`.
//! 2. Blocks never change once they are sealed; views of longer texts point into sealed blocks or
//!    into `open`.

use std::hash::BuildHasher;

use arrow::array::{ArrayRef, BinaryViewArray, StringViewArray};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::segmented::Segmented;

/// The number of a text; `NULL` stands for SQL's null.
pub type TextId = u32;

/// The number of no text.
pub const NULL: TextId = u32::MAX;

/// Arrow keeps texts up to this length inside the view.
const INLINE_MAX: usize = 12;

/// More blocks than this are merged, so that handing out a batch stays cheap.
const BLOCKS_MAX: usize = 24;

/// The distinct texts (or byte strings) of one column.
pub struct Dictionary {
    hasher: DefaultHashBuilder,
    index: HashTable<TextId>,
    views: Segmented<u128>,
    uses: Segmented<u32>,
    free: Vec<TextId>,
    blocks: Vec<Buffer>,
    open: Vec<u8>,
    /// Bytes in blocks that belong to no text any more.
    garbage: usize,
}

impl Default for Dictionary {
    fn default() -> Self {
        Dictionary {
            hasher: DefaultHashBuilder::default(),
            index: HashTable::new(),
            views: Segmented::default(),
            uses: Segmented::default(),
            free: Vec::new(),
            blocks: Vec::new(),
            open: Vec::new(),
            garbage: 0,
        }
    }
}

impl Dictionary {
    /// The numbers of `texts`, counting one more use of each; [`NULL`] where there is none.
    ///
    /// First what is probably each text's number is looked up, then they are compared: memory
    /// answers questions that do not wait for one another together.
    pub fn acquire(&mut self, texts: &[Option<&[u8]>]) -> Vec<TextId> {
        let mut hashes = Vec::with_capacity(texts.len());
        let mut ids = Vec::with_capacity(texts.len());
        for text in texts {
            let hash = text.map_or(0, |text| self.hasher.hash_one(text));
            let probably = text.and_then(|_| self.index.find(hash, |_| true));
            hashes.push(hash);
            ids.push(probably.copied().unwrap_or(NULL));
        }
        let known = |&id: &TextId| self.views.get(id as usize).copied().unwrap_or_default();
        let views: Vec<u128> = ids.iter().map(known).collect();
        for (row, text) in texts.iter().enumerate() {
            let Some(text) = text else { continue };
            let id = &mut ids[row];
            if *id != NULL && resolve(&views[row], &self.blocks, &self.open) == *text {
                self.uses[*id as usize] += 1;
            } else {
                *id = self.acquire_one(text, hashes[row]);
            }
        }
        ids
    }

    fn acquire_one(&mut self, text: &[u8], hash: u64) -> TextId {
        let found = self.index.find(hash, |&id| {
            resolve(&self.views[id as usize], &self.blocks, &self.open) == text
        });
        if let Some(&id) = found {
            self.uses[id as usize] += 1;
            return id;
        }
        let view = self.store(text);
        let id = match self.free.pop() {
            Some(id) => {
                self.views[id as usize] = view;
                self.uses[id as usize] = 1;
                id
            }
            None => {
                self.views.push(view);
                self.uses.push(1);
                (self.views.len() - 1) as TextId
            }
        };
        let (views, blocks, open, hasher) = (&self.views, &self.blocks, &self.open, &self.hasher);
        self.index.insert_unique(hash, id, |&id| {
            hasher.hash_one(resolve(&views[id as usize], blocks, open))
        });
        id
    }

    /// Counts one use less of `id`.
    pub fn release(&mut self, id: TextId) {
        if id == NULL {
            return;
        }
        let uses = &mut self.uses[id as usize];
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        let text = resolve(&self.views[id as usize], &self.blocks, &self.open);
        if text.len() > INLINE_MAX {
            self.garbage += text.len();
        }
        let hash = self.hasher.hash_one(text);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.free.push(id);
    }

    /// The texts of `ids` as an Arrow column of `data_type` (`Utf8View` or `BinaryView`).
    pub fn gather(
        &mut self,
        ids: impl ExactSizeIterator<Item = TextId>,
        data_type: &DataType,
    ) -> ArrayRef {
        self.seal();
        let mut nulls: Vec<bool> = Vec::new();
        let mut views: Vec<u128> = Vec::with_capacity(ids.len());
        for id in ids {
            if id == NULL {
                if nulls.is_empty() {
                    nulls = vec![true; views.len()];
                }
                nulls.push(false);
                views.push(0);
            } else {
                if !nulls.is_empty() {
                    nulls.push(true);
                }
                views.push(self.views[id as usize]);
            }
        }
        let nulls = (!nulls.is_empty()).then(|| NullBuffer::from(nulls));
        let views = ScalarBuffer::from(views);
        let what =
            "views of the dictionary point into its blocks, and its texts came from valid arrays";
        match data_type {
            DataType::BinaryView => std::sync::Arc::new(
                BinaryViewArray::try_new(views, self.blocks.clone(), nulls).expect(what),
            ),
            // SAFETY: `acquire` was given the bytes of valid UTF-8 texts for a column of this type,
            // blocks are never changed, and every view was made by `store` for bytes inside its
            // block.
            _ => std::sync::Arc::new(unsafe {
                StringViewArray::new_unchecked(views, self.blocks.clone(), nulls)
            }),
        }
    }

    /// The number of bytes it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.views.bytes()
            + self.uses.bytes()
            + self.index.allocation_size()
            + self.open.capacity()
            + self.blocks.iter().map(Buffer::len).sum::<usize>()
    }

    fn store(&mut self, text: &[u8]) -> u128 {
        if text.len() <= INLINE_MAX {
            let mut bytes = [0u8; 16];
            bytes[..4].copy_from_slice(&(text.len() as u32).to_le_bytes());
            bytes[4..4 + text.len()].copy_from_slice(text);
            return u128::from_le_bytes(bytes);
        }
        let view = long_view(text, self.blocks.len() as u32, self.open.len() as u32);
        self.open.extend_from_slice(text);
        view
    }

    /// Makes the bytes written since the last batch a block of their own; merges blocks when there
    /// are many.
    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.blocks
                .push(Buffer::from_vec(std::mem::take(&mut self.open)));
        }
        let total: usize = self.blocks.iter().map(Buffer::len).sum();
        if self.blocks.len() > BLOCKS_MAX || (self.garbage > 1 << 20 && self.garbage > total / 2) {
            self.merge(total);
        }
    }

    /// Copies the texts in use into blocks anew. The largest block is left alone while it is mostly
    /// in use, so the cost stays in proportion to what was added since.
    fn merge(&mut self, total: usize) {
        let keep_first =
            self.garbage <= total / 2 && self.blocks.len() > 1 && self.blocks[0].len() * 2 > total;
        let first = usize::from(keep_first);
        let mut merged =
            Vec::with_capacity(total - self.blocks[..first].iter().map(Buffer::len).sum::<usize>());
        for (view, uses) in self.views.iter_mut().zip(self.uses.iter()) {
            let (length, block) = (*view as u32 as usize, (*view >> 64) as u32 as usize);
            if *uses == 0 || length <= INLINE_MAX || block < first {
                continue;
            }
            let offset = (*view >> 96) as usize;
            let text = &self.blocks[block][offset..offset + length];
            *view = long_view(text, first as u32, merged.len() as u32);
            merged.extend_from_slice(text);
        }
        self.blocks.truncate(first);
        if !keep_first {
            self.garbage = 0;
        }
        self.blocks.push(Buffer::from_vec(merged));
    }
}

/// Arrow's view of a text of more than twelve bytes: length, first four bytes, block, offset.
fn long_view(text: &[u8], block: u32, offset: u32) -> u128 {
    let mut bytes = [0u8; 16];
    bytes[..4].copy_from_slice(&(text.len() as u32).to_le_bytes());
    bytes[4..8].copy_from_slice(&text[..4]);
    bytes[8..12].copy_from_slice(&block.to_le_bytes());
    bytes[12..].copy_from_slice(&offset.to_le_bytes());
    u128::from_le_bytes(bytes)
}

/// The text that `view` stands for.
fn resolve<'a>(view: &'a u128, blocks: &'a [Buffer], open: &'a [u8]) -> &'a [u8] {
    let length = *view as u32 as usize;
    if length <= INLINE_MAX {
        return &bytemuck_bytes(view)[4..4 + length];
    }
    let (block, offset) = ((*view >> 64) as u32 as usize, (*view >> 96) as usize);
    let bytes = blocks.get(block).map_or(open, |block| block.as_slice());
    &bytes[offset..offset + length]
}

/// The sixteen bytes of a view, in place.
fn bytemuck_bytes(view: &u128) -> &[u8] {
    const {
        assert!(
            cfg!(target_endian = "little"),
            "Arrow's views are little-endian"
        )
    };
    // SAFETY: a u128 is sixteen initialised bytes without padding, and the slice borrows from it.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(view).cast::<u8>(), 16) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;

    fn texts(dictionary: &mut Dictionary, ids: &[TextId]) -> Vec<Option<String>> {
        let array = dictionary.gather(ids.iter().copied(), &DataType::Utf8View);
        array
            .as_string_view()
            .iter()
            .map(|text| text.map(str::to_owned))
            .collect()
    }

    #[test]
    fn equal_texts_share_a_number() {
        let mut dictionary = Dictionary::default();
        let (art, text) = (b"art".as_slice(), b"a text longer than a view".as_slice());
        let first = dictionary.acquire(&[Some(art), Some(text), None, Some(art)]);
        let [art, long, NULL, again] = first[..] else {
            panic!("{first:?}")
        };
        assert_eq!(art, again);
        assert_eq!(dictionary.acquire(&[Some(text)]), [long]);
        assert_eq!(
            texts(&mut dictionary, &[long, NULL, art]),
            [
                Some("a text longer than a view".to_owned()),
                None,
                Some("art".to_owned())
            ]
        );
    }

    #[test]
    fn unused_numbers_are_given_again_and_old_batches_stay_readable() {
        let mut dictionary = Dictionary::default();
        let [first] = dictionary.acquire(&[Some(b"the first text, quite long")])[..] else {
            panic!("one text, one number")
        };
        let batch = dictionary.gather([first].into_iter(), &DataType::Utf8View);
        dictionary.release(first);
        for round in 0..100 {
            let text = format!("text number {round:03}");
            let id = first;
            assert_eq!(dictionary.acquire(&[Some(text.as_bytes())]), [id]);
            assert_eq!(
                texts(&mut dictionary, &[id]),
                [Some(format!("text number {round:03}"))]
            );
            dictionary.release(id);
        }
        assert_eq!(
            batch.as_string_view().value(0),
            "the first text, quite long"
        );
        assert!(dictionary.blocks.len() <= BLOCKS_MAX + 1);
    }
}

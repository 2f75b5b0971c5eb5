//! Collects the pages of a Parquet file as they are, so that no byte is copied into one long
//! buffer.
//!
//! The Parquet writer hands every finished page over as owned [`Bytes`], asks for it back when the
//! column goes into the file, and then writes it to an [`std::io::Write`] as a mere slice.
//! [`Pages`] plays both parts: it remembers the page it gave back last, and when exactly that slice
//! is written it keeps the page instead of a copy. Anything else written (page headers, the footer)
//! is small and copied.

use bytes::Bytes;
use parquet::column::page_store::{PageKey, PageStore, PageStoreArgs, PageStoreFactory};
use parquet::errors::{ParquetError, Result};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};

/// Both the store of pages and the file they are written to.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages(Arc<Mutex<Collected>>);

#[derive(Debug, Default)]
struct Collected {
    /// The file so far, but for `small`.
    chunks: Vec<Bytes>,
    /// Bytes written since the last whole page.
    small: Vec<u8>,
    /// The page the writer took last and has not written yet.
    taken: Option<Bytes>,
}

impl Pages {
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0
            .lock()
            .expect("nothing panics while pages are collected")
    }

    /// The file: its bytes are these chunks, one after another.
    pub(super) fn into_chunks(self) -> Vec<Bytes> {
        let mut collected = self.lock();
        collected.cut();
        std::mem::take(&mut collected.chunks)
    }
}

impl Collected {
    fn cut(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push(std::mem::take(&mut self.small).into());
        }
    }
}

impl Write for Pages {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let mut collected = self.lock();
        let is_taken = |page: &Bytes| page.as_ptr() == buf.as_ptr() && page.len() == buf.len();
        match collected.taken.take_if(|page| is_taken(page)) {
            Some(page) => {
                collected.cut();
                collected.chunks.push(page);
            }
            None => collected.small.extend_from_slice(buf),
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl PageStoreFactory for Pages {
    fn create(&self, _column: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>> {
        Ok(Box::new(ColumnPages {
            stored: Vec::new(),
            file: self.clone(),
        }))
    }
}

/// The pages of one column until they are written.
struct ColumnPages {
    stored: Vec<Bytes>,
    file: Pages,
}

impl PageStore for ColumnPages {
    fn put(&mut self, page: Bytes) -> Result<PageKey> {
        self.stored.push(page);
        Ok(PageKey::new(self.stored.len() as u64 - 1))
    }

    fn take(&mut self, key: PageKey) -> Result<Bytes> {
        let page = self.stored.get_mut(key.get() as usize).map(std::mem::take);
        let page =
            page.ok_or_else(|| ParquetError::General(format!("no page {} was stored", key.get())))?;
        self.file.lock().taken = Some(page.clone());
        Ok(page)
    }

    fn memory_size(&self) -> usize {
        self.stored.iter().map(Bytes::len).sum()
    }
}

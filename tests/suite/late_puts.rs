//! Puts of a process that is stopped, which arrive when its successor has begun.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use pinflow::archive::{Archive, ArchiveOptions, Sealed};
use pinflow::source::{Position, Storage};
use tokio::runtime::Runtime;

use super::archive::{chunk, read_back, record, recovered, runtime};
use super::directory::streams;

/// A bucket on the way to which puts can be held up.
#[derive(Debug, Default)]
struct Slow {
    inner: InMemory,
    /// What is on its way, while puts are held up.
    held: Mutex<Option<Vec<(Path, PutPayload, PutOptions)>>>,
}

impl Slow {
    fn hold(&self) {
        *self.held.lock().unwrap() = Some(Vec::new());
    }

    /// How many puts are on their way.
    fn waiting(&self) -> usize {
        self.held.lock().unwrap().as_ref().map_or(0, Vec::len)
    }

    /// No more puts are held up; those that were stay on their way.
    fn taken(&self) -> Vec<(Path, PutPayload, PutOptions)> {
        self.held.lock().unwrap().take().unwrap()
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("slow")
    }
}

#[async_trait]
impl ObjectStore for Slow {
    async fn put_opts(&self, p: &Path, b: PutPayload, o: PutOptions) -> Result<PutResult> {
        let is_held = match &mut *self.held.lock().unwrap() {
            Some(held) => {
                held.push((p.clone(), b.clone(), o.clone()));
                true
            }
            None => false,
        };
        if is_held {
            std::future::pending::<()>().await;
        }
        self.inner.put_opts(p, b, o).await
    }
    async fn put_multipart_opts(
        &self,
        p: &Path,
        o: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(p, o).await
    }
    async fn get_opts(&self, p: &Path, o: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(p, o).await
    }
    async fn get_ranges(&self, p: &Path, r: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(p, r).await
    }
    fn delete_stream(
        &self,
        p: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(p)
    }
    fn list(&self, p: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(p)
    }
    async fn list_with_delimiter(&self, p: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(p).await
    }
    async fn copy_opts(&self, a: &Path, b: &Path, o: CopyOptions) -> Result<()> {
        self.inner.copy_opts(a, b, o).await
    }
}

/// One life of a process: its archive, from a checkpoint on.
struct Life {
    runtime: Runtime,
    archive: Archive,
}

type Positions = BTreeMap<String, Position>;

fn begin(storage: &Storage, positions: &Positions) -> std::result::Result<Life, String> {
    let runtime = runtime();
    let host = std::sync::Arc::new(pinflow::host::Machine(runtime.handle().clone()));
    let options = ArchiveOptions::default();
    let mut archive = Archive::open(storage.clone(), "here".to_owned(), streams(), host, options);
    let recovered = runtime.block_on(recovered(&mut archive, positions));
    recovered.map_err(|error| error.to_string())?;
    Ok(Life { runtime, archive })
}

impl Life {
    /// Appends and seals records of the partition `0` of `pin`; answers with the positions of the
    /// checkpoint that could follow.
    fn seal(
        &mut self,
        epoch: u64,
        first: u64,
        records: u64,
    ) -> std::result::Result<Positions, String> {
        self.archive.append(epoch, &chunk(0, "0", first, records));
        let written = self.archive.seal(epoch, 0).written();
        let sealed: Sealed = self.runtime.block_on(written).map_err(|e| e.to_string())?;
        let mut positions = sealed.positions;
        let end = Position {
            offset: first + records,
            token: String::new(),
        };
        positions.insert("pin/0".to_owned(), end);
        Ok(positions)
    }

    /// Stops in the middle of writing one more seal of records, as a process does that is frozen.
    fn freeze(&mut self, slow: &Slow, first: u64, records: u64) {
        slow.hold();
        self.archive.append(9, &chunk(0, "0", first, records));
        let sealing = self.archive.seal(9, 0);
        while slow.waiting() == 0 {
            std::thread::yield_now();
        }
        drop(sealing);
    }
}

/// The records of the partition, as a run over the archive reads them.
fn archived(storage: &Storage) -> Vec<String> {
    let taken = read_back(storage);
    let found = taken.of("pin/pin/partition=0").into_iter();
    found.map(str::to_owned).collect()
}

fn records(count: u64) -> Vec<String> {
    (0..count).map(|offset| record(0, offset)).collect()
}

/// A bucket in which a checkpoint vouches for ten records, and a process that froze when it was
/// about to write `more`.
fn frozen(more: u64) -> (Arc<Slow>, Storage, Positions, Life) {
    let slow = Arc::<Slow>::default();
    let storage = Storage::Bucket(slow.clone(), Path::default());
    let mut first = begin(&storage, &Positions::new()).unwrap();
    let positions = first.seal(1, 0, 10).unwrap();
    first.archive.committed(&positions);
    first.freeze(&slow, 10, more);
    (slow, storage, positions, first)
}

/// Lets what was held up arrive. Whether the bucket took it.
fn arrive(slow: &Slow, life: &Life, puts: Vec<(Path, PutPayload, PutOptions)>) -> Vec<bool> {
    let puts = puts.into_iter().map(|(path, body, options)| {
        let put = slow.inner.put_opts(&path, body, options);
        match life.runtime.block_on(put) {
            Ok(_) => true,
            Err(Error::Precondition { .. } | Error::AlreadyExists { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    });
    puts.collect()
}

#[test]
fn a_put_that_arrives_behind_the_successors_changes_nothing() {
    let (slow, storage, positions, _first) = frozen(5);
    let late = slow.taken();
    let mut second = begin(&storage, &positions).unwrap();
    let positions = second.seal(1, 10, 20).unwrap();
    assert_eq!(arrive(&slow, &second, late), [false]);
    assert_eq!(archived(&storage), records(30));
    second.seal(2, 30, 5).unwrap();
    drop(second);
    assert_eq!(archived(&storage), records(35));
    // The next one goes back to what was committed.
    begin(&storage, &positions).unwrap();
    assert_eq!(archived(&storage), records(30));
}

#[test]
fn a_put_that_arrives_before_the_successors_is_gone_on_with() {
    let (slow, storage, positions, _first) = frozen(5);
    let late = slow.taken();
    let mut second = begin(&storage, &positions).unwrap();
    assert_eq!(arrive(&slow, &second, late), [true]);
    second.seal(1, 10, 20).unwrap();
    assert_eq!(archived(&storage), records(30));
}

#[test]
fn a_put_with_more_that_arrives_before_the_successors_ends_it_and_the_next_start_cuts_it_off() {
    let (slow, storage, positions, _first) = frozen(50);
    let late = slow.taken();
    let mut second = begin(&storage, &positions).unwrap();
    assert_eq!(arrive(&slow, &second, late), [true]);
    let error = second.seal(1, 10, 20).unwrap_err();
    assert!(error.contains("someone else has written it"), "{error}");
    let mut third = begin(&storage, &positions).unwrap();
    assert_eq!(archived(&storage), records(10));
    third.seal(1, 10, 20).unwrap();
    assert_eq!(archived(&storage), records(30));
}

#[test]
fn a_folder_is_written_by_one_process_at_a_time() {
    let folder = tempfile::TempDir::new().unwrap();
    let storage = Storage::Folder(folder.path().to_owned());
    let mut first = begin(&storage, &Positions::new()).unwrap();
    let positions = first.seal(1, 0, 10).unwrap();
    let refused = begin(&storage, &positions).map(|_| ()).unwrap_err();
    assert!(
        refused.contains("is being written by another process"),
        "{refused}"
    );
    drop(first);
    let mut second = begin(&storage, &positions).unwrap();
    second.seal(1, 10, 20).unwrap();
    assert_eq!(archived(&storage), records(30));
}

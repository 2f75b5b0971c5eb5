//! Compressed files, decompressed as they come.

use std::io::{self, Write};

use zstd::stream::raw::Operation;

/// So much is decompressed at once: even text that packs a thousandfold stays small then.
const STEP_BYTES: usize = 32 << 10;

/// A decompressor that is fed.
pub(super) enum Unzip {
    /// gzip, also several members one after the other.
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    /// Zstandard, also several frames one after the other.
    Zstd(Frames),
}

/// Frames of Zstandard.
pub(super) struct Frames {
    decoder: zstd::stream::raw::Decoder<'static>,
    /// Whether the last frame has ended.
    complete: bool,
}

impl Frames {
    fn write(&mut self, mut input: &[u8], text: &mut Vec<u8>) -> io::Result<()> {
        let mut output = vec![0; STEP_BYTES * 4];
        let mut more = false;
        while !input.is_empty() || more {
            if self.complete && !input.is_empty() {
                self.decoder.reinit()?;
            }
            let status = self.decoder.run_on_buffers(input, &mut output)?;
            input = &input[status.bytes_read..];
            text.extend_from_slice(&output[..status.bytes_written]);
            self.complete = status.remaining == 0;
            if status.bytes_read == 0 && status.bytes_written == 0 && !input.is_empty() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            // A full output may have left something behind.
            more = status.bytes_written == output.len() && !self.complete;
        }
        Ok(())
    }
}

impl Unzip {
    /// Whether a file of that name that begins with `head` is compressed.
    ///
    /// Contents count, and names: Firehose delivers gzip without any extension where its producers
    /// compress.
    pub(super) fn is_for(path: &str, head: &[u8]) -> bool {
        is_gzip(path, head) || is_zstd(path, head)
    }

    /// The decompressor for such a file; `None` if it is not compressed.
    pub(super) fn for_file(path: &str, head: &[u8]) -> io::Result<Option<Unzip>> {
        Ok(if is_gzip(path, head) {
            let decoder = flate2::write::MultiGzDecoder::new(Vec::new());
            Some(Unzip::Gzip(Box::new(decoder)))
        } else if is_zstd(path, head) {
            Some(Unzip::Zstd(Frames {
                decoder: zstd::stream::raw::Decoder::new()?,
                complete: true,
            }))
        } else {
            None
        })
    }

    /// What it decompresses, for people.
    pub(super) fn format(&self) -> &'static str {
        match self {
            Unzip::Gzip(_) => "gzip",
            Unzip::Zstd(_) => "Zstandard",
        }
    }

    /// Decompresses the first bytes of `block`; tells how many, and appends the text.
    pub(super) fn step(&mut self, block: &[u8], text: &mut Vec<u8>) -> io::Result<usize> {
        let some = &block[..block.len().min(STEP_BYTES)];
        match self {
            Unzip::Gzip(decoder) => {
                decoder.write_all(some)?;
                text.append(decoder.get_mut());
            }
            Unzip::Zstd(frames) => frames.write(some, text)?,
        }
        Ok(some.len())
    }

    /// The rest, at the end of the file.
    pub(super) fn finish(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Unzip::Gzip(decoder) => {
                decoder.try_finish()?;
                text.append(decoder.get_mut());
            }
            Unzip::Zstd(frames) if !frames.complete => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Unzip::Zstd(_) => {}
        }
        Ok(())
    }
}

fn is_gzip(path: &str, head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b]) || path.ends_with(".gz") && !is_zstd("", head)
}

fn is_zstd(path: &str, head: &[u8]) -> bool {
    head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || path.ends_with(".zst") || path.ends_with(".zstd")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unzip(path: &str, file: &[u8], block: usize) -> io::Result<Vec<u8>> {
        let mut decoder = Unzip::for_file(path, file)?.expect("it is compressed");
        let mut text = Vec::new();
        for block in file.chunks(block) {
            let mut rest = block;
            while !rest.is_empty() {
                let done = decoder.step(rest, &mut text)?;
                rest = &rest[done..];
            }
        }
        decoder.finish(&mut text)?;
        Ok(text)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn both_formats_decompress_in_blocks_of_any_size_and_continue_behind_a_member() {
        let (first, second) = (b"first\n".repeat(20_000), b"second\n".repeat(3));
        let whole = [first.clone(), second.clone()].concat();
        let zstd = |text: &[u8]| zstd::encode_all(text, 3).unwrap();
        for block in [1, 1000, 1 << 20] {
            let file = [gzip(&first), gzip(&second)].concat();
            assert_eq!(unzip("x", &file, block).unwrap(), whole);
            let file = [zstd(&first), zstd(&second)].concat();
            assert_eq!(unzip("x", &file, block).unwrap(), whole);
        }
    }

    #[test]
    fn what_is_not_what_its_name_says_is_an_error() {
        assert!(unzip("x.gz", b"{\"a\":1}\n", 100).is_err());
        assert!(unzip("x.zst", b"{\"a\":1}\n", 100).is_err());
        assert!(Unzip::for_file("x.json", b"{").unwrap().is_none());
    }

    #[test]
    fn a_file_that_was_cut_short_is_an_error() {
        let text = b"some text".repeat(1000);
        for file in [gzip(&text), zstd::encode_all(&text[..], 3).unwrap()] {
            assert_eq!(unzip("x", &file, 100).unwrap(), text);
            assert!(unzip("x", &file[..file.len() - 3], 100).is_err());
        }
    }
}

//! What recovery would lose: a look at SQLite's write-ahead log before SQLite sees it.
//!
//! Its frames carry checksums. At the first frame that does not match, recovery stops, because
//! that is how a commit looks that was cut off by a loss of power; what comes after is ignored
//! and then overwritten. But decay looks the same, and there whole commits may come after, which
//! were acknowledged. The two can be told apart: nothing of a commit is written before the one
//! before it is on stable storage. So if a later commit follows the one that holds the bad frame,
//! the bad frame was whole once.
//!
//! What stays unseen is decay in the very last commits. The format is that of
//! <https://www.sqlite.org/fileformat2.html#walformat>.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::fault::{Fault, io as failed};

/// The first four bytes of a write-ahead log; the last bit says that checksums are big-endian.
const MAGIC: u32 = 0x377f_0682;
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// A checksum of SQLite's: two sums that depend on each other.
type Sums = (u32, u32);

/// Checks that recovery of the write-ahead log at `path`, if there is one, would lose nothing that
/// was durable.
pub(super) fn check(path: &Path) -> Result<(), Fault> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("open the write-ahead log", &error)),
    };
    match first_lost(&mut BufReader::new(file)) {
        Ok(None) => Ok(()),
        Ok(Some(frame)) => Err(Fault::damaged(format!(
            "the write-ahead log is damaged at frame {frame}, and durable commits follow it"
        ))),
        Err(error) => Err(failed("read the write-ahead log", &error)),
    }
}

/// The frame at which recovery would stop too early, counted from 1; 0 is the header.
fn first_lost(wal: &mut impl Read) -> io::Result<Option<usize>> {
    let mut header = [0; HEADER_BYTES];
    if !fill(wal, &mut header)? {
        return Ok(None);
    }
    let Some(format) = Format::read(&header) else {
        // It is on stable storage before the first frame is written. So if there are frames, it
        // was whole once.
        let mut frame = [0; FRAME_HEADER_BYTES];
        return Ok(fill(wal, &mut frame)?.then_some(0));
    };
    let mut frame = vec![0; format.page_bytes.saturating_add(FRAME_HEADER_BYTES)];
    let mut scan = Scan { before: format.sums, bad: None, commit_ended: false };
    let mut number = 0;
    while fill(wal, &mut frame)? {
        number += 1;
        if scan.proves_damage(&format, &frame, number) {
            return Ok(scan.bad);
        }
    }
    Ok(None)
}

/// Where the scan stands.
struct Scan {
    /// The sums that the frame before says it has.
    before: Sums,
    /// The first frame that does not match.
    bad: Option<usize>,
    /// Whether the commit with the bad frame has ended.
    commit_ended: bool,
}

impl Scan {
    /// Takes the next frame. True if it belongs to a commit after the one with the bad frame.
    fn proves_damage(&mut self, format: &Format, frame: &[u8], number: usize) -> bool {
        let ours = words::<2>(frame, 8) == Some(format.salts);
        let ends_commit = word(frame, 4).is_some_and(|pages| pages != 0);
        let Some([first, second]) = words(frame, 16) else { return false };
        let matches = ours && format.sums_of(self.before, frame) == Some((first, second));
        self.before = (first, second);

        if self.bad.is_none() && matches {
            return false;
        }
        if self.commit_ended && matches {
            return true;
        }
        self.bad.get_or_insert(number);
        self.commit_ended |= ours && ends_commit;
        false
    }
}

/// What the header says.
struct Format {
    big_endian: bool,
    page_bytes: usize,
    /// They are other ones each time that the write-ahead log is begun anew, and every frame
    /// repeats them. Frames with other salts are left from before.
    salts: [u32; 2],
    sums: Sums,
}

impl Format {
    /// Reads the header; `None` if it is not one.
    fn read(header: &[u8]) -> Option<Self> {
        let [magic, _version, page_bytes, _checkpoint] = words(header, 0)?;
        let format = Self {
            big_endian: magic & 1 == 1,
            page_bytes: usize::try_from(page_bytes).ok()?,
            salts: words(header, 16)?,
            sums: words(header, 24).map(|[first, second]| (first, second))?,
        };
        let sound = magic & !1 == MAGIC
            && format.page_bytes.is_power_of_two()
            && (512..=65_536).contains(&format.page_bytes)
            && format.add((0, 0), header.get(..24)?) == format.sums;
        sound.then_some(format)
    }

    /// The sums that a frame must carry: over the first 8 bytes of its header and the page.
    fn sums_of(&self, before: Sums, frame: &[u8]) -> Option<Sums> {
        let sums = self.add(before, frame.get(..8)?);
        Some(self.add(sums, frame.get(FRAME_HEADER_BYTES..)?))
    }

    fn add(&self, sums: Sums, bytes: &[u8]) -> Sums {
        let read = if self.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        let (words, _) = bytes.as_chunks();
        let (pairs, _) = words.as_chunks();
        pairs.iter().fold(sums, |(first, second), [even, odd]| {
            let first = first.wrapping_add(read(*even)).wrapping_add(second);
            (first, second.wrapping_add(read(*odd)).wrapping_add(first))
        })
    }
}

/// Big-endian numbers, one after the other, from byte `at` on.
fn words<const N: usize>(bytes: &[u8], at: usize) -> Option<[u32; N]> {
    let (words, _) = bytes.get(at..)?.as_chunks();
    let words: &[[u8; 4]; N] = words.first_chunk()?;
    Some(words.map(u32::from_be_bytes))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    words(bytes, at).map(|[word]| word)
}

/// Fills the buffer; false if the file ends before it is full.
fn fill(wal: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match wal.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

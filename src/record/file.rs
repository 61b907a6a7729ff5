//! A file of lines that is not torn, does not grow too long, and is kept a while.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::trail::predecessor;

/// Lines are written when there are so many bytes of them.
const BUFFER: usize = 64 << 10;

/// Whole lines on their way to where they are written.
///
/// When writing fails in the middle of a line, the next attempt goes on there.
#[derive(Debug)]
struct Lines<W> {
    sink: W,
    buffer: Vec<u8>,
    /// So many bytes of the buffer are written.
    written: usize,
}

impl<W: Write> Lines<W> {
    fn new(sink: W) -> Self {
        Self {
            sink,
            buffer: Vec::with_capacity(BUFFER),
            written: 0,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.written < self.buffer.len() {
            match self.sink.write(&self.buffer[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.buffer.clear();
        self.written = 0;
        self.sink.flush()
    }
}

/// The file that is written, which becomes the first of its predecessors when it is full.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    lines: Lines<File>,
    /// Bytes in the file, and of lines on their way.
    size: u64,
    /// Whether it is a file, and not a pipe or a device, which can be neither measured nor renamed.
    is_file: bool,
}

impl LogFile {
    /// Opens the file at `path`, or makes it, to append to it. A line in the middle of which another program ended, is ended.
    pub(super) fn open(path: PathBuf, max_bytes: u64, keep: u32) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let metadata = file.metadata()?;
        let is_file = metadata.is_file();
        let mut log = Self {
            max_bytes,
            keep,
            lines: Lines::new(file),
            size: if is_file { metadata.len() } else { 0 },
            is_file,
            path,
        };
        if log.size > 0 && log.last_byte()? != b'\n' {
            log.push(b"\n");
        }
        Ok(log)
    }

    fn last_byte(&self) -> io::Result<u8> {
        let mut file = File::open(&self.path)?;
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok(last[0])
    }

    /// Whether nothing stands in it yet.
    pub(super) fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Whether a line of so many bytes may still be added to this file.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let size = self.size.saturating_add(bytes as u64);
        !self.is_file || size <= self.max_bytes
    }

    /// Whether so much waits that it should be written.
    pub(super) fn is_full(&self) -> bool {
        self.lines.buffer.len() >= BUFFER
    }

    /// Adds a line, with its end.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.size = self.size.saturating_add(line.len() as u64);
        self.lines.buffer.extend_from_slice(line);
    }

    /// Writes all that has been added. After an error the same may be tried again: nothing is written twice.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }

    /// Begins a new file; the oldest one goes if there are too many.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        self.flush()?;
        // Where the last attempt could not open a new file, the old ones have moved already.
        if self.path.try_exists()? {
            self.make_way()?;
        }
        let mut options = OpenOptions::new();
        self.lines.sink = options.append(true).create(true).open(&self.path)?;
        self.size = 0;
        Ok(())
    }

    /// Moves each file on by one.
    fn make_way(&self) -> io::Result<()> {
        let most = self.keep.saturating_sub(1);
        if most == 0 {
            return fs::remove_file(&self.path);
        }
        for nth in (1..most).rev() {
            rename(
                &predecessor(&self.path, nth),
                &predecessor(&self.path, nth + 1),
            )?;
        }
        rename(&self.path, &predecessor(&self.path, 1))
    }
}

/// What is not there need not be renamed.
fn rename(from: &PathBuf, to: &PathBuf) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that has room for so many bytes.
    #[derive(Debug, Default)]
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..fits]);
            self.room -= fits;
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_a_full_disk_has_cut_is_whole_when_there_is_room_again() {
        let mut lines = Lines::new(Disk::default());
        lines.buffer.extend_from_slice(b"first\nsecond\n");
        lines.sink.room = 8;
        assert!(lines.flush().is_err());
        assert_eq!(lines.sink.bytes, b"first\nse");
        assert!(lines.flush().is_err());
        lines.sink.room = 100;
        lines.flush().unwrap();
        lines.flush().unwrap();
        assert_eq!(lines.sink.bytes, b"first\nsecond\n");
    }
    #[test]
    fn a_new_file_that_could_not_be_opened_costs_no_old_one() {
        let home = std::env::temp_dir().join(format!("tower-quota-file-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        for keep in [1, 3] {
            let path = home.join(format!("keep-{keep}.jsonl"));
            let mut log = LogFile::open(path.clone(), 4_096, keep).unwrap();
            for line in ["first\n", "second\n", "third\n"] {
                log.push(line.as_bytes());
                log.rotate().unwrap();
            }
            // What a rotation leaves behind that came no further than this.
            fs::remove_file(&path).unwrap();
            for _ in 0..3 {
                log.rotate().unwrap();
                fs::remove_file(&path).unwrap();
            }
            let text = |nth| fs::read_to_string(predecessor(&path, nth)).unwrap();
            if keep > 1 {
                assert_eq!([text(1), text(2)], ["third\n", "second\n"]);
            }
        }
        fs::remove_dir_all(home).unwrap();
    }
}

//! Files that a user names, read without letting one fill the memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a file of at most `most` bytes; `None` if it has more, as a device may without end.
///
/// # Errors
/// The file can't be read.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

/// Text as `read_to_string` takes it.
///
/// # Errors
/// It's not UTF-8.
pub(crate) fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_too_long() {
        assert!(read(Path::new("/dev/zero"), 4096).unwrap().is_none());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [b'x'; 100]).unwrap();
        assert_eq!(read(file.path(), 100).unwrap(), Some(vec![b'x'; 100]));
        assert_eq!(read(file.path(), 99).unwrap(), None);
        assert_eq!(text(b"\xff".to_vec()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

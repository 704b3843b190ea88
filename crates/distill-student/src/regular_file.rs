//! Files that users name, opened only where they have an end.
//!
//! A pipe without a writer holds its reader up for ever, a device such as `/dev/zero` has no end, and
//! a folder is none of the two. All three are refused before they are opened.

use std::{
    fs::{File, FileType, Metadata},
    io::{Error, ErrorKind, Read as _, Result},
    path::Path,
};

/// Most bytes of a text that somebody wrote, or a program for them: a pipeline, a suite, a list of
/// prices or of models.
pub const LONGEST_TEXT: u64 = 256 << 20;

/// Opens a file for reading.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], which says what it is, for a folder, a pipe, a socket or a device;
/// whatever the system says otherwise.
pub fn open(path: &Path) -> Result<File> {
    // Looked at before it is opened: to open a pipe is to wait for its writer.
    regular(&std::fs::metadata(path)?)?;
    File::open(path)
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// As [`open`], and [`ErrorKind::FileTooLarge`] for more bytes.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A file may grow while it is read.
    open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let told = format!("it has more than {most} bytes, more than such a file can need");
        return Err(Error::new(ErrorKind::FileTooLarge, told));
    }
    Ok(bytes)
}

/// Reads a text file of at most `most` bytes.
///
/// # Errors
/// As [`read`], and [`ErrorKind::InvalidData`] for what is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

fn regular(found: &Metadata) -> Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let told = format!("it is {}, not a file", kind(found.file_type()));
    Err(Error::new(ErrorKind::InvalidInput, told))
}

fn kind(found: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if found.is_fifo() {
            return "a named pipe";
        }
        if found.is_socket() {
            return "a socket";
        }
        if found.is_char_device() || found.is_block_device() {
            return "a device";
        }
    }
    if found.is_dir() {
        "a folder"
    } else {
        "something else"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"four");
        assert_eq!(read_text(&path, 4).unwrap(), "four");
        let long = read(&path, 3).unwrap_err();
        assert_eq!(long.kind(), ErrorKind::FileTooLarge);
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(
            read_text(&path, 4).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        let folder = open(folder.path()).unwrap_err();
        assert_eq!(folder.to_string(), "it is a folder, not a file");
    }

    #[cfg(unix)]
    #[test]
    fn what_has_no_end_is_not_opened() {
        let device = read(Path::new("/dev/zero"), 4).unwrap_err();
        assert_eq!(device.to_string(), "it is a device, not a file");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(
            open(&path).unwrap_err().to_string(),
            "it is a socket, not a file"
        );
    }
}

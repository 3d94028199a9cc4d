//! Files in idx format, the layout of MNIST: one file of images, one of labels, plain or gzipped.
//!
//! ```text
//! bytes 0, 1   0
//! byte 2       element type, 8 = unsigned byte
//! byte 3       number of dimensions: images 3 (rows, height, width), labels 1 (rows)
//! then         each dimension as a big-endian u32, then the elements, the last dimension fastest
//! ```
//!
//! Invariant: no allocation is sized by a header. A buffer grows with the bytes that are there, and no file is read or
//! decompressed further than one byte past what its header says.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::{Dataset, Inputs};
use crate::{Error, Result};

const UNSIGNED_BYTE: u8 = 0x08;
const GZIP: [u8; 2] = [0x1F, 0x8B];
const WHERE_FROM: &str = "MNIST-like data come for example with Debian's package dataset-fashion-mnist, \
                          which puts Fashion-MNIST in /usr/share/datasets/fashion-mnist";

/// Which of the two parts of a folder in MNIST's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`.
    Train,
    /// `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`.
    Test,
}

impl Part {
    fn prefix(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Test => "t10k",
        }
    }
}

/// Reads one part of a folder in MNIST's layout: MNIST, Fashion-MNIST, KMNIST.
///
/// The file names are those of [`Part`], or the same with `.gz`; where both exist, the one without `.gz` is read.
///
/// # Errors
/// [`Error::File`] if one of the files is in the folder under neither name; otherwise as [`read`].
pub fn read_folder(folder: &Path, part: Part) -> Result<Dataset> {
    let images = images_of(folder, part)?;
    let labels = find(folder, &format!("{}-labels-idx1-ubyte", part.prefix()))?;
    read(&images, &labels)
}

/// Reads an image file and its label file. Whether a file is gzipped is told by its content, not by its name.
///
/// `N` images of `H x W` pixels become inputs of shape `[N, H * W]` with scale 1/255. The number of classes is the largest
/// label + 1, at least 2; if a part lacks the last class, [`Dataset::new`] sets another number.
///
/// # Errors
/// [`Error::File`], with what was found and what was expected, if a file is missing or unreadable, is not an idx file of
/// unsigned bytes with 3 (images) or 1 (labels) dimensions, has no rows or empty rows, is shorter or longer than its header
/// says, or if the two files disagree on the number of rows.
pub fn read(images: &Path, labels: &Path) -> Result<Dataset> {
    let mut image_file = Source::open(images, Kind::Images)?;
    let mut label_file = Source::open(labels, Kind::Labels)?;
    // Both headers are compared before any element is read, so that a wrong pair of files costs nothing.
    if image_file.rows != label_file.rows {
        let (found, expected, images) = (label_file.rows, image_file.rows, images.display());
        let problem = format!(
            "found {found} labels, expected {expected}, one for each image of {images}; name the label file of these images"
        );
        return Err(label_file.error(problem));
    }
    let labels: Vec<u32> = label_file.elements()?.into_iter().map(u32::from).collect();
    let bytes = image_file.elements()?;
    let classes = labels.iter().max().map_or(2, |&largest| (largest + 1).max(2));
    Dataset::new(Inputs::from_u8(image_file.columns, bytes, 1.0 / 255.0)?, labels, classes)
}

/// Reads an image file alone, for predictions.
///
/// # Errors
/// As [`read`], of the image file.
pub fn read_images(images: &Path) -> Result<Inputs> {
    let mut file = Source::open(images, Kind::Images)?;
    Inputs::from_u8(file.columns, file.elements()?, 1.0 / 255.0)
}

/// The path of the images of one part of a folder, as in [`read_folder`].
pub(super) fn images_of(folder: &Path, part: Part) -> Result<PathBuf> {
    find(folder, &format!("{}-images-idx3-ubyte", part.prefix()))
}

/// What a file is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Images,
    Labels,
}

impl Kind {
    fn dimensions(self) -> u8 {
        match self {
            Kind::Images => 3,
            Kind::Labels => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Images => "images",
            Kind::Labels => "labels",
        }
    }
}

/// A file behind its header.
struct Source<'a> {
    path: &'a Path,
    reader: Box<dyn Read>,
    rows: u32,
    columns: u32,
}

impl<'a> Source<'a> {
    /// Opens a file and reads and checks its header.
    fn open(path: &'a Path, kind: Kind) -> Result<Self> {
        let mut source = Self { path, reader: open(path)?, rows: 0, columns: 1 };
        let [zero, zero_too, element, dimensions] = source.word("its magic number")?;
        if [zero, zero_too] != [0, 0] {
            let found = u32::from_be_bytes([zero, zero_too, element, dimensions]);
            let expected = u32::from_be_bytes([0, 0, UNSIGNED_BYTE, kind.dimensions()]);
            return Err(source.error(format!(
                "found magic number {found:#010x}, expected {expected:#010x} (idx, {} of unsigned bytes)",
                kind.name()
            )));
        }
        if element != UNSIGNED_BYTE {
            let problem = "only unsigned bytes are read; convert the file";
            return Err(source.error(format!("found element type {element:#04x}, expected {UNSIGNED_BYTE:#04x}: {problem}")));
        }
        if dimensions != kind.dimensions() {
            let hint = match (kind, dimensions) {
                (Kind::Images, 1) => "; this is a label file, are the two files swapped?",
                (Kind::Labels, 3) => "; this is an image file, are the two files swapped?",
                _ => "",
            };
            let (expected, name) = (kind.dimensions(), kind.name());
            return Err(source.error(format!("found {dimensions} dimensions, expected {expected} for {name}{hint}")));
        }
        source.rows = source.dimension("rows")?;
        if kind == Kind::Images {
            let (height, width) = (source.dimension("pixel rows in an image")?, source.dimension("pixels in a row")?);
            source.columns = height.checked_mul(width).ok_or_else(|| {
                source.error(format!("found images of {height} x {width} pixels, expected at most {}", u32::MAX))
            })?;
        }
        Ok(source)
    }

    /// One dimension of the header.
    fn dimension(&mut self, what: &str) -> Result<u32> {
        match u32::from_be_bytes(self.word("its header")?) {
            0 => Err(self.error(format!("found 0 {what}, expected at least 1; copy or download it again"))),
            dimension => Ok(dimension),
        }
    }

    /// Four bytes of the header.
    fn word(&mut self, what: &str) -> Result<[u8; 4]> {
        let mut word = [0; 4];
        self.reader.read_exact(&mut word).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => self.error(format!(
                "found the end of the file within {what}, expected an idx file; it is truncated, copy or download it again"
            )),
            _ => unreadable(self.path, &e),
        })?;
        Ok(word)
    }

    /// Every element: `rows * columns` bytes.
    fn elements(&mut self) -> Result<Vec<u8>> {
        let expected = u64::from(self.rows) * u64::from(self.columns); // Two factors below 2^32 leave room for one more.
        let mut bytes = Vec::new();
        // One byte more shows what trails behind the elements and makes the decoder verify gzip's checksum.
        let end = self.reader.by_ref().take(expected + 1).read_to_end(&mut bytes);
        let found = bytes.len() as u64;
        match end {
            Err(e) if e.kind() != ErrorKind::UnexpectedEof => return Err(unreadable(self.path, &e)),
            Err(_) if found >= expected => {
                return Err(
                    self.error("found the end of the file within gzip's checksum, expected all of it; it is truncated, copy or download it again".into())
                );
            }
            _ => {}
        }
        let (rows, columns) = (self.rows, self.columns);
        if found < expected {
            let header = format!("{rows} rows of {columns} ({expected} bytes)");
            return Err(self.error(format!(
                "found {found} bytes of elements, expected {header}; the file is truncated, copy or download it again"
            )));
        }
        if found > expected {
            return Err(self.error(format!(
                "found bytes behind the elements, expected none after {rows} rows of {columns}; copy or download it again"
            )));
        }
        Ok(bytes)
    }

    fn error(&self, problem: String) -> Error {
        Error::File { path: self.path.to_path_buf(), problem }
    }
}

/// Opens a file; a gzipped one, told by its first two bytes, is decompressed as it is read.
fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = File::open(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => missing(path.to_path_buf(), "found no such file, expected an idx file, plain or gzipped"),
        _ => unreadable(path, &e),
    })?;
    let mut reader = BufReader::new(file);
    let gzipped = reader.fill_buf().map_err(|e| unreadable(path, &e))?.starts_with(&GZIP);
    Ok(if gzipped { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

/// The file of that name in the folder, or of that name with `.gz`.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let plain = folder.join(name);
    let zipped = folder.join(format!("{name}.gz"));
    if plain.exists() {
        Ok(plain)
    } else if zipped.exists() {
        Ok(zipped)
    } else {
        Err(missing(plain, "found no such file, expected it under this name or with .gz"))
    }
}

fn missing(path: PathBuf, problem: &str) -> Error {
    Error::File { path, problem: format!("{problem}; {WHERE_FROM}") }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::File {
        path: path.to_path_buf(),
        problem: format!("found it unreadable ({error}), expected an idx file, plain or gzipped"),
    }
}

#[cfg(test)]
mod tests;

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
        let problem = format!("found {found} labels, expected {expected}, one for each image of {images}");
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
            0 => Err(self.error(format!("found 0 {what}, expected at least 1"))),
            dimension => Ok(dimension),
        }
    }

    /// Four bytes of the header.
    fn word(&mut self, what: &str) -> Result<[u8; 4]> {
        let mut word = [0; 4];
        self.reader.read_exact(&mut word).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => {
                self.error(format!("found the end of the file within {what}, expected an idx file; it is truncated"))
            }
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
                    self.error("found the end of the file within gzip's checksum, expected all of it; it is truncated".into())
                );
            }
            _ => {}
        }
        let (rows, columns) = (self.rows, self.columns);
        if found < expected {
            let header = format!("{rows} rows of {columns} ({expected} bytes)");
            return Err(self.error(format!("found {found} bytes of elements, expected {header}; the file is truncated")));
        }
        if found > expected {
            return Err(self.error(format!("found bytes behind the elements, expected none after {rows} rows of {columns}")));
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
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::*;
    use crate::data::Values;

    /// An idx file of unsigned bytes.
    fn idx(dimensions: &[u32], elements: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, UNSIGNED_BYTE, dimensions.len() as u8];
        file.extend(dimensions.iter().flat_map(|d| d.to_be_bytes()));
        file.extend_from_slice(elements);
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Three images of 2 x 2 pixels.
    fn images() -> Vec<u8> {
        idx(&[3, 2, 2], &[0, 51, 102, 255, 1, 2, 3, 4, 5, 6, 7, 8])
    }

    fn labels() -> Vec<u8> {
        idx(&[3], &[2, 0, 1])
    }

    fn folder(images: &[u8], labels: &[u8]) -> (TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let paths = (folder.path().join("images"), folder.path().join("labels"));
        std::fs::write(&paths.0, images).unwrap();
        std::fs::write(&paths.1, labels).unwrap();
        (folder, paths.0, paths.1)
    }

    fn read_bytes(image_bytes: &[u8], label_bytes: &[u8]) -> Result<Dataset> {
        let (_folder, images, labels) = folder(image_bytes, label_bytes);
        read(&images, &labels)
    }

    /// Asserts that reading fails in the file `name`, and that the message has all of `parts`.
    #[track_caller]
    fn refused(image_bytes: &[u8], label_bytes: &[u8], name: &str, parts: &[&str]) {
        match read_bytes(image_bytes, label_bytes) {
            Err(Error::File { path, problem }) => {
                assert!(path.ends_with(name), "{}: {problem}", path.display());
                for part in parts {
                    assert!(problem.contains(part), "`{part}` is missing in: {problem}");
                }
            }
            other => panic!("not refused as a file: {other:?}"),
        }
    }

    #[test]
    fn images_and_labels_are_read_row_by_row() {
        let set = read_bytes(&images(), &labels()).unwrap();
        assert_eq!((set.rows(), set.columns(), set.classes()), (3, 4, 3));
        assert_eq!(set.labels(), [2, 0, 1]);
        assert_eq!(set.inputs().samples(), [0, 1, 2]);
        let bytes = vec![0, 51, 102, 255, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(*set.inputs().values(), Values::U8 { bytes, scale: 1.0 / 255.0 });
    }

    #[test]
    fn one_label_class_still_makes_two_classes() {
        assert_eq!(read_bytes(&images(), &idx(&[3], &[0, 0, 0])).unwrap().classes(), 2);
    }

    #[test]
    fn gzip_is_told_by_the_content() {
        // Neither name ends with .gz, and one of the two files is plain.
        assert_eq!(read_bytes(&gzip(&images()), &labels()).unwrap(), read_bytes(&images(), &gzip(&labels())).unwrap());
    }

    #[test]
    fn a_folder_has_two_parts_plain_or_gzipped() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("train-images-idx3-ubyte.gz", &gzip(&images()));
        write("train-labels-idx1-ubyte", &labels());
        write("t10k-images-idx3-ubyte", &idx(&[1, 2, 2], &[9; 4]));
        write("t10k-labels-idx1-ubyte.gz", &gzip(&idx(&[1], &[1])));
        assert_eq!(read_folder(folder.path(), Part::Train).unwrap().labels(), [2, 0, 1]);
        assert_eq!(read_folder(folder.path(), Part::Test).unwrap().labels(), [1]);
    }

    #[test]
    fn a_missing_file_is_named_with_a_place_to_get_it_from() {
        let empty = tempfile::tempdir().unwrap();
        for error in [
            read_folder(empty.path(), Part::Test).unwrap_err(),
            read(&empty.path().join("t10k-images-idx3-ubyte"), Path::new("labels")).unwrap_err(),
        ] {
            let Error::File { path, problem } = error else { panic!("{error}") };
            assert_eq!(path, empty.path().join("t10k-images-idx3-ubyte"));
            assert!(problem.contains("found no such file"), "{problem}");
            assert!(problem.contains("dataset-fashion-mnist"), "{problem}");
        }
    }

    #[test]
    fn a_folder_in_place_of_a_file_is_refused() {
        let (folder, _, labels) = folder(&images(), &labels());
        assert!(matches!(read(folder.path(), &labels), Err(Error::File { .. })));
    }

    #[test]
    fn a_file_cut_anywhere_is_truncated() {
        let whole = images();
        for length in 0..whole.len() {
            refused(&whole[..length], &labels(), "images", &["found", "expected", "truncated"]);
        }
        refused(&images(), &labels()[..10], "labels", &["found 2 bytes", "expected 3 rows of 1 (3 bytes)", "truncated"]);
    }

    #[test]
    fn a_gzipped_file_cut_anywhere_is_truncated() {
        let whole = gzip(&images());
        for length in 2..whole.len() {
            refused(&whole[..length], &labels(), "images", &["found", "expected", "truncated"]);
        }
    }

    #[test]
    fn a_wrong_checksum_of_gzip_is_refused() {
        let mut broken = gzip(&images());
        let checksum = broken.len() - 8;
        broken[checksum] ^= 1;
        refused(&broken, &labels(), "images", &["found it unreadable", "expected"]);
    }

    #[test]
    fn another_magic_number_is_refused() {
        let png = [0x89, b'P', b'N', b'G', 13, 10, 26, 10];
        refused(&png, &labels(), "images", &["found magic number 0x89504e47", "expected 0x00000803"]);
        refused(&images(), &png, "labels", &["found magic number 0x89504e47", "expected 0x00000801"]);
    }

    #[test]
    fn only_unsigned_bytes_are_read() {
        let mut floats = images();
        floats[2] = 0x0D;
        refused(&floats, &labels(), "images", &["found element type 0x0d", "expected 0x08"]);
    }

    #[test]
    fn a_label_file_is_no_image_file() {
        refused(&labels(), &labels(), "images", &["found 1 dimensions", "expected 3 for images", "this is a label file"]);
        refused(&images(), &images(), "labels", &["found 3 dimensions", "expected 1 for labels", "this is an image file"]);
    }

    #[test]
    fn image_and_label_counts_must_agree() {
        refused(&images(), &idx(&[2], &[2, 0]), "labels", &["found 2 labels", "expected 3"]);
    }

    #[test]
    fn empty_dimensions_are_refused() {
        refused(&idx(&[0, 2, 2], &[]), &idx(&[0], &[]), "images", &["found 0 rows", "expected at least 1"]);
        refused(&images(), &idx(&[0], &[]), "labels", &["found 0 rows", "expected at least 1"]);
        refused(&idx(&[3, 2, 0], &[]), &labels(), "images", &["found 0 pixels in a row", "expected at least 1"]);
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut long = images();
        long.push(0);
        refused(&long, &labels(), "images", &["found bytes behind the elements", "none after 3 rows of 4"]);
        refused(&gzip(&long), &labels(), "images", &["found bytes behind the elements", "none after 3 rows of 4"]);
        let mut behind_gzip = gzip(&images());
        behind_gzip.push(0x55);
        refused(&behind_gzip, &labels(), "images", &["found", "expected"]);
    }

    #[test]
    fn a_header_that_claims_too_much_is_truncated_data() {
        let rows = u32::MAX;
        let claims = idx(&[rows, 28, 28], &[7; 5]);
        refused(&claims, &idx(&[rows], &[1; 5]), "labels", &["found 5 bytes", "4294967295 rows of 1"]);
        refused(&idx(&[3, 1 << 16, 1 << 16], &[]), &labels(), "images", &["found images of 65536 x 65536 pixels"]);
        let mut source = Source { path: Path::new("x"), reader: Box::new(&[0u8; 9][..]), rows, columns: u32::MAX };
        let message = source.elements().unwrap_err().to_string();
        assert!(message.contains("found 9 bytes of elements, expected 4294967295 rows of 4294967295"), "{message}");
    }

    #[test]
    fn no_more_is_read_than_the_header_says() {
        // The reader never ends: only the limit makes this return.
        let mut source = Source { path: Path::new("x"), reader: Box::new(std::io::repeat(0)), rows: 3, columns: 4 };
        assert!(source.elements().unwrap_err().to_string().contains("found bytes behind the elements"));
    }
}

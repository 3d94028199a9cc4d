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

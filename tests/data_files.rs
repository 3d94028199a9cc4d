//! Data sets from files: what is read; in the modules, what is made of it and what is refused.

use std::io::{Cursor, Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use thinnet::Inputs;
use thinnet::data::file::{inputs_for, load_for};
use thinnet::data::{DataOptions, Dataset, Portion, Preprocessing, Sets, Target, Targets, Task, Values};

mod fingerprints;
mod preparing;
mod refusals;
mod scales;
pub(crate) mod sequences;

/// A folder of files.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, bytes) in files {
            std::fs::write(folder.path(name), bytes).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn options(&self, name: &str) -> DataOptions {
        DataOptions::new(self.path(name))
    }

    /// All rows of a csv file.
    fn load(&self, name: &str, task: Task) -> Sets {
        self.options(name).load(task, 0).unwrap()
    }
}

fn csv(text: &str) -> Folder {
    Folder::new(&[("table.csv", text.as_bytes())])
}

fn raw(options: DataOptions) -> DataOptions {
    DataOptions { standardize: Some(false), ..options }
}

fn one(name: &str) -> Option<Target> {
    Some(Target::One(name.into()))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An npy file of version 1, as NumPy documents it.
pub(crate) fn npy(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), elements].concat()
}

pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// An idx file of unsigned bytes.
fn idx(dimensions: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dimensions.len() as u8];
    file.extend(dimensions.iter().flat_map(|extent| extent.to_be_bytes()));
    file.extend_from_slice(elements);
    file
}

/// One member of an archive that NumPy wrote.
fn by_numpy(name: &str) -> Vec<u8> {
    let archive = include_bytes!("data_files/dtypes.npz");
    let mut archive = zip::ZipArchive::new(Cursor::new(&archive[..])).unwrap();
    let mut bytes = Vec::new();
    archive.by_name(&format!("{name}.npy")).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn values(inputs: &Inputs) -> Vec<f32> {
    (0..inputs.rows()).flat_map(|row| inputs.row_f32(row)).collect()
}

fn numbers(set: &Dataset) -> (u32, &[f32]) {
    match set.targets() {
        Targets::Values { columns, values } => (*columns, values),
        Targets::Classes { .. } => panic!("classes"),
    }
}

#[test]
fn a_table_becomes_inputs_and_classes() {
    // A byte order mark, CRLF, quotes, spaces, a cell with a comma, and blank lines.
    let text = "\u{feff}a,\"b,c\" , label \r\n1,2.5,0\r\n\"3\" , -4e0,1\r\n\r\n5,6,\"2\"\r\n\r\n";
    let folder = csv(text);
    let sets = raw(folder.options("table.csv")).load(Task::Classes, 0).unwrap();
    assert_eq!(values(sets.train.inputs()), [1.0, 2.5, 3.0, -4.0, 5.0, 6.0]);
    assert_eq!((sets.train.labels(), sets.train.classes()), (&[0, 1, 2][..], 3));
    assert_eq!(sets.train.inputs().samples(), [0, 1, 2]);
    assert_eq!((sets.valid, sets.test), (None, None));
    assert_eq!(sets.preprocessing.input_names, ["a", "b,c"]);
    assert_eq!((&sets.preprocessing.inputs, sets.preprocessing.output_names.len()), (&None, 0));
    let zipped = Folder::new(&[("table.csv.gz", &gzip(text.as_bytes())), ("also.csv", &gzip(text.as_bytes()))]);
    for name in ["table.csv.gz", "also.csv"] {
        assert_eq!(raw(zipped.options(name)).load(Task::Classes, 0).unwrap().train, sets.train);
    }
}

#[test]
fn labels_that_are_no_numbers_from_0_become_names_in_sorted_order() {
    for (labels, names, classes) in [
        (["cat", "ant", "bee", "ant"], &["ant", "bee", "cat"][..], [2, 0, 1, 0]),
        (["7", "3", "10", "3"], &["3", "7", "10"], [1, 0, 2, 0]),
        (["1.0", "-1", "1", "-1.0"], &["-1", "1"], [1, 0, 1, 0]),
        (["1", "a", "10", "2"], &["1", "10", "2", "a"], [0, 3, 1, 2]),
        (["2", "0", "1.0", "0"], &[], [2, 0, 1, 0]),
    ] {
        let rows: String = labels.iter().map(|label| format!("{label},1\n")).collect();
        let sets = csv(&format!("class,x\n{rows}")).load("table.csv", Task::Classes);
        assert_eq!(sets.preprocessing.output_names, names);
        assert_eq!(sets.train.labels(), classes);
        assert_eq!(sets.train.classes(), classes.iter().max().unwrap() + 1);
    }
}

#[test]
fn the_target_is_the_first_of_the_usual_names_or_what_is_asked_for() {
    let folder = csv("y,target,size,class\n0,1,2,1\n1,0,3,0\n");
    let sets = folder.load("table.csv", Task::Classes);
    assert_eq!((sets.train.labels(), sets.preprocessing.input_names.join(" ")), (&[1, 0][..], "y size class".into()));
    let options = DataOptions { target: one("size"), ..folder.options("table.csv") };
    assert_eq!(numbers(&raw(options).load(Task::Values, 0).unwrap().train), (1, &[2.0, 3.0][..]));
    let several = Target::Many(vec!["size".into(), "y".into()]);
    let sets = raw(DataOptions { target: Some(several), ..folder.options("table.csv") }).load(Task::Values, 0).unwrap();
    assert_eq!(numbers(&sets.train), (2, &[2.0, 0.0, 3.0, 1.0][..]));
    assert_eq!(
        (sets.preprocessing.output_names, sets.preprocessing.input_names),
        (strings(&["size", "y"]), strings(&["target", "class"]))
    );
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn a_loss_that_takes_either_decides_by_the_targets() {
    let sets = csv("x,y\n1,0\n2,1\n").load("table.csv", Task::Either);
    assert_eq!((sets.train.labels(), sets.train.classes()), (&[0, 1][..], 2));
    let sets = csv("x,y\n1,no\n2,yes\n").load("table.csv", Task::Either);
    assert_eq!((sets.train.labels(), sets.preprocessing.output_names), (&[0, 1][..], strings(&["no", "yes"])));
    let folder = csv("x,y\n1,0.25\n2,1\n");
    let sets = folder.load("table.csv", Task::Either);
    assert_eq!(numbers(&sets.train), (1, &[0.25, 1.0][..]));
    assert_eq!((&sets.preprocessing.targets, &sets.preprocessing.output_names), (&None, &strings(&["y"])));
    // A file for the trained model is read alike, even where its numbers are whole.
    let whole = csv("x,y\n1,0\n2,1\n");
    let data = load_for(&whole.path("table.csv"), &Portion::All, None, &sets.preprocessing, Task::Either).unwrap();
    assert_eq!(numbers(&data), (1, &[0.0, 1.0][..]));
}

#[test]
fn every_type_and_order_that_numpy_writes_is_read() {
    let position = |row: usize| (0..6).map(move |column| (row, column / 3, column % 3));
    let mut read = 0;
    for kind in ["b1", "u1", "i1"].into_iter().map(String::from).chain(
        ["le", "be"]
            .iter()
            .flat_map(|order| ["u2", "u4", "u8", "i2", "i4", "i8", "f4", "f8"].map(|kind| format!("{order}_{kind}"))),
    ) {
        for order in ["rows", "columns"] {
            let x = by_numpy(&format!("{kind}_{order}"));
            let folder = Folder::new(&[("x.npy", &x), ("y.npy", &npy("|u1", "(4,)", &[0, 1, 2, 0]))]);
            let sets = raw(folder.options("x.npy")).load(Task::Classes, 0).unwrap();
            let expected: Vec<f32> = (0..4)
                .flat_map(position)
                .map(|(i, j, k)| match kind.as_str() {
                    "b1" => ((i + j + k) % 2) as f32,
                    "u1" => (i + 10 * j + 20 * k) as f32 * (1.0 / 255.0),
                    _ => (i + 10 * j + 20 * k) as f32,
                })
                .collect();
            assert_eq!(values(sets.train.inputs()), expected, "{kind} {order}");
            let bytes = matches!(sets.train.inputs().values(), Values::U8 { .. });
            assert_eq!(bytes, kind == "u1" || kind == "b1", "{kind}");
            assert_eq!(sets.train.labels(), [0, 1, 2, 0]);
            read += 1;
        }
    }
    assert_eq!(read, 38);
}

#[test]
fn integers_keep_their_sign_and_size() {
    let x = [-1i64, i64::MIN, 1 << 40].map(i64::to_le_bytes).concat();
    let y = [-2i16, 300, -32768].map(i16::to_be_bytes).concat();
    let folder = Folder::new(&[("x.npy", &npy("<i8", "(3, 1)", &x)), ("x_targets.npy", &npy(">i2", "(3,)", &y))]);
    let sets = raw(folder.options("x.npy")).load(Task::Values, 0).unwrap();
    assert_eq!(values(sets.train.inputs()), [-1.0, -9.223372e18, 1.0995116e12]);
    assert_eq!(numbers(&sets.train), (1, &[-2.0, 300.0, -32768.0][..]));
}

#[test]
fn archives_are_read_stored_and_deflated_with_their_test_sets() {
    let (stored, keras) = (include_bytes!("data_files/stored.npz"), include_bytes!("data_files/keras.npz"));
    let folder = Folder::new(&[("stored.npz", stored), ("keras.npz", keras)]);
    let sets = raw(folder.options("stored.npz")).load(Task::Classes, 0).unwrap();
    assert_eq!(values(sets.train.inputs()), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]);
    assert_eq!((sets.train.labels(), sets.train.classes(), sets.test), (&[0, 2, 1, 0][..], 3, None));
    let sets = folder.load("keras.npz", Task::Classes);
    let test = sets.test.unwrap();
    // Bytes are left alone.
    assert_eq!(
        sets.preprocessing,
        Preprocessing { scale: Some(1.0 / 255.0), fingerprint: sets.preprocessing.fingerprint, ..Default::default() }
    );
    assert_eq!((sets.train.rows(), sets.train.columns(), sets.train.labels()), (3, 4, &[0, 1, 1][..]));
    // Only the test set has the third class.
    assert_eq!((test.rows(), test.labels(), test.classes(), sets.train.classes()), (2, &[2, 0][..], 3, 3));
    assert_eq!(test.inputs().row_f32(1)[3], 140.0 * (1.0 / 255.0));
}

#[test]
fn targets_of_an_array_are_found_beside_it_or_by_name() {
    let x = npy("<f4", "(2, 1)", &floats(&[1.0, 2.0]));
    let y = |label: u8| npy("|u1", "(2,)", &[0, label]);
    let label = |folder: &Folder, name: &str, target: Option<Target>| {
        let options = DataOptions { target, ..folder.options(name) };
        options.load(Task::Classes, 0).unwrap().train.labels()[1]
    };
    let folder = Folder::new(&[("x.npy", &x), ("y.npy", &y(1)), ("x_a.npy", &x), ("y_a.npy", &y(2)), ("other.npy", &y(3))]);
    assert_eq!((label(&folder, "x.npy", None), label(&folder, "x_a.npy", None)), (1, 2));
    assert_eq!(label(&folder, "x.npy", one("other.npy")), 3);
    let folder = Folder::new(&[("in.npy", &x), ("in_labels.npy", &y(1)), ("out.npy", &x), ("out_targets.npy", &y(2))]);
    assert_eq!((label(&folder, "in.npy", None), label(&folder, "out.npy", None)), (1, 2));
}

#[test]
fn idx_files_are_read_as_a_folder_and_one_by_one() {
    let images = idx(&[3, 1, 2], &[0, 51, 102, 255, 1, 2]);
    let folder = Folder::new(&[
        ("train-images-idx3-ubyte", &images),
        ("train-labels-idx1-ubyte.gz", &gzip(&idx(&[3], &[1, 0, 1]))),
        ("t10k-images-idx3-ubyte.gz", &gzip(&idx(&[1, 1, 2], &[9, 9]))),
        ("t10k-labels-idx1-ubyte", &idx(&[1], &[4])),
    ]);
    let sets = folder.load("", Task::Classes);
    let test = sets.test.unwrap();
    assert_eq!((sets.train.labels(), sets.train.classes(), test.classes(), test.labels()), (&[1, 0, 1][..], 5, 5, &[4][..]));
    let single = folder.load("train-images-idx3-ubyte", Task::Classes);
    assert_eq!((single.train.inputs(), single.train.classes(), single.test), (sets.train.inputs(), 2, None));
    // Predictions need no labels.
    let alone = Folder::new(&[("train-images-idx3-ubyte", &images)]);
    let none = Preprocessing::default();
    for name in ["", "train-images-idx3-ubyte"] {
        assert_eq!(inputs_for(&alone.path(name), &Portion::All, None, &none).unwrap(), *sets.train.inputs());
    }
}

//! What is no data set: every message names the file, the place and a remedy.

use thinnet::Error;
use thinnet::data::{DataOptions, Portion, Preprocessing, Rows, Target, Task};

use super::{Folder, by_numpy, csv, floats, gzip, idx, inputs_for, load_for, npy, one, strings};

/// The message of an error of a file, with the file in it.
#[track_caller]
fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(error @ (Error::File { .. } | Error::Data(_))) => error.to_string(),
        other => panic!("not refused as a file or data: {other:?}"),
    }
}

/// All parts that a message lacks.
fn lacking<'a>(message: &str, parts: &[&'a str]) -> Vec<&'a str> {
    parts.iter().copied().filter(|part| !message.contains(part)).collect()
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    assert_eq!(lacking(message, parts), [""; 0], "missing in: {message}");
}

#[test]
fn tables_that_are_no_data_are_refused_with_line_and_column() {
    let (classes, values, either) = (Task::Classes, Task::Values, Task::Either);
    let cases: &[(Task, &[u8], &[&str])] = &[
        (classes, b"", &["is empty", "expected"]),
        (classes, b"\n\n", &["is empty", "expected"]),
        (classes, b"x,y\n", &["no rows", "add"]),
        (classes, b"x,y\n1,0\n2\n", &["line 3", "1 cells, expected 2", "give every row"]),
        (classes, b"x,y\r\n1,0\r\n2,1\r\n3,0,7\r\n", &["line 4", "3 cells, expected 2", "quote"]),
        (classes, b"x,x,y\n1,2,0\n", &["line 1", "columns 1 and 2", "`x`", "rename"]),
        (classes, b",x,y\n0,1,0\n", &["line 1", "column 1 has no name", "index=False"]),
        (classes, b"0,0,1\n3,4,1\n", &["line 1", "only numbers", "add a header"]),
        (classes, b"x;y\n1;0\n", &["line 1", "one column", "commas"]),
        (classes, b"x,y\n1,0\n\xff\xfe,1\n", &["line 3", "column 1 `x`", "save the file as UTF-8"]),
        (classes, b"x,\xe9,y\n1,2,0\n", &["line 1", "column 2", "UTF-8"]),
        (classes, b"x,y\n1,0\n,1\n", &["line 3", "column `x` is empty", "fill in"]),
        (classes, b"x,y\n1,0\nNaN,1\n", &["line 3", "column `x` is NaN", "remove the row"]),
        (classes, b"x,y\n-inf,0\n1,1\n", &["line 2", "column `x` is -inf", "remove the row"]),
        (classes, b"x,y\n1e39,0\n1,1\n", &["line 2", "1e39", "beyond 3.4e38"]),
        (classes, b"x,colour,y\n1,red,0\n", &["line 2", "column `colour` is `red`", "remove the column or encode"]),
        (classes, b"x,y\n1,0\n2,\n", &["line 3", "column `y` is empty", "fill in a label"]),
        (classes, b"x,y\n1,0\n2,nan\n", &["line 3", "column `y` is nan", "fill in a label"]),
        (classes, b"x,y\n1,0\n2,0.5\n", &["line 3", "column `y` is `0.5`", "mean_squared_error"]),
        (classes, b"x,y\n1,cat\n2,cat\n", &["line 2", "`cat` in every row", "add rows"]),
        (classes, b"x,z\n1,0\n", &["none of the columns label, target, class, y", "`target`", "`x`, `z`"]),
        (classes, b"y\n1\n", &["no column besides the target", "add"]),
        (values, b"x,y\n1,big\n", &["line 2", "column `y` is `big`", "cross_entropy"]),
        (values, b"x,y\n1,inf\n", &["line 2", "column `y` is inf", "remove the row"]),
        (either, b"x,y\n1,0.5\n2,1.5\n", &["line 3", "column `y` is 1.5", "scale"]),
        (either, b"x,y\n1,-0.5\n2,1\n", &["line 2", "column `y` is -0.5", "scale"]),
    ];
    for (task, bytes, parts) in cases {
        let folder = Folder::new(&[("bad.csv", bytes)]);
        let message = message(folder.options("bad.csv").load(*task, 0));
        says(&message, parts);
        says(&message, &["bad.csv"]);
    }
}

#[test]
fn the_line_is_that_of_the_file_behind_blank_lines() {
    for (text, line) in
        [("x,y\n\n\n1,0\n\n?,1\n", "line 6"), ("x,y\r\n\r\n1,0\r\n?,1\r\n", "line 4"), ("x,y\r1,0\r?,1\r", "line")]
    {
        says(&message(csv(text).options("table.csv").load(Task::Classes, 0)), &[line, "is `?`"]);
    }
}

#[test]
fn a_cell_over_several_lines_is_refused_where_it_begins() {
    // The quote is never closed, by the quote of another cell, or where it should be; in the last column, the first and the header.
    for (text, place) in [
        ("x,y\n1,a\n\n2,\"b\n3,a\n4,b\n", "line 4, column 2 `y`"),
        ("x,y\n1,\"a\n2,\"b\"\n3,\"a\"\n", "line 2, column 2 `y`"),
        ("x,y\n1,a\n\"2,b\n3,a\n", "line 3, column 1 `x`"),
        ("x,y\r\n1,a\r\n2,\"b\r\nc\"\r\n", "line 3, column 2 `y`"),
        ("x,note,y\n1,\"2\n3\",a\n", "line 2, column 2 `note`"),
        ("x,\"y\n1,a\n2,b\n", "line 1, column 2 goes"),
    ] {
        let text = message(csv(text).options("table.csv").load(Task::Classes, 0));
        says(&text, &["table.csv", place, "goes over several lines", "a quote may not be closed"]);
        assert!(!text.contains('\n'), "{text}");
    }
    // Quotes within a line are none of it, nor is one that the end of the file closes.
    let sets = csv("x,y\n1,\"a, \"\"b\"\"\"\n2,\"b\n").load("table.csv", Task::Classes);
    assert_eq!(sets.preprocessing.output_names, ["a, \"b\"", "b"]);
}

#[test]
fn labels_that_number_no_classes_are_refused() {
    let x = npy("<f4", "(3, 1)", &floats(&[1.0, 2.0, 3.0]));
    let y = |labels: [u32; 3]| npy("<u4", "(3,)", &labels.map(u32::to_le_bytes).concat());
    let numbers = [7, 2_000_000_000, 100];
    let folder = Folder::new(&[("x.npy", &x), ("y.npy", &y(numbers))]);
    let text = message(folder.options("x.npy").load(Task::Classes, 0));
    says(&text, &["x.npy", "row 1 has label 2000000000", "2000000001 classes of 3 rows", "from 0", "numpy.unique"]);
    // Some are left out often: up to 2^16 classes are taken, and more where there are more rows.
    for (largest, taken) in [(65_535, true), (65_536, false)] {
        let folder = Folder::new(&[("x.npy", &x), ("y.npy", &y([0, 1, largest]))]);
        let classes = folder.options("x.npy").load(Task::Classes, 0).map(|sets| sets.train.classes());
        assert_eq!(classes.ok(), taken.then_some(largest + 1));
    }
    let labels: Vec<u8> = (0..5000u32).flat_map(|row| if row == 9 { 79_999u32 } else { row }.to_le_bytes()).collect();
    let wide =
        Folder::new(&[("x.npy", &npy("<f4", "(5000, 1)", &floats(&[0.5; 5000]))), ("y.npy", &npy("<u4", "(5000,)", &labels))]);
    assert_eq!(wide.options("x.npy").load(Task::Classes, 0).unwrap().train.classes(), 80_000);
    // The test part has as many outputs as the training part.
    let archive =
        super::sequences::npz(&[("x_train", x.clone()), ("y_train", y([0, 1, 2])), ("x_test", x), ("y_test", y(numbers))]);
    let folder = Folder::new(&[("a.npz", &archive), ("b.csv", b"x,y\n1,0\n2,1\n"), ("b_test.csv", b"x,y\n1,2000000000\n")]);
    for name in ["a.npz", "b.csv"] {
        let text = message(folder.options(name).load(Task::Classes, 0));
        says(&text, &["has label 2000000000", "from 0"]);
    }
    // A trained model knows how many it has, whatever the rows.
    let few = Folder::new(&[("x.npy", &npy("<f4", "(1, 1)", &floats(&[1.0]))), ("y.npy", &npy("<u4", "(1,)", &[0, 0, 2, 0]))]);
    let data = load_for(&few.path("x.npy"), &Portion::All, None, &Preprocessing::default(), Task::Classes).unwrap();
    assert_eq!(data.labels(), [131_072]);
}

#[test]
fn what_a_file_says_is_shown_in_part_and_without_controls() {
    let long = "n".repeat(60_000);
    let red = "\u{1b}[31mred\u{7}\u{202e}";
    let array = |name: &str| super::sequences::npz(&[(name, npy("<f4", "(1,)", &floats(&[1.0])))]);
    for name in [&long, red] {
        // As a column of every kind, as a cell, a class, a sequence and an array.
        let tables = [
            format!("{name},y\n?,1\n"),
            format!("{name},y,{name}\n1,1,1\n"),
            format!("x,{name}\n1,1\n"),
            format!("{name}\n1\n"),
            format!("{name};y\n1\n"),
            format!("x,y\n1,{name}\n"),
            format!("x,y\n{name},1\n"),
            format!("x,y\n1,\"{name}\n{name}\"\n"),
        ];
        let folder =
            Folder::new(&[("a.npz", &array(name)), ("a.ts", format!("@classLabel true a b\n@data\n1:{name}\n").as_bytes())]);
        let loaded = |folder: &Folder, file: &str| message(folder.options(file).load(Task::Classes, 0));
        let texts = tables.iter().map(|table| loaded(&csv(table), "table.csv"));
        for text in texts.chain(["a.npz", "a.ts"].map(|file| loaded(&folder, file))) {
            assert!(text.chars().count() < 600, "{} characters: {}", text.len(), &text[..200]);
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
            assert!(text.contains(if name == red { "\\u{1b}[31mred\\u{7}\\u{202e}" } else { "nnn..." }), "{text}");
        }
    }
}

#[test]
fn rows_to_learn_from_of_one_class_are_refused() {
    let rows: String = (0..30).map(|row| format!("{row},{}\n", ["ant", "bee", "cat"][row / 10])).collect();
    let folder = csv(&format!("x,label\n{rows}"));
    let load = |train: std::ops::Range<u32>| {
        DataOptions { train: Some(Rows(train)), ..folder.options("table.csv") }.load(Task::Classes, 0)
    };
    let text = message(load(10..20));
    says(&text, &["table.csv", "all rows to learn from (10)", "class 1 (`bee`)", "`train`", "shuffle"]);
    // A class of other rows alone is for the caller to speak of.
    let sets = DataOptions { valid: Some(Rows(15..30)), ..folder.options("table.csv") }.load(Task::Classes, 0).unwrap();
    assert_eq!(sets.train.classes_without_rows(), [2]);
    assert_eq!(sets.valid.unwrap().classes_without_rows(), [0]);
    assert!(load(9..21).unwrap().train.classes_without_rows().is_empty());
    // Numbers are no classes, and so many rows of one number are well.
    let folder = csv("x,y\n1,5\n2,5\n");
    let sets = DataOptions { standardize: Some(false), ..folder.options("table.csv") }.load(Task::Values, 0).unwrap();
    assert!(sets.train.classes_without_rows().is_empty());
    let folder = Folder::new(&[("x.npy", &npy("<f4", "(2, 1)", &floats(&[1.0, 2.0]))), ("y.npy", &npy("|u1", "(2,)", &[0, 0]))]);
    says(&message(folder.options("x.npy").load(Task::Either, 0)), &["x.npy", "(2) are of class 0,"]);
}

#[test]
fn a_target_that_is_not_there_is_refused_with_the_nearest_name() {
    let folder = csv("width,species,height\n1,a,2\n2,b,3\n");
    let load = |target| message(DataOptions { target: Some(target), ..folder.options("table.csv") }.load(Task::Classes, 0));
    let many = |names: &[&str]| Target::Many(strings(names));
    says(&load(Target::One("Specie".into())), &["no column `Specie` (did you mean `species`?)", "`width`, `species`, `height`"]);
    assert!(!load(Target::One("qqq".into())).contains("did you mean"));
    says(&load(many(&["width", "height"])), &["2 columns", "classes are in one", "binary_cross_entropy"]);
    says(&load(many(&[])), &["empty list", "name at least one"]);
    let options = DataOptions { target: Some(many(&["width", "width"])), ..folder.options("table.csv") };
    says(&message(options.load(Task::Values, 0)), &["`width` twice", "name it once"]);
}

#[test]
fn a_gzipped_table_that_is_cut_is_refused() {
    let whole = gzip(b"x,y\n1,0\n2,1\n");
    for length in 2..whole.len() {
        let folder = Folder::new(&[("bad.csv.gz", &whole[..length])]);
        says(&message(folder.options("bad.csv.gz").load(Task::Classes, 0)), &["bad.csv.gz", "cut off", "copy"]);
    }
}

/// Files x.npy and y.npy, the one that is refused, parts of the message.
type Case<'a> = (&'a [u8], &'a [u8], &'a str, &'a [&'a str]);

#[test]
fn arrays_that_are_no_data_are_refused_with_the_place() {
    let y = npy("|u1", "(2,)", &[0, 1]);
    let x = npy("<f4", "(2, 2)", &floats(&[1.0, 2.0, 3.0, 4.0]));
    let long = npy("<f4", "(2, 2)", &floats(&[1.0; 5]));
    let doubles = |values: [f64; 2]| npy("<f8", "(2,)", &values.map(f64::to_le_bytes).concat());
    let versioned = [&x[..6], &[9, 0], &x[8..]].concat();
    let (mut claims, huge) = (x.clone(), npy("<f8", "(4294967295, 4294967295)", &[0; 40]));
    claims[6] = 2; // The length is now a u32 whose upper half is text.
    let cases: &[Case] = &[
        (b"", &y, "x.npy", &["cut off within its header", "copy"]),
        (b"x,y\n1,2\n3,4\n5,6", &y, "x.npy", &["does not begin with", "numpy.save"]),
        (&versioned, &y, "x.npy", &["npy version 9.0", "write it"]),
        (&claims, &y, "x.npy", &["header of", "more than 10000", "plain array"]),
        (&x[..x.len() - 1], &y, "x.npy", &["15 bytes", "2 rows of 2 f4 (16 bytes)", "truncated"]),
        (&long, &y, "x.npy", &["goes on behind its 2 rows", "one array"]),
        (&huge, &npy("|u1", "(4294967295,)", &[1; 9]), "y.npy", &["9 bytes", "4294967295 rows", "truncated"]),
        (&npy("<f4", "(2, 4294967296)", &[]), &y, "x.npy", &["below 2^32", "smaller"]),
        (&npy("<f4", "(2, 65536, 65536)", &[]), &y, "x.npy", &["below 2^32", "smaller"]),
        (&npy("<f4", "(99999999999999999999999,)", &[]), &y, "x.npy", &["header", "write it again"]),
        (&npy("<f4", "(2, -2)", &[]), &y, "x.npy", &["header", "write it again"]),
        (&by_numpy("complex"), &y, "x.npy", &["`<c16`", "astype"]),
        (&by_numpy("half"), &y, "x.npy", &["`<f2`", "astype"]),
        (&by_numpy("text"), &y, "x.npy", &["`<U1`", "astype"]),
        (&by_numpy("records"), &y, "x.npy", &["structured", "each field"]),
        (&by_numpy("scalar"), &y, "x.npy", &["single number", "row for each sample"]),
        (&by_numpy("empty"), &y, "x.npy", &["is empty, shape (0, 3)", "at least one row"]),
        (&npy("<f4", "(2, 2)", &floats(&[1.0, 2.0, 3.0, f32::NAN])), &y, "x.npy", &["NaN in row 1, column 1", "fill in"]),
        (&doubles([1.0, 1e300]), &y, "x.npy", &["inf in row 1, column 0", "beyond 3.4e38"]),
        (&x, &npy("|u1", "(3,)", &[0, 1, 0]), "y.npy", &["3 rows", "has 2", "one row of targets"]),
        (&x, &npy("|i1", "(2,)", &[0, 255]), "y.npy", &["label -1 in row 1", "numpy.unique"]),
        (&x, &doubles([0.0, 1.5]), "y.npy", &["label 1.5 in row 1", "mean_squared_error"]),
        (&x, &doubles([f64::NAN, 1.0]), "y.npy", &["label NaN in row 0", "numpy.unique"]),
        (&x, &npy("<u4", "(2,)", &[255; 8]), "y.npy", &["label 4294967295 in row 0", "whole numbers"]),
        (&x, &npy("|u1", "(2, 3)", &[0; 6]), "y.npy", &["3 labels for each row", "argmax"]),
    ];
    for (x, y, file, parts) in cases {
        let folder = Folder::new(&[("x.npy", x), ("y.npy", y)]);
        let message = message(folder.options("x.npy").load(Task::Classes, 0));
        says(&message, parts);
        says(&message, &[file]);
    }
    let folder = Folder::new(&[("x.npy", &x), ("y.npy", &npy("<f4", "(2,)", &floats(&[0.5, 2.0])))]);
    says(&message(folder.options("x.npy").load(Task::Either, 0)), &["row 1, target 0 is 2", "scale"]);
    let folder = Folder::new(&[("x.npy", &x)]);
    says(&message(folder.options("x.npy").load(Task::Classes, 0)), &["x.npy", "y.npy, x_labels.npy", "`target`"]);
}

#[test]
fn a_cut_array_is_refused_wherever_it_is_cut() {
    let x = npy("<f4", "(2, 2)", &floats(&[1.0, 2.0, 3.0, 4.0]));
    for length in 0..x.len() {
        let folder = Folder::new(&[("x.npy", &x[..length]), ("y.npy", &npy("|u1", "(2,)", &[0, 1]))]);
        says(&message(folder.options("x.npy").load(Task::Classes, 0)), &["x.npy", "again"]);
    }
}

#[test]
fn archives_that_are_no_data_are_refused() {
    let whole = include_bytes!("stored.npz");
    // The first element of x is 128 bytes behind its magic number.
    let magic = whole.windows(6).position(|bytes| bytes == b"\x93NUMPY").unwrap();
    let mut flipped = *whole;
    flipped[magic + 128] ^= 1;
    let folder = Folder::new(&[
        ("cut.npz", &whole[..whole.len() - 30]),
        ("text.npz", b"x,y\n1,2\n"),
        ("flipped.npz", &flipped),
        ("stored.npz", whole),
        ("dtypes.npz", include_bytes!("dtypes.npz")),
    ]);
    let load = |name: &str, target| message(DataOptions { target, ..folder.options(name) }.load(Task::Classes, 0));
    says(&load("cut.npz", None), &["cut.npz", "npz archive", "numpy.savez"]);
    says(&load("text.npz", None), &["text.npz", "npz archive", "numpy.savez"]);
    says(&load("flipped.npz", None), &["flipped.npz", "array `x`", "copy"]);
    says(&load("dtypes.npz", None), &["dtypes.npz", "no array of inputs", "x_train", "be_f4_rows", "savez"]);
    says(&load("stored.npz", one("z")), &["stored.npz", "no array of targets (z)", "it has: `x`, `y`"]);
    says(&load("stored.npz", one("x")), &["stored.npz", "array `x`", "2 labels for each row"]);
}

#[test]
fn paths_that_are_no_source_are_refused() {
    let folder = Folder::new(&[("a.txt", b"1"), ("a-images", &idx(&[1, 1, 1], &[0]))]);
    std::fs::create_dir(folder.path("b.csv")).unwrap();
    let load = |name: &str| message(folder.options(name).load(Task::Classes, 0));
    says(&load("a.txt"), &["a.txt", "of no kind", "convert", ".npz"]);
    says(&load("none.csv"), &["none.csv", "no such file", "check the path"]);
    says(&load("b.csv"), &["train-images-idx3-ubyte", "no such file"]);
    says(&load("a-images"), &["a-labels", "no such file"]);
    says(&message(DataOptions::default().load(Task::Values, 0)), &["digits has classes", "cross-entropy"]);
    let none = Preprocessing::default();
    let path = folder.path("a-images");
    says(&message(load_for(&path, &Portion::Test, None, &none, Task::Classes)), &["a-images", "no test set", "name the file"]);
}

#[test]
fn rows_that_cannot_be_shared_out_are_refused_as_options() {
    let digits = DataOptions::default();
    let rows = |start, end| Some(Rows(start..end));
    let cases: &[(DataOptions, &[&str])] = &[
        (DataOptions { train: rows(0, 1798), ..digits.clone() }, &["`train` = 0..1798", "0..1797", "choose"]),
        (DataOptions { test: rows(5, 5), ..digits.clone() }, &["`test` = 5..5", "at least one row"]),
        (
            DataOptions { train: rows(0, 10), valid: rows(9, 20), ..digits.clone() },
            &["`valid` = 9..20", "`train` = 0..10", "give every row"],
        ),
        (DataOptions { train: rows(0, 10), test: rows(5, 6), ..digits.clone() }, &["`test` = 5..6", "`train` = 0..10"]),
        (DataOptions { valid: rows(0, 10), test: rows(0, 10), ..digits.clone() }, &["`test` = 0..10", "`valid` = 0..10"]),
        (
            DataOptions { valid: rows(0, 9), valid_fraction: Some(0.1), ..digits.clone() },
            &["`valid_fraction` = 0.1", "`valid`", "one of the two"],
        ),
        (DataOptions { valid_fraction: Some(1.0), ..digits.clone() }, &["`valid_fraction` = 1", "0.1 is usual"]),
        (DataOptions { valid_fraction: Some(f64::NAN), ..digits.clone() }, &["`valid_fraction` = NaN"]),
        (DataOptions { valid_fraction: Some(1e-4), ..digits.clone() }, &["`valid_fraction` = 0.0001", "at least one"]),
        (DataOptions { test: rows(0, 1797), ..digits.clone() }, &["no row of digits is left", "leave some"]),
        (DataOptions { target: one("y"), ..digits.clone() }, &["`target` = y", "remove"]),
    ];
    for (options, parts) in cases {
        match options.load(Task::Classes, 0) {
            Err(error @ Error::Option { .. }) => says(&error.to_string(), parts),
            other => panic!("not refused as an option: {other:?}"),
        }
    }
    // Ranges that only touch do not overlap.
    assert!(DataOptions { train: rows(0, 10), valid: rows(10, 20), ..digits }.load(Task::Classes, 0).is_ok());
}

#[test]
fn files_unlike_those_of_the_training_are_refused() {
    let train = csv("x,z,label\n1,5,a\n3,6,b\n");
    let known = train.load("table.csv", Task::Classes).preprocessing;
    let folder = Folder::new(&[
        ("columns.csv", b"x,w,label\n1,2,a\n"),
        ("label.csv", b"x,z,label\n1,2,a\n1,2,c\n"),
        ("x.npy", &npy("<f4", "(2, 3)", &floats(&[0.0; 6]))),
        ("far.csv", b"x,z\n1,3e38\n"),
    ]);
    let load = |name: &str| message(load_for(&folder.path(name), &Portion::All, None, &known, Task::Classes));
    says(&load("columns.csv"), &["columns.csv", "missing: `z`", "additional: `w`", "remove"]);
    says(&load("label.csv"), &["label.csv", "line 3", "`c`", "`a`, `b`"]);
    let predict = |name: &str| message(inputs_for(&folder.path(name), &Portion::All, None, &known));
    says(&predict("columns.csv"), &["columns.csv", "missing: `z`"]);
    says(&predict("x.npy"), &["x.npy", "3 columns of inputs", "2 means"]);
    says(&predict("far.csv"), &["far.csv", "row 0, column 1", "beyond f32", "check or remove"]);
    // A model whose classes are numbers.
    let numbers = Preprocessing { output_names: Vec::new(), ..known.clone() };
    let path = folder.path("label.csv");
    says(&message(load_for(&path, &Portion::All, None, &numbers, Task::Classes)), &["line 2", "whole numbers from 0"]);
    // A test table with other columns, found beside the training table.
    let pair = Folder::new(&[("train.csv", b"x,y\n1,0\n2,1\n"), ("test.csv", b"w,y\n1,0\n")]);
    says(&message(pair.options("train.csv").load(Task::Classes, 0)), &["test.csv", "missing: `x`", "additional: `w`"]);
}

#[test]
fn a_message_without_the_place_would_be_noticed() {
    assert_eq!(lacking("bad.csv: line 3, column `x` is empty", &["line 3", "line 4", "fill in"]), ["line 4", "fill in"]);
}

//! Sequences from files: .ts, npz with lengths, csv with a line for each step; what is made of them and what is refused.

use std::io::{Cursor, Write};

use thinnet::data::file::{inputs_for, load_for};
use thinnet::data::{DataOptions, Portion, Sequences, Sets, Task, Values};
use thinnet::{Dataset, Error, rng};

use super::{Folder, floats, gzip, npy, numbers, one, raw, values};

const HEADER: &str = "# A comment.\n@problemName Short\n@timeStamps false\n@missing false\n@univariate false\n@dimensions 2\n\
                      @equalLength false\n@classLabel true b a\n@data\n";

/// Two features, one and three steps.
const TRAIN: &str = "1:10:a\n3,4,5:30,40,50:b\n";

fn ts(rows: &str) -> Folder {
    Folder::new(&[("file.ts", format!("{HEADER}{rows}").as_bytes())])
}

/// The lengths, behind the steps that there is room for.
fn lengths(set: &Dataset) -> (u32, &[u32]) {
    let lengths = set.inputs().lengths().expect("sequences");
    (lengths.steps, &lengths.of_rows)
}

#[track_caller]
fn refused(result: Result<Sets, Error>, parts: &[&str]) {
    let Err(error) = result else { panic!("not refused, lacks {parts:?}") };
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

/// An archive as numpy.savez writes it.
pub(crate) fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        writer.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(array).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_ts_file_becomes_rows_of_steps() {
    let text = format!("{HEADER}{TRAIN}");
    let crlf = format!("\u{feff}{}", text.to_uppercase().replace(":B", ":b").replace(":A", ":a").replace('\n', " \r\n"));
    let crlf = crlf.replace("TRUE B A", "TRUE b a");
    let files = [("file.ts", text.as_bytes()), ("crlf.ts", crlf.as_bytes()), ("zipped.ts.gz", &gzip(text.as_bytes()))];
    let folder = Folder::new(&files);
    for (name, _) in files {
        let sets = raw(folder.options(name)).load(Task::Classes, 0).unwrap();
        // Steps outermost, zeros behind the end.
        assert_eq!(values(sets.train.inputs()), [1.0, 10.0, 0.0, 0.0, 0.0, 0.0, 3.0, 30.0, 4.0, 40.0, 5.0, 50.0], "{name}");
        assert_eq!((lengths(&sets.train), sets.train.inputs().features()), ((3, &[1, 3][..]), 2));
        assert_eq!((sets.train.labels(), sets.preprocessing.output_names.join(" ")), (&[0, 1][..], "a b".into()));
        assert_eq!(sets.preprocessing.sequences, Some(Sequences { steps: 3, column: None }));
    }
    // Classes of the header count, also where no row has them, and numbers are classes as in a csv file.
    for (header, labels, classes, names) in
        [("1 2 10", ["10", "1"], 3, "1 2 10"), ("0 1 2", ["1", "0"], 3, ""), ("0.0 1.0", ["1", "0"], 2, "")]
    {
        let text = format!("@classLabel true {header}\n@data\n1,2:{}\n3:{}\n", labels[0], labels[1]);
        let sets = Folder::new(&[("a.ts", text.as_bytes())]).load("a.ts", Task::Classes);
        assert_eq!((sets.train.classes(), sets.preprocessing.output_names.join(" ")), (classes, names.into()), "{header}");
    }
    let text = "@targetLabel true\n@data\n1,2:0.5\n3:-4\n";
    let sets = raw(Folder::new(&[("a.ts", text.as_bytes())]).options("a.ts")).load(Task::Values, 0).unwrap();
    assert_eq!((numbers(&sets.train), lengths(&sets.train)), ((1, &[0.5, -4.0][..]), (2, &[2, 1][..])));
}

#[test]
fn all_sets_have_room_for_the_longest_sequence_of_any() {
    let longer = format!("{HEADER}1,2,3,4,5:1,2,3,4,5:b\n7:8:a\n");
    let files = [("s_TRAIN.ts", format!("{HEADER}{TRAIN}")), ("s_TEST.ts", longer)];
    let folder = Folder::new(&files.map(|(name, text)| (name, text.into_bytes())).each_ref().map(|(n, b)| (*n, &b[..])));
    let sets = folder.load("s_TRAIN.ts", Task::Classes);
    let test = sets.test.as_ref().unwrap();
    assert_eq!((lengths(&sets.train), lengths(test)), ((5, &[1, 3][..]), (5, &[5, 1][..])));
    assert_eq!((sets.train.columns(), test.columns()), (10, 10));
    assert_eq!(test.labels(), [1, 0]);
    // A model that is trained takes shorter files at its own width, with or without targets, and refuses longer ones.
    let known = &sets.preprocessing;
    let data = load_for(&folder.path("s_TRAIN.ts"), &Portion::All, None, known, Task::Classes).unwrap();
    assert_eq!(data, sets.train);
    assert_eq!(load_for(&folder.path("s_TRAIN.ts"), &Portion::Test, None, known, Task::Classes).unwrap(), *test);
    let unlabelled = Folder::new(&[("u.ts", b"@classLabel false\n@data\n1:10\n3,4,5:30,40,50\n")]);
    let inputs = inputs_for(&unlabelled.path("u.ts"), &Portion::All, None, known).unwrap();
    assert_eq!(inputs, *sets.train.inputs());
    let few = raw(folder.options("s_TEST.ts")).load(Task::Classes, 0).unwrap().preprocessing;
    let short = thinnet::Preprocessing { sequences: Some(Sequences { steps: 4, column: None }), ..few };
    let error = inputs_for(&folder.path("s_TEST.ts"), &Portion::All, None, &short).unwrap_err().to_string();
    assert!(error.contains("s_TEST.ts") && error.contains("row 0 has 5 steps, more than the 4"), "{error}");
}

#[test]
fn a_feature_has_mean_0_and_deviation_1_over_the_steps_that_exist() {
    let folder = ts(TRAIN);
    let sets = folder.load("file.ts", Task::Classes);
    let fitted = sets.preprocessing.inputs.as_ref().unwrap();
    // 1, 3, 4, 5 and ten times as much. Were padding counted, the mean would be 13 / 6.
    let deviation = (8.75f64 / 4.0).sqrt();
    assert_eq!(fitted.mean, [3.25, 32.5]);
    assert!((fitted.deviation[0] - deviation).abs() < 1e-15 && (fitted.deviation[1] - 10.0 * deviation).abs() < 1e-14);
    let z = |value: f64| ((value - 3.25) / fitted.deviation[0]) as f32;
    let row = sets.train.inputs().row_f32(0);
    assert_eq!((row[0], &row[2..]), (z(1.0), &[0.0; 4][..]));
    assert_eq!(sets.train.inputs().row_f32(1)[4], z(5.0));
    // Held-out rows and selected ones keep their own lengths.
    let rows = "1:1:a\n1,2:1,2:b\n1,2,3:1,2,3:a\n1,2,3,4:1,2,3,4:b\n";
    let options =
        DataOptions { valid: Some("0..1".parse().unwrap()), test: Some("3..4".parse().unwrap()), ..ts(rows).options("x") };
    let folder = ts(rows);
    let sets = DataOptions { path: folder.path("file.ts"), ..options }.load(Task::Classes, 0).unwrap();
    assert_eq!(lengths(&sets.train), (4, &[2, 3][..]));
    assert_eq!((lengths(sets.valid.as_ref().unwrap()), lengths(sets.test.as_ref().unwrap())), ((4, &[1][..]), (4, &[4][..])));
    // The longest row is held out, and counts for no mean: 1, 2, 1, 2, 3.
    assert_eq!(sets.preprocessing.inputs.unwrap().mean, [1.8, 1.8]);
}

#[test]
fn ts_files_that_are_no_data_are_refused_with_the_line() {
    let cases: &[(&str, &[&str])] = &[
        ("", &["no sequence below", "add at least one"]),
        ("1:2:a\n1,?:1,2:b\n", &["line 11, feature 1, step 2 is missing (?)", "remove the line"]),
        ("1:NaN:a\n", &["line 10, feature 2, step 1 is missing (NaN)", "fill in"]),
        ("1:x:a\n", &["line 10, feature 2, step 1 is `x`, not a number"]),
        ("1:1e39:a\n", &["line 10, feature 2", "beyond 3.4e38"]),
        ("1:2,:a\n", &["line 10, feature 2 has 2 steps, feature 1 1", "as many"]),
        ("1,:2,3:a\n", &["line 10, feature 1, step 2 is empty"]),
        ("\n1:a\n", &["line 11 has 1 features, expected 2", "separate features by `:`"]),
        ("1:2:3:a\n", &["line 10 has 3 features, expected 2"]),
        ("1:2:c\n", &["line 10, the class is `c`, none of `b`, `a`", "@classLabel"]),
        ("1:2:\n", &["line 10, the class is empty"]),
        ("1:2:a\nnothing\n", &["line 11 has 0 features"]),
        ("@1:2:a\n", &["line 10, feature 1, step 1 is `@1`"]),
    ];
    for (rows, parts) in cases {
        refused(ts(rows).options("file.ts").load(Task::Classes, 0), &[parts, &["file.ts"][..]].concat());
    }
    let headers: &[(&[u8], &[&str])] = &[
        (b"", &["no line `@data`", "expected a .ts file"]),
        (b"1:2:a\n@data\n", &["line 1 is `1:2:a`", "add `@data`"]),
        (b"@timeStamps TRUE\n@data\n1:a", &["line 1, @timestamps is true", "write their values alone"]),
        (b"@univariate maybe\n", &["line 1, @univariate is maybe", "true or false"]),
        (b"#\n@dimension 0\n", &["line 2, @dimension is 0", "whole number from 1"]),
        (b"@classLabel true\n@data\n1:a\n", &["line 1, @classlabel names no class"]),
        (b"@classLabel false\n@data\n1,2\n", &["has no targets", "@classLabel true"]),
        (b"@targetLabel true\n@data\n1,2:3\n", &["numbers to learn", "mean_squared_error"]),
        (
            b"@equalLength true\n@classLabel true a b\n@data\n1,2:a\n1:b\n",
            &["line 5 has 1 steps", "they are 2", "@equalLength false"],
        ),
        (b"@equalLength true\n@seriesLength 3\n@classLabel true a b\n@data\n1,2:a\n", &["line 5 has 2 steps", "they are 3"]),
        (b"@classLabel true a b\n@data\n1,2:\xff\n", &["line 3 is not UTF-8", "save"]),
    ];
    for (bytes, parts) in headers {
        let folder = Folder::new(&[("file.ts", bytes)]);
        refused(folder.options("file.ts").load(Task::Classes, 0), &[parts, &["file.ts"][..]].concat());
    }
    let classes = ts(TRAIN);
    refused(classes.options("file.ts").load(Task::Values, 0), &["has classes", "softmax_cross_entropy"]);
    let options = DataOptions { target: one("x"), ..classes.options("file.ts") };
    refused(options.load(Task::Classes, 0), &["`target` = x", "remove `target`"]);
    let options = DataOptions { sequence: Some("x".into()), ..classes.options("file.ts") };
    refused(options.load(Task::Classes, 0), &["`sequence` = x", "remove `sequence`"]);
}

#[test]
fn padding_that_would_fill_the_memory_is_refused() {
    // 70,000 rows of one step beside one of 70,000 steps: 2^32 elements and more from 300 KB.
    let rows = format!("{}:{0}:a\n{}", vec!["1"; 70_000].join(","), "1:1:b\n".repeat(70_000));
    refused(
        ts(&rows).options("file.ts").load(Task::Classes, 0),
        &["file.ts", "70001 sequences padded to 70000 steps", "cut the longest"],
    );
}

/// What is put into a file: what means something there, what is no text, what is nothing.
const CHANGES: &[u8] = b":,\n?@#x9-. e\xff\0\"ab1";

#[test]
fn no_change_of_a_byte_makes_the_loader_panic() {
    let csv = "id,x,y\na,1,0\na,2,\na,3,0\nb,4,1\nb,5,1\n";
    for (name, text, sequence) in
        [("file.ts", format!("{HEADER}{TRAIN}"), None), ("file.csv", csv.into(), Some("id".to_string()))]
    {
        let folder = Folder::new(&[(name, text.as_bytes())]);
        let options = DataOptions { sequence, ..folder.options(name) };
        options.load(Task::Classes, 0).unwrap();
        let (mut read, mut refused) = (0, 0);
        for case in 0..1500 {
            let word = |unit| rng::philox4x32_10([case, unit, 0, 0], [7, 7])[0] as usize;
            let mut bytes = text.clone().into_bytes();
            for change in 0..1 + word(0) as u32 % 3 {
                let at = word(3 * change + 1) % bytes.len();
                let with = CHANGES[word(3 * change + 2) % CHANGES.len()];
                match word(3 * change + 3) % 3 {
                    0 => bytes[at] = with,
                    1 => bytes.insert(at, with),
                    _ => drop(bytes.remove(at)),
                }
            }
            std::fs::write(folder.path(name), &bytes).unwrap();
            match options.load(Task::Classes, 0) {
                Ok(_) => read += 1,
                Err(error) => {
                    assert!(error.to_string().contains(name), "{error}");
                    refused += 1;
                }
            }
        }
        // The changes reach both sides.
        assert!(read > 100 && refused > 300, "{name}: {read} read, {refused} refused");
    }
}

#[test]
fn an_archive_with_lengths_holds_sequences() {
    // Two rows of three steps of two features; what is behind the end may be NaN.
    let x = floats(&[1.0, 10.0, f32::NAN, 9.0, 9.0, 9.0, 3.0, 30.0, 4.0, 40.0, 5.0, 50.0]);
    let of = |lengths: &[u8]| {
        let (x, y) = (npy("<f4", "(2, 3, 2)", &x), npy("|u1", "(2,)", &[0, 1]));
        Folder::new(&[("a.npz", &npz(&[("x", x), ("y", y), ("lengths", npy("|u1", &format!("({},)", lengths.len()), lengths))]))])
    };
    let folder = of(&[1, 3]);
    let sets = folder.load("a.npz", Task::Classes);
    let same = ts(TRAIN).load("file.ts", Task::Classes);
    assert_eq!(sets.train.inputs(), same.train.inputs());
    assert_eq!(sets.preprocessing.inputs, same.preprocessing.inputs);
    // Double numbers are the same.
    let doubles: Vec<u8> =
        [1.0f64, 10.0, f64::NAN, 1e300, 9.0, 9.0, 3.0, 30.0, 4.0, 40.0, 5.0, 50.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let (x8, y) = (npy("<f8", "(2, 3, 2)", &doubles), npy("|u1", "(2,)", &[0, 1]));
    let double =
        Folder::new(&[("a.npz", &npz(&[("x", x8), ("y", y), ("lengths", npy("<i4", "(2,)", &[1, 0, 0, 0, 3, 0, 0, 0]))]))]);
    assert_eq!(double.load("a.npz", Task::Classes).train, sets.train);
    refused(of(&[1, 4]).options("a.npz").load(Task::Classes, 0), &["array `x` has 3 steps, but row 1 has length 4"]);
    refused(of(&[0, 3]).options("a.npz").load(Task::Classes, 0), &["array `x` has 3 steps, but row 0 has length 0"]);
    // What is no number of steps is not called a label.
    let unlike = |kind, shape, lengths: &[u8]| {
        let (x, y) = (npy("<f4", "(2, 3, 2)", &x), npy("|u1", "(2,)", &[0, 1]));
        let folder = Folder::new(&[("a.npz", &npz(&[("x", x), ("y", y), ("lengths", npy(kind, shape, lengths))]))]);
        let error = folder.options("a.npz").load(Task::Classes, 0).unwrap_err().to_string();
        assert!(!error.contains("label") && error.contains("a.npz"), "{error}");
        error
    };
    let error = unlike("<f4", "(2,)", &floats(&[1.0, 2.5]));
    assert!(error.contains("array `lengths` has 2.5 in row 1, which is no length; save how many steps"), "{error}");
    let error = unlike("|i1", "(2,)", &[0xFF, 3]);
    assert!(error.contains("array `lengths` has -1 in row 0, which is no length"), "{error}");
    let error = unlike("|u1", "(2, 2)", &[1, 1, 2, 2]);
    assert!(error.contains("array `lengths` has 2 numbers for each row, expected one: how many steps"), "{error}");
    refused(of(&[3]).options("a.npz").load(Task::Classes, 0), &["array `x` has 2 rows, but there are 1 lengths"]);
    refused(of(&[2, 3]).options("a.npz").load(Task::Classes, 0), &["array `x` has NaN in row 0, column 2"]);
    // Train and test, of other steps.
    let y = || npy("|u1", "(1,)", &[1]);
    let archive = |test_lengths: &str| {
        npz(&[
            ("x_train", npy("<f4", "(2, 2, 1)", &floats(&[1.0, 2.0, 3.0, 4.0]))),
            ("y_train", npy("|u1", "(2,)", &[1, 0])),
            ("lengths_train", npy("|u1", "(2,)", &[2, 1])),
            ("x_test", npy("<f4", "(1, 3)", &floats(&[1.0, 2.0, 3.0]))),
            ("y_test", y()),
            (test_lengths, npy("|u1", "(1,)", &[3])),
        ])
    };
    let folder = Folder::new(&[("a.npz", &archive("lengths_test")), ("b.npz", &archive("other"))]);
    let sets = folder.load("a.npz", Task::Classes);
    assert_eq!((lengths(&sets.train), lengths(sets.test.as_ref().unwrap())), ((3, &[2, 1][..]), (3, &[3][..])));
    refused(folder.options("b.npz").load(Task::Classes, 0), &["b.npz", "columns"]);
}

#[test]
fn words_stay_the_numbers_they_are() {
    let archive = npz(&[
        ("x", npy("|u1", "(2, 3)", &[4, 7, 9, 1, 200, 3])),
        ("y", npy("|u1", "(2,)", &[0, 1])),
        ("lengths", npy("|u1", "(2,)", &[2, 3])),
    ]);
    let folder = Folder::new(&[("a.npz", &archive), ("a.csv", b"a,b,y\n1,2,0\n3,4,1\n")]);
    let words = DataOptions { words: true, ..folder.options("a.npz") };
    let sets = words.load(Task::Classes, 0).unwrap();
    assert_eq!(values(sets.train.inputs()), [4.0, 7.0, 0.0, 1.0, 200.0, 3.0]);
    assert!(matches!(sets.train.inputs().values(), Values::U8 { scale: 1.0, .. }) && sets.preprocessing.words);
    let data = load_for(&folder.path("a.npz"), &Portion::All, None, &sets.preprocessing, Task::Classes).unwrap();
    assert_eq!(data, sets.train);
    // Otherwise bytes are scaled, and numbers standardised.
    let bytes = folder.load("a.npz", Task::Classes).train;
    assert_eq!(bytes.inputs().row_f32(0)[0], 4.0 * (1.0 / 255.0));
    assert_eq!(values(folder.load("a.csv", Task::Classes).train.inputs()), [-1.0, -1.0, 1.0, 1.0]);
    let words = DataOptions { words: true, ..folder.options("a.csv") };
    assert_eq!(values(words.load(Task::Classes, 0).unwrap().train.inputs()), [1.0, 2.0, 3.0, 4.0]);
    refused(DataOptions { standardize: Some(true), ..words }.load(Task::Classes, 0), &["standardize", "no whole numbers"]);
}

fn steps(text: &str) -> (Folder, DataOptions) {
    let folder = Folder::new(&[("steps.csv", text.as_bytes())]);
    let options = DataOptions { sequence: Some("id".into()), ..folder.options("steps.csv") };
    (folder, options)
}

#[test]
fn lines_of_a_table_are_the_steps_of_sequences() {
    // The class on every line, or on the last alone.
    for labels in [["a", "b", "b", "b"], ["a", "", "", "b"], ["a", "b", "", "b"]] {
        let [first, rest @ ..] = labels;
        let text = format!("u,id,label,v\n1,one,{first},10\n3,2,{},30\n4,2,{},40\n5,2,{},50\n", rest[0], rest[1], rest[2]);
        let (folder, options) = steps(&text);
        let sets = options.load(Task::Classes, 0).unwrap();
        let same = ts(TRAIN).load("file.ts", Task::Classes);
        // But for what the column calls them, which a .ts does not.
        assert_eq!(sets.train.inputs().names(), Some(&["one", "2"].map(String::from)[..]));
        let named = same.train.inputs().clone().with_names(vec!["one".into(), "2".into()]).unwrap();
        assert_eq!((sets.train.inputs(), sets.train.targets()), (&named, same.train.targets()));
        assert_eq!(sets.preprocessing.inputs, same.preprocessing.inputs);
        assert_eq!(sets.preprocessing.input_names, ["u", "v"]);
        assert_eq!(sets.preprocessing.sequences, Some(Sequences { steps: 3, column: Some("id".into()) }));
        // A trained model knows the column.
        let known = &sets.preprocessing;
        let data = load_for(&folder.path("steps.csv"), &Portion::All, None, known, Task::Classes).unwrap();
        assert_eq!(data, sets.train);
        assert_eq!(inputs_for(&folder.path("steps.csv"), &Portion::All, None, known).unwrap(), *sets.train.inputs());
    }
    let (_folder, options) = steps("id,x,y\n1,1,\n1,2,0.5\n2,3,7\n2,4,7\n");
    let sets = raw(options).load(Task::Values, 0).unwrap();
    assert_eq!((numbers(&sets.train), lengths(&sets.train)), ((1, &[0.5, 7.0][..]), (2, &[2, 2][..])));
}

#[test]
fn tables_of_steps_are_refused_with_the_line() {
    for (task, text, parts) in [
        (Task::Classes, "id,x,y\n1,1,0\n2,2,1\n1,3,0\n", &["line 4, column `id` is `1` again", "put the lines"][..]),
        (Task::Classes, "id,x,y\n1,1,0\n,2,1\n", &["line 3, column `id` is empty", "say which sequence"]),
        (Task::Classes, "id,x,y\n1,1,0\n1,2,1\n", &["line 2, column `y` is `0`, but on the last line of its sequence `1`"]),
        (Task::Classes, "id,x,y\n1,1,0\n2,2,1\n2,3,\n", &["line 4, column `y` is empty on the last line of its sequence"]),
        (Task::Values, "id,x,y\n1,1,3\n1,2,4\n", &["line 2, column `y` is 3, but on the last line of its sequence 4", "alike"]),
        (Task::Values, "id,x,y\n1,1,3\n1,2,\n", &["line 3, column `y` is empty on the last line"]),
        (Task::Classes, "ID,x,y\n1,1,0\n", &["no column `id` (did you mean `ID`?), which `sequence` names"]),
    ] {
        let (_folder, options) = steps(text);
        refused(options.load(task, 0), &[parts, &["steps.csv"]].concat());
    }
    let (_folder, options) = steps("id,x\n1,1\n2,2\n");
    refused(DataOptions { target: one("id"), ..options }.load(Task::Classes, 0), &["`id` is both `sequence` and `target`"]);
}

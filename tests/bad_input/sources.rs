use super::{Case, gzip, idx, npy, refuses, zip};
use crate::runs::Place;

/// A network for two columns and two classes.
const PAIR: &str = "[network]\nlayers = [{ dense = 4, activation = \"relu\" }, { dropout = { keep = 0.5 } }, { dense = 2 }]\n\
                    [train]\nepochs = 1\n";

/// Each file is trained on, and refused with these words besides its name, which may be that of the labels beside it.
fn refuses_files(place: &Place, files: &[(&str, Vec<u8>, &[&str])]) {
    place.write("net.toml", PAIR);
    let mut commands = Vec::new();
    for (name, content, _) in files {
        place.write(name, content);
        commands.push(format!("train net.toml --data {name}"));
    }
    let says: Vec<Vec<&str>> = files.iter().map(|(name, _, says)| [&[name.split('.').next().unwrap()], *says].concat()).collect();
    let cases: Vec<Case<'_>> = commands.iter().zip(&says).map(|(command, says)| (command.as_str(), &says[..])).collect();
    refuses(place, &cases);
}

#[test]
fn tables_are_checked() {
    let rows = "0.5,1,0\n0.25,2,1\n";
    let csv = |text: &str| text.as_bytes().to_vec();
    let packed = gzip(format!("a,b,label\n{}", "0.5,1,0\n0.25,2,1\n".repeat(100)).as_bytes());
    let files: [(&str, Vec<u8>, &[&str]); 14] = [
        ("empty.csv", csv(""), &["is empty", "a line of column names"]),
        ("header.csv", csv("a,b,label\n"), &["no rows"]),
        ("ragged.csv", csv(&format!("a,b,label\n{rows}1,1\n")), &["line 4", "2 cells", "expected 3", "as many cells"]),
        ("long.csv", csv(&format!("a,b,label\n{rows}1,1,1,1\n")), &["line 4", "4 cells", "expected 3"]),
        ("nan.csv", csv(&format!("a,b,label\n{rows}1,NaN,1\n")), &["line 4", "`b`", "NaN"]),
        ("infinite.csv", csv(&format!("a,b,label\n{rows}inf,1,1\n")), &["line 4", "`a`", "inf"]),
        ("huge.csv", csv(&format!("a,b,label\n{rows}1e60,1,1\n")), &["line 4", "`a`", "1e60"]),
        ("text.csv", csv(&format!("a,b,label\n{rows}red,1,1\n")), &["line 4", "`a`", "red"]),
        ("hole.csv", csv(&format!("a,b,label\n{rows},1,1\n")), &["line 4", "`a`"]),
        ("unlabelled.csv", csv("a,b,price\n1,2,3\n"), &["line 1", "label, target, class, y", "`target`", "`price`"]),
        ("twice.csv", csv("a,a,label\n1,2,0\n1,2,1\n"), &["line 1", "`a`"]),
        ("alone.csv", csv("label\n0\n1\n"), &["no column besides the target", "add at least one"]),
        ("cut.csv.gz", packed[..packed.len() / 2].to_vec(), &["cut off", "copy or write it again"]),
        ("latin.csv", [b"a,b,label\n1,2,0\n", &[0xE9, b',', b'1', b',', b'1', b'\n'][..]].concat(), &["line 3"]),
    ];
    refuses_files(&Place::new(), &files);
}

#[test]
fn arrays_are_checked() {
    let place = Place::new();
    let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let good = npy("<f4", "(2, 2)", &floats(&[1.0, 2.0, 3.0, 4.0]));
    let labels = npy("<i8", "(2,)", &[0i64, 1].map(i64::to_le_bytes).concat());
    for name in ["complex", "cut", "nan", "scalar", "text", "head"] {
        place.write(&format!("{name}_labels.npy"), &labels);
    }
    place.write("few_labels.npy", npy("<i8", "(1,)", &0i64.to_le_bytes()));
    place.write("minus_labels.npy", npy("<i8", "(2,)", &[0i64, -1].map(i64::to_le_bytes).concat()));
    place.write("many_labels.npy", npy("<i8", "(2,)", &[0i64, 5].map(i64::to_le_bytes).concat()));
    let npz = |files: &[(&str, Vec<u8>)]| zip(files);
    let files: [(&str, Vec<u8>, &[&str]); 17] = [
        ("complex.npy", npy("<c8", "(2, 1)", &[0; 16]), &["type `<c8`", "convert it"]),
        ("cut.npy", good[..good.len() - 3].to_vec(), &["bytes"]),
        ("nan.npy", npy("<f4", "(2, 2)", &floats(&[1.0, f32::NAN, 3.0, 4.0])), &["row 0", "NaN"]),
        ("scalar.npy", npy("<f4", "()", &floats(&[1.0])), &["a single number", "save an array"]),
        ("text.npy", b"hello, I am no array".to_vec(), &["no npy array", "numpy.save"]),
        ("head.npy", good[..20].to_vec(), &["cut off within its header", "copy or write it again"]),
        ("lonely.npy", good.clone(), &["no file of targets", "lonely_labels.npy", "`target`"]),
        ("few.npy", good.clone(), &["few_labels.npy", "has 1 rows", "has 2", "one row of targets"]),
        ("minus.npy", good.clone(), &["minus_labels.npy", "-1 in row 1", "numpy.unique"]),
        ("many.npy", good.clone(), &["6 classes"]),
        ("nothing.npz", npz(&[]), &["no array of inputs", "numpy.savez"]),
        ("none.npz", npz(&[("other.npy", good.clone())]), &["no array of inputs", "it has: `other`"]),
        ("half.npz", npz(&[("x.npy", good.clone())]), &["no array of targets", "it has: `x`"]),
        ("differ.npz", npz(&[("x.npy", good.clone()), ("y.npy", npy("<i8", "(1,)", &[0; 8]))]), &["has 1 rows", "has 2"]),
        ("nozip.npz", b"PK, but not really".to_vec(), &["no readable npz archive", "numpy.savez"]),
        (
            "object.npz",
            npz(&[("x.npy", npy("|O", "(2, 2)", &[0; 32])), ("y.npy", labels.clone())]),
            &["`x`", "type `|O`", "convert it"],
        ),
        (
            "cutzip.npz",
            npz(&[("x.npy", good.clone()), ("y.npy", labels)])[..150].to_vec(),
            &["no readable npz archive", "numpy.savez"],
        ),
    ];
    // A label that the network has no output for is a matter of both files; the message names the network's.
    let (many, own): (Vec<_>, Vec<_>) = files.into_iter().partition(|(name, ..)| *name == "many.npy");
    refuses_files(&place, &own);
    place.write("many.npy", &many[0].1);
    refuses(&place, &[("train net.toml --data many.npy", &["net.toml", "6 classes", "2"])]);
}

#[test]
fn idx_files_are_checked() {
    let place = Place::with(PAIR);
    let images = |count: u32| idx(2051, &[count, 1, 2], &vec![7; 2 * count as usize]);
    let labels = |count: u32| idx(2049, &[count], &(0..count).map(|i| (i % 2) as u8).collect::<Vec<_>>());
    let folder = |name: &str, images: &[u8], labels: &[u8]| {
        place.write(&format!("{name}/train-images-idx3-ubyte"), images);
        place.write(&format!("{name}/train-labels-idx1-ubyte"), labels);
    };
    folder("cut", &images(4)[..20], &labels(4));
    folder("longer", &[&images(4)[..], &[0]].concat(), &labels(4));
    folder("magic", &idx(2307, &[4, 1, 2], &[0; 8]), &labels(4));
    folder("swapped", &labels(4), &images(4));
    folder("differ", &images(4), &labels(3));
    folder("none", &images(0), &labels(0));
    folder("flat", &idx(2051, &[4, 0, 2], &[]), &labels(4));
    folder("lie", &idx(2051, &[u32::MAX, u32::MAX, u32::MAX], &[0; 8]), &labels(4));
    folder("many", &images(4), &idx(2049, &[4], &[0, 1, 2, 3]));
    let packed = gzip(&images(400));
    folder("packed", &packed[..packed.len() - 12], &labels(400));
    place.write("unlabelled/train-images-idx3-ubyte", images(4));
    place.write("alone-images.idx3", images(4));
    std::fs::create_dir(place.path("empty")).unwrap();
    let cases: [Case<'_>; 13] = [
        ("train net.toml --data cut", &["cut/train-images-idx3-ubyte", "bytes"]),
        ("train net.toml --data longer", &["longer/train-images-idx3-ubyte", "bytes"]),
        ("train net.toml --data magic", &["magic/train-images-idx3-ubyte", "0x09"]),
        ("train net.toml --data swapped", &["swapped/train-", "are the two files swapped?"]),
        ("train net.toml --data differ", &["differ/train-", "4", "3"]),
        ("train net.toml --data none", &["none/train-images-idx3-ubyte"]),
        ("train net.toml --data flat", &["flat/train-images-idx3-ubyte"]),
        ("train net.toml --data lie", &["lie/train-images-idx3-ubyte"]),
        ("train net.toml --data many", &["net.toml", "4 classes", "2"]),
        ("train net.toml --data packed", &["packed/train-images-idx3-ubyte"]),
        ("train net.toml --data unlabelled", &["unlabelled/train-labels-idx1-ubyte"]),
        ("train net.toml --data alone-images.idx3", &["alone-labels.idx1"]),
        ("train net.toml --data empty", &["empty/train-images-idx3-ubyte"]),
    ];
    refuses(&place, &cases);
}

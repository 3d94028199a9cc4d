//! Bad input on the command line: exit code 2, one message that names the file, the place and a remedy, and nothing written.

use std::io::Write;

use crate::runs::{Place, SMALL};

/// Options of Monte-Carlo draws, alone and together.
mod draws;
/// Network files that are wrong by themselves or together with their data.
mod networks;
/// Sources of rows that are not what they should be.
mod sources;

/// What the message of a command must contain: file, place, remedy.
type Case<'a> = (&'a str, &'a [&'a str]);

/// Runs every command, and shows all that is wrong at once.
#[track_caller]
fn refuses(place: &Place, cases: &[Case<'_>]) {
    let before = place.everything();
    let mut wrong = String::new();
    for (arguments, says) in cases {
        let output = place.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if std::env::var_os("SHOW").is_some() {
            eprint!("{arguments}\n    {text}");
        }
        let mut note = |problem: &str| wrong += &format!("\n{arguments}: {problem}\n    {text}");
        if output.status.code() != Some(2) {
            note(&format!("ends with {:?}", output.status.code()));
        }
        if !output.stdout.is_empty() {
            note("prints something");
        }
        // The parser of the arguments has a form of its own.
        let lines =
            if text.contains("\nUsage: ") || text.contains("For more information, try") { text.lines().count() } else { 1 };
        if !text.starts_with("error: ") || text.matches("error: ").count() != 1 || text.lines().count() != lines {
            note("is not one message");
        }
        for part in *says {
            if !text.contains(part) {
                note(&format!("does not say {part:?}"));
            }
        }
        if place.everything() != before {
            note("writes something");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A place with a network, its run, and a small regression.
fn trained() -> Place {
    let place = Place::with(&SMALL.replace("epochs = 3", "epochs = 1"));
    place.prints("train net.toml --out run");
    place
}

#[test]
fn arguments_are_checked() {
    let place = trained();
    place.write("dense.toml", SMALL.replace("{ dropout = { keep = 0.5 } },", ""));
    place.write("blind.toml", SMALL.replace("valid = \"200..300\"", ""));
    place.write("file", "kept");
    let cases: [Case<'_>; 37] = [
        ("train missing.toml", &["missing.toml: there is no such file", "thinnet init --out missing.toml"]),
        ("train .", &["is a folder", "--resume"]),
        ("train net.toml --out run", &["run exists already", "--out", "--force"]),
        ("train net.toml --epoch 3", &["--epoch", "--epochs"]),
        ("train", &["<FILE>"]),
        ("train net.toml --data missing.csv", &["missing.csv", "no such file", "check the path"]),
        ("train net.toml --data file", &["file: is of no kind", "convert or rename"]),
        ("eval missing", &["missing: there is no such file", "thinnet train"]),
        ("eval .", &[".: is no run", "no config.toml", "thinnet train"]),
        ("eval run/model.safetensors", &["run/model.safetensors", "--data"]),
        ("eval run --rows 0..10", &["--data"]),
        ("eval run --data digits --rows 10..5", &["10..5 is empty", "0..16"]),
        ("eval run --data digits --rows 1790..1800", &["1790..1800", "digits", "0..1797", "choose"]),
        ("eval run --data missing.npz", &["missing.npz", "no such file", "check the path"]),
        ("eval run --network net.toml", &["--network", "a run has its own"]),
        ("predict run --out answers.txt", &["answers.txt", ".csv or .npy"]),
        ("predict run --out answers", &["answers", ".csv or .npy"]),
        ("predict run --out file.csv/x.csv --rows 3..2", &["3..2 is empty"]),
        ("predict run/history.csv", &["run/history.csv", "no safetensors file"]),
        (
            "predict run/model.safetensors --network missing.toml --data digits",
            &["missing.toml: there is no such file", "thinnet init --out missing.toml"],
        ),
        ("predict net.toml", &["net.toml: is a network file", "such as runs/net", "model.safetensors"]),
        ("eval net.toml --data digits", &["net.toml: is a network file", "such as runs/net"]),
        // What was asked for is wrong wherever it would be written.
        ("sweep net.toml --layer 7 --out run", &["layer 7", "no dropout layer"]),
        ("sweep missing.toml --out run", &["missing.toml: there is no such file"]),
        ("sweep net.toml --keep 0.5,1.5", &["keep_prob 1.5", "from 0 to 1"]),
        ("sweep net.toml --keep -0.5", &["keep_prob -0.5", "from 0 to 1"]),
        ("sweep net.toml --keep half", &["half", "--keep"]),
        ("sweep net.toml --seeds 0", &["--seeds", "1..=1000"]),
        ("sweep net.toml --seeds -1", &["-1"]),
        ("sweep net.toml --layer 0", &["net.toml", "layer 0", "no dropout layer"]),
        ("sweep net.toml --layer 9", &["net.toml", "layer 9", "no dropout layer"]),
        ("sweep dense.toml", &["dense.toml", "no dropout layer", "add { dropout"]),
        ("sweep blind.toml", &["blind.toml", "validation data", "valid_fraction"]),
        ("preflight missing.toml", &["missing.toml: there is no such file", "thinnet init --out missing.toml"]),
        ("init --out file", &["--out file", "must end in .toml"]),
        ("init --out net.toml", &["net.toml exists already", "--force"]),
        ("init --data digits --regression", &["digits", "classes", "csv, npz or npy"]),
    ];
    refuses(&place, &cases);
}

#[test]
fn weights_are_checked() {
    let place = trained();
    let good = place.bytes("run/model.safetensors");
    place.write("short.safetensors", &good[..good.len() - 100]);
    place.write("header.safetensors", &good[..60]);
    place.write("empty.safetensors", "");
    place.write("noise.safetensors", [0xFF; 1000]);
    let tensors = safetensors::SafeTensors::deserialize(&good).unwrap();
    let write = |name: &str, skip: &str, metadata: Option<&str>| {
        let views = tensors.iter().filter(|(tensor, _)| *tensor != skip).map(|(name, view)| (name.to_owned(), view));
        let metadata = metadata.map(|text| [("thinnet".to_owned(), text.to_owned())].into());
        place.write(name, safetensors::serialize(views, metadata).unwrap());
    };
    let (_, header) = safetensors::SafeTensors::read_metadata(&good).unwrap();
    let metadata = header.metadata().clone().unwrap()["thinnet"].clone();
    write("foreign.safetensors", "", None);
    write("lacking.safetensors", "0.weight", Some(&metadata));
    write("other.safetensors", "", Some(&metadata.replace("\"dense\":16", "\"dense\":17")));
    write("future.safetensors", "", Some(&metadata.replace("\"mask_contract\":1", "\"mask_contract\":9")));
    write("broken.safetensors", "", Some("{"));
    place.write("wide.csv", "a,b,c,label\n1,0,1,0\n1,0,1,1\n");
    place.write("lost/config.toml", place.bytes("run/config.toml"));
    place.write("stub/config.toml", place.bytes("run/config.toml"));
    place.write("stub/model.safetensors", &good[..good.len() / 2]);
    let on = |file: &str| format!("eval {file}.safetensors --data digits");
    let commands = ["short", "header", "empty", "noise", "foreign", "lacking", "other", "future", "broken"].map(on);
    let says: [&[&str]; 9] = [
        &["short.safetensors", "no safetensors file"],
        &["header.safetensors", "no safetensors file"],
        &["empty.safetensors", "no safetensors file"],
        &["noise.safetensors", "no safetensors file"],
        &["foreign.safetensors", "metadata key \"thinnet\"", "--network FILE.toml"],
        &["lacking.safetensors", "0.weight is missing", "[16, 64]", "nn.Sequential"],
        &["other.safetensors", "0.weight is F32 [16, 64]", "expected F32 [17, 64]", "nn.Sequential"],
        &["future.safetensors", "version 9", "version 1"],
        &["broken.safetensors", "\"thinnet\" is not readable"],
    ];
    let mut cases: Vec<Case<'_>> = commands.iter().map(String::as_str).zip(says).collect();
    cases.extend::<[Case<'_>; 6]>([
        ("eval missing.safetensors --data digits", &["missing.safetensors", "no such file", ".safetensors"]),
        ("eval lost", &["lost/model.safetensors", "cannot be read"]),
        ("eval stub", &["stub/model.safetensors", "no safetensors file"]),
        ("predict stub", &["stub/model.safetensors", "no safetensors file"]),
        ("eval run --data wide.csv", &["wide.csv", "3 columns", "takes 64", "like those it learned from"]),
        ("predict run --data wide.csv", &["wide.csv", "3 columns", "takes 64", "like those it learned from"]),
    ]);
    refuses(&place, &cases);
}

/// Compressed as gzip does.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An npy file: type, shape, bytes.
fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

/// An archive of files.
fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// An idx file: magic number, dimensions, bytes.
fn idx(magic: u32, dimensions: &[u32], data: &[u8]) -> Vec<u8> {
    let numbers = std::iter::once(&magic).chain(dimensions).flat_map(|n| n.to_be_bytes());
    numbers.chain(data.iter().copied()).collect()
}

//! The command line as a user meets it: what it prints, what it writes, how it ends.

use std::process::{Command, Output, Stdio};

fn thinnet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thinnet")).args(arguments).output().unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = thinnet(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(arguments: &[&str], code: i32, says: &[&str]) {
    let output = thinnet(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "{arguments:?} prints although it fails");
    for part in says {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

// The vectors of the mask contract in the README.
#[test]
fn masks_are_those_of_the_contract() {
    let arguments =
        ["mask", "--seed", "42", "--keep", "0.5", "--site", "0", "--pass", "0", "--samples", "0..4", "--units", "0..16"];
    let expected = "0111010100000001\n1111110011000100\n0010000111010010\n0000000011111110\n";
    assert_eq!(printed(&arguments), expected);
    assert_eq!(printed(&[&arguments[..], &["--adapter", "cpu"]].concat()), expected);
    let seed = ((1u64 << 40) + 7).to_string();
    let far = ["mask", "--seed", &seed, "--keep", ".8", "--site", "3", "--pass", "5", "--samples", "59998..60000"];
    assert_eq!(printed(&[&far[..], &["--units", "1022..1030"]].concat()), "11101111\n11011111\n");
}

// Random123, kat_vectors, philox4x32 10.
#[test]
fn raw_words_are_those_of_random123() {
    let raw = |counter, key| printed(&["mask", "--raw", "--counter", counter, "--key", key]);
    assert_eq!(raw("0,0,0,0", "0,0"), "6627e8d5 e169c58d bc57ac4c 9b00dbd8\n");
    let ones = "0xffffffff,0xffffffff,0xffffffff,0xffffffff";
    assert_eq!(raw(ones, "4294967295,0xffffffff"), "408f276d 41c83b0e a20bc7c6 6d5451fd\n");
    let pi = "0x243f6a88,0x85a308d3,0x13198a2e,0x03707344";
    assert_eq!(raw(pi, "0xa4093822,0x299f31d0"), "d16cfe09 94fdcceb 5001e420 24126ea1\n");
}

#[test]
fn an_audit_says_what_is_wrong_with_masks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("masks.npy");
    let path = file.to_str().unwrap();
    let bits = printed(&["mask", "--samples", "0..300", "--units", "0..128", "--keep", "0.5", "--adapter", "cpu"]);
    let mut mask: Vec<u8> = bits.bytes().filter(|byte| *byte != b'\n').map(|byte| byte - b'0').collect();
    std::fs::write(&file, crate::data_files::npy("|b1", "(300, 128)", &mask)).unwrap();
    let text = printed(&["audit", path, "--keep", "0.5"]);
    assert!(text.starts_with("300 masks of 128 units in ") && text.contains("\nok       rate "), "{text}");
    assert!(text.contains("Nothing speaks against these masks"), "{text}");
    // Steps of samples of units.
    std::fs::write(&file, crate::data_files::npy("|u1", "(3, 100, 128)", &mask)).unwrap();
    assert!(printed(&["audit", path, "--units", "128"]).contains("\nskipped  rate "));
    fails(&["audit", path, "--units", "1000"], 2, &[path, "rows of 12800 values", "--units 1000"]);
    fails(&["audit", path, "--keep", "1.5"], 2, &["keep_prob 1.5"]);
    fails(&["audit", "digits"], 2, &["digits", "no npy or npz file"]);
    std::fs::write(&file, crate::data_files::npy("|u1", "(38400,)", &mask)).unwrap();
    assert!(printed(&["audit", path, "--units", "128"]).contains("300 masks of 128 units"));
    mask.copy_within(0..128, 128 * 200);
    std::fs::write(
        &file,
        crate::data_files::npy("<f4", "(300, 128)", &mask.iter().flat_map(|&m| f32::from(m).to_le_bytes()).collect::<Vec<_>>()),
    )
    .unwrap();
    let output = thinnet(&["audit", path, "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let checks: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed: Vec<_> = checks.iter().filter(|check| check["outcome"] == "FAILED").map(|check| check["check"].clone()).collect();
    assert!(output.status.code() == Some(1) && failed == ["pairs"] && text.contains("rows 0 and 200 are the same"), "{text}");
}

#[test]
fn the_largest_coordinates_work() {
    let most = u32::MAX.to_string();
    let units = format!("{}..{most}", u32::MAX - 5);
    let large = ["mask", "--seed", "0xffffffffffffffff", "--site", "16777215", "--pass", &most, "--samples", "4294967294"];
    let arguments = [&large[..], &["--units", &units]].concat();
    assert_eq!(printed(&arguments).len(), 6);
    assert_eq!(printed(&arguments), printed(&[&arguments[..], &["--adapter", "cpu"]].concat()));
}

#[test]
fn json_is_one_object_a_line() {
    let text = printed(&["mask", "--json", "--samples", "7..9", "--units", "0..4", "--keep", "1"]);
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), &rows[0]["sample"], &rows[1]["mask"]), (2, &7.into(), &"1111".into()));
    let devices = printed(&["devices", "--json"]);
    let names: Vec<serde_json::Value> = devices.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(names.len() >= 2 && names.last().unwrap()["adapter"] == "cpu");
}

/// Whether this machine has llvmpipe as the default adapter and a CPU with AVX-512, and nothing has set the width.
fn wide_applies() -> bool {
    #[cfg(target_arch = "x86_64")]
    let avx512 = std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    let avx512 = false;
    let free = std::env::var_os("LP_NATIVE_VECTOR_WIDTH").is_none();
    avx512 && free && crate::common::device().caps().adapter.starts_with("llvmpipe (")
}

#[test]
fn wide_starts_the_command_again_with_all_lanes_once_and_only_where_that_helps() {
    let run = |arguments: &[&str], width: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thinnet"));
        let output = command.args(arguments).envs(width.map(|width| ("LP_NATIVE_VECTOR_WIDTH", width))).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (narrow, wide) = (run(&["devices"], None), run(&["devices", "--wide"], None));
    let name = crate::common::device().caps().adapter;
    if wide_applies() {
        let line =
            |bits: &str| format!("llvmpipe (LLVM {}, {bits} bits)", name["llvmpipe (LLVM ".len()..].split(',').next().unwrap());
        assert!(narrow.1.contains(&line("256")) && narrow.1.contains("\n  8 lanes; with --wide 16,"), "{}", narrow.1);
        assert!(wide.1.contains(&line("512")) && wide.1.contains("\n  16 lanes\n"), "{} {}", wide.1, wide.2);
        assert_eq!(wide.2, "");
    } else {
        assert_eq!(narrow.1, wide.1);
        assert!(wide.2.starts_with("note: --wide changes nothing: ") || std::env::var_os("LP_NATIVE_VECTOR_WIDTH").is_some());
    }
    // A width that is set stays, whichever it is, and nothing starts again.
    assert_eq!(run(&["devices", "--wide"], Some("128")), run(&["devices"], Some("128")));
    let (code, _, says) = run(&["mask", "--wide", "--adapter", "cpu"], None);
    assert_eq!((code, says.as_str()), (Some(0), "note: --wide changes nothing: the adapter is cpu, not llvmpipe\n"));
    // The exit code, the masks and the message are those of the command.
    let mask = ["mask", "--samples", "0..3", "--units", "0..40"];
    assert_eq!(run(&[&mask[..], &["--wide"]].concat(), None).1, run(&mask, None).1);
    let (code, out, says) = run(&["mask", "--wide", "--keep", "1.5"], None);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(says.contains("1.5") && says.contains("from 0 to 1"), "{says}");
    assert_eq!(run(&["mask", "--wide", "--adapter", "no such adapter"], None).0, Some(3));
}

// Only that everything is measured and printed: what is measured depends on the machine.
#[test]
fn bench_prints_every_figure_and_the_same_ones_as_json() {
    let text = printed(&["bench", "--quick"]);
    for part in ["the figures say nothing", "with dropout", "16-16-8-10, batch 8", "GFLOP/s", "copy", "times the copy"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    let json = printed(&["bench", "--quick", "--json"]);
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let what: Vec<&str> = rows.iter().filter_map(|row| row["what"].as_str()).collect();
    assert_eq!(what, ["training step", "training step", "training step", "dense layer", "dense layer", "copy", "dropout"]);
    assert!(rows[0]["adapter"].is_string() && rows[0]["quick"] == true, "{json}");
    for row in &rows[1..] {
        let figures = row.as_object().unwrap().iter().filter(|(key, _)| key.starts_with("seconds") || key.starts_with('g'));
        let figures: Vec<f64> = figures.map(|(_, value)| value.as_f64().unwrap()).collect();
        assert!(!figures.is_empty() && figures.iter().all(|figure| *figure > 0.0 && figure.is_finite()), "{row}");
    }
    // Two pairs are too few for an interval, and their ratio is theirs.
    let number = |key: &str| rows[1][key].as_f64().unwrap();
    assert!(rows[1]["low"].is_null() && rows[1]["pairs"] == 2 && number("ratio") > 0.0, "{json}");
}

// The kernels and gradients of all networks take minutes in some builds; tests/check.rs has the checks themselves.
#[test]
fn check_says_of_each_group_how_it_came_out_and_of_each_check_as_json() {
    let text = printed(&["check", "draws", "words", "masks", "--seed", "5"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("thinnet ") && lines[0].contains("matrix products: "), "{text}");
    let right = [
        "ok      words      1 of 1, equal bits",
        "ok      masks      10 of 10, equal bits",
        "ok      draws      5 of 5, equal bits",
    ];
    assert_eq!(lines[2..5], right, "in the order in which they rest on each other");
    assert!(lines.last().unwrap().starts_with("All 16 checks passed."), "{text}");

    let json = printed(&["check", "masks", "--json", "--adapter", "cpu"]);
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows[0]["device"]["adapter"] == "cpu" && rows[0]["driver"].is_null() && rows.len() == 11, "{json}");
    let json: serde_json::Value = serde_json::from_str(printed(&["check", "words", "--json"]).lines().next().unwrap()).unwrap();
    assert!(json["seed"] == 1 && json["driver"]["name"].is_string() && json["system"] == std::env::consts::OS, "{json}");
    for row in &rows[1..] {
        assert!(row["group"] == "masks" && row["outcome"] == "equal" && row["problem"].is_null(), "{row}");
        assert!(row["check"].as_str().unwrap().contains("keep "), "{row}");
    }
    fails(&["check", "everything"], 2, &["everything", "gradients"]);
}

#[test]
fn bench_has_nothing_to_say_of_the_twins() {
    fails(&["bench", "--adapter", "cpu"], 2, &["made for checking", "--adapter", "thinnet devices"]);
}

#[test]
fn bad_usage_and_bad_input_end_with_2_and_name_the_value() {
    fails(&["mask", "--keep", "1.5"], 2, &["1.5", "from 0 to 1"]);
    fails(&["mask", "--keep", "NaN"], 2, &["not a number"]);
    fails(&["mask", "--keep", "-0.5"], 2, &["-0.5"]);
    fails(&["mask", "--site", "16777216"], 2, &["16777216", "24 bits"]);
    fails(&["mask", "--samples", "4..4"], 2, &["4..4", "empty"]);
    fails(&["mask", "--units", "0..4294967296"], 2, &["4294967296", "too large"]);
    fails(&["mask", "--samples", "0..4294967295", "--units", "0..4294967295"], 2, &["ask for fewer"]);
    fails(&["mask", "--stream", "10"], 2, &["streams are 0 to 9"]);
    fails(&["mask", "--raw", "--counter", "1,2,3", "--key", "0,0"], 2, &["4 numbers"]);
    fails(&["mask", "--raw"], 2, &["--counter"]);
    fails(&["demo", "--epochs", "0"], 2, &["epochs"]);
    fails(&["frobnicate"], 2, &["frobnicate"]);
}

#[test]
fn the_family_of_matrix_products_is_shown_and_can_be_forced() {
    let devices = printed(&["devices"]);
    let own = thinnet::Device::open().unwrap().caps();
    assert!(devices.contains(&format!("matrix products: {}\n", own.matmul)), "{devices}");
    let folder = tempfile::tempdir().unwrap();
    let trained = |out: &str, family: &[&str]| {
        let out = folder.path().join(out);
        printed(&[&["demo", "--epochs", "1", "--out", out.to_str().unwrap()], family].concat());
        std::fs::read(out.join("with-dropout.safetensors")).unwrap()
    };
    let [default, plain, tile] = [("own", &[][..]), ("plain", &["--matmul", "plain"]), ("tile", &["--matmul", "tile"])]
        .map(|(out, family)| trained(out, family));
    // The same network, but sums in other orders.
    assert!(plain.len() == tile.len() && plain != tile && default.len() == tile.len());
    let again = trained("again", &["--matmul", "tile"]);
    assert!(again == tile, "one family gives the same bits every time");
    fails(&["demo", "--matmul", "fast"], 2, &["fast", "plain, tile, shuffle"]);
    let out = folder.path().join("none");
    let refused = ["demo", "--adapter", "cpu", "--matmul", "shuffle", "--out", out.to_str().unwrap()];
    fails(&refused, 2, &["matmul", "cpu", "subgroups"]);
}

#[test]
fn no_adapter_ends_with_3_and_says_what_to_install() {
    fails(&["mask", "--adapter", "no such adapter"], 3, &["no such adapter", "apt-get install"]);
    // A loader that finds no driver at all.
    let output = Command::new(env!("CARGO_BIN_EXE_thinnet"))
        .arg("mask")
        .envs([("VK_DRIVER_FILES", "/nowhere.json"), ("VK_ICD_FILENAMES", "/nowhere.json"), ("WGPU_BACKEND", "vulkan")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("adapters seen: none") && text.contains("mesa-vulkan-drivers"), "{text}");
}

#[test]
fn the_demo_writes_curves_history_and_weights() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a/b");
    let text = printed(&["demo", "--epochs", "3", "--seed", "5", "--out", out.to_str().unwrap()]);
    assert!(text.contains("no dropout") && text.contains("replaced at random"), "{text}");
    let history = std::fs::read_to_string(out.join("history.csv")).unwrap();
    assert_eq!(history.lines().count(), 1 + 2 * 3);
    assert!(std::fs::read_to_string(out.join("curves.svg")).unwrap().contains("</svg>"));
    let mut names: Vec<String> =
        std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["curves.svg", "history.csv", "with-dropout.safetensors", "without-dropout.safetensors"]);
    let model = thinnet::Model::load(out.join("with-dropout.safetensors")).unwrap();
    assert_eq!(model.network().sites().unwrap(), [None, Some(0), None, Some(1), None]);
}

#[test]
fn the_demo_replaces_nothing_but_a_demo() {
    let folder = tempfile::tempdir().unwrap();
    let [run, demo] = ["run", "demo"].map(|name| folder.path().join(name));
    let to = |place: &std::path::Path, option: &str| {
        let mut arguments = vec!["demo", "--epochs", "1", "--out", place.to_str().unwrap()];
        arguments.extend(option.split_whitespace());
        let output = thinnet(&arguments);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    // A run has a history and curves of its own.
    std::fs::create_dir(&run).unwrap();
    let files = ["config.toml", "history.csv", "curves.svg"].map(|name| run.join(name));
    files.iter().for_each(|file| std::fs::write(file, "kept").unwrap());
    for (option, says) in [("", "--force"), ("--force", "config.toml in it")] {
        let (code, text) = to(&run, option);
        assert!(code == Some(2) && text.contains("run") && text.contains(says), "{code:?}: {text}");
    }
    assert!(files.iter().all(|file| std::fs::read(file).unwrap() == b"kept"));
    // A whole demo is shown again, what is left of one only when told to.
    assert_eq!(to(&demo, "").0, Some(0));
    for (left, option, code) in [(true, "", Some(0)), (false, "", Some(2)), (false, "--force", Some(0))] {
        std::fs::write(demo.join("history.csv"), "old").unwrap();
        if !left {
            std::fs::remove_file(demo.join("without-dropout.safetensors")).unwrap();
        }
        assert_eq!(to(&demo, option).0, code, "{left} {option}");
        assert_eq!(std::fs::read(demo.join("history.csv")).unwrap() == b"old", code == Some(2));
        std::fs::write(demo.join("without-dropout.safetensors"), "there").unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    let out = file.join("runs");
    fails(&["demo", "--epochs", "1", "--out", out.to_str().unwrap()], 1, &["file/runs", "--out"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}

#[test]
fn the_demo_trains_on_when_nobody_reads_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let arguments = ["demo", "--epochs", "1", "--out", out.to_str().unwrap()];
    let mut child = Command::new(env!("CARGO_BIN_EXE_thinnet")).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    assert!(out.join("curves.svg").exists());
}

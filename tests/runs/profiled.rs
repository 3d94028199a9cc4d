use serde_json::Value;

use super::{Place, SMALL};

#[test]
fn a_profile_is_printed_and_kept_and_changes_no_byte_of_the_training() {
    let place = Place::with(SMALL);
    let (plain, text) = (place.prints("train net.toml --out plain"), place.prints("train net.toml --profile=5 --out timed"));
    for name in ["model.safetensors", "history.csv", "config.toml"] {
        assert!(place.bytes(&format!("plain/{name}")) == place.bytes(&format!("timed/{name}")), "a profile changes {name}");
    }
    assert!(!plain.contains("median us") && !place.path("plain/profile.json").exists());
    let profile: Value = serde_json::from_str(&place.text("timed/profile.json")).unwrap();
    assert_eq!((&profile["steps"], &profile["batch"]), (&5.into(), &32.into()));
    let kernels = profile["kernels"].as_array().unwrap();
    assert!(kernels.len() > 5 && kernels.iter().all(|kernel| kernel["times"]["median_us"].as_f64().unwrap() > 0.0), "{profile}");
    // Between what is trained on what and the history.
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part:?} is not in: {text}"));
    assert!(at("rows to learn from") < at("median us") && at("median us") < at("train loss"), "{text}");
    for kernel in kernels {
        assert!(text.contains(&format!("  {}: ", kernel["name"].as_str().unwrap())), "{kernel} is not in: {text}");
    }
    assert!(text.contains("checkpoint.safetensors, profile.json. Next"), "{text}");
    // It is a file of a run, which --force replaces.
    place.prints("train net.toml --out timed --force");
    assert!(!place.path("timed/profile.json").exists());
}

#[test]
fn with_json_the_profile_is_the_first_object() {
    let place = Place::with(SMALL);
    let lines = place.json("train net.toml --profile --adapter cpu");
    let kept: Value = serde_json::from_str(&place.text("runs/net/profile.json")).unwrap();
    assert_eq!((&lines[0]["what"], &lines[0]["profile"]), (&"profile".into(), &kept));
    assert_eq!((&kept["clock"], &kept["adapter"], &kept["steps"]), (&"host".into(), &"cpu".into(), &32.into()));
    assert_eq!(lines[1]["epoch"], 1);
    // The number of steps is not the file, and there is at least one.
    for wrong in ["--profile=0", "--profile=-1", "--profile=many"] {
        assert!(place.fails(&format!("train net.toml --out other {wrong}"), 2).contains("--profile"));
    }
}

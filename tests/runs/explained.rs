//! Which units were off, of a run and of a network file.

use super::{Place, SMALL};

#[test]
fn a_row_of_a_run_is_explained_from_its_folder() {
    let place = Place::with(
        &SMALL.replace("0..200", "100..300").replace("200..300", "300..400").replace("300..400\"\n[n", "400..500\"\n[n"),
    );
    let text = place.prints("explain net.toml --sample 105 --epoch 2");
    place.prints("train net.toml --out run");
    // What a run was trained with is what its file says.
    assert_eq!(place.prints("explain run --sample 105 --epoch 2"), text);
    // The mask of the contract: seed 3, site 0, pass 1 for epoch 2.
    let mask = place.prints("mask --seed 3 --samples 105..106 --pass 1 --units 0..16 --adapter cpu");
    let explained = &place.json("explain run --sample 105 --epoch 2")[0]["explained"];
    let kept = explained["sites"][0]["units"]["kept"].as_array().unwrap();
    let bits: String = kept.iter().map(|kept| if kept.as_bool().unwrap() { '1' } else { '0' }).collect();
    assert_eq!(bits, mask.trim_end());
    let off: Vec<usize> = (0..16).filter(|&unit| &bits[unit..=unit] == "0").collect();
    assert!(text.contains(&format!(
        "layer 1 (dropout), site 0: elements, keep_prob 0.5, {} of 16 kept\n  off: {}",
        16 - off.len(),
        off[0]
    )));
    assert!(explained["batch"].as_array().unwrap().iter().any(|sample| *sample == 105), "{explained}");
    // Another epoch, another mask.
    assert_ne!(place.prints("explain run --sample 105 --epoch 3"), text);
    for (arguments, message) in [
        ("explain run --sample 99", "`sample` = 99: it is none of the 200 training rows, which are from 100 to 299"),
        ("explain run --sample 105 --epoch 4000000000", "2^32"),
        ("explain run --sample 105 --epoch 0", "--epoch"),
        ("explain nowhere --sample 105", "nowhere: there is neither such a file nor such a run"),
    ] {
        let refused = place.fails(arguments, 2);
        assert!(refused.contains(message), "{refused}");
    }
}

#[test]
fn other_noise_and_none_is_explained_in_its_words() {
    let explained = |layer: &str| {
        let place = Place::with(&SMALL.replace("{ dropout = { keep = 0.5 } }, ", layer));
        place.prints("explain net.toml --sample 5")
    };
    let text = explained("{ dropout = { keep = 0.5, noise = \"gaussian\" } }, ");
    assert!(text.contains("gaussian noise, keep_prob 0.5\n  16 units times "), "{text}");
    let text = explained("{ dropout = { keep = 0.5, concrete = { weight_regularizer = 1e-6, dropout_regularizer = 1e-5 } } }, ");
    assert!(text.contains("concrete noise, keep_prob 0.5 at first") && text.contains("learned"), "{text}");
    let text = explained("{ dropout = { keep = 0.25, mode = \"units\" } }, ");
    assert!(text.contains("one set of them for the batch, keep_prob 0.25, 4 of 16 kept"), "{text}");
    assert!(explained("").contains("Nothing is dropped"));
}

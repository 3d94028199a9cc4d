use super::{caught, checks, failures, healthy};
use crate::runs::Place;
use crate::runs::maps::{CNN, RESIDUAL};

#[test]
fn healthy_networks_of_maps_pass() {
    for network in [CNN, RESIDUAL] {
        let place = Place::with(network);
        let checks = checks(&place);
        assert!(failures(&checks).is_empty(), "{checks:#?}");
        assert!(checks.iter().all(|check| check["outcome"] == "ok"), "{checks:#?}");
        let found =
            |name: &str| checks.iter().find(|check| check["check"] == name).unwrap()["found"].as_str().unwrap().to_owned();
        let (rates, kept) = match network == CNN {
            // One mask for the pixels of all channels: 4 x 4 units.
            true => ("layer 2: 0.9 of 6, layer 4: 0.9 of 128, layer 6: 0.9 of 16, layer 9: 0.5 of 16", "where no block begins"),
            false => (
                "layer 3.residual[2]: 0.75 of the paths, layer 4.residual[2]: 0.5 of the paths, layer 6: 0.8 of 8",
                "for 0.75 of the paths",
            ),
        };
        assert_eq!(found("keep_prob"), rates);
        assert!(found("keep rates").contains(kept), "{}", found("keep rates"));
    }
}

#[test]
fn what_is_wrong_with_maps_is_caught() {
    // Channels are the units of spatial dropout: a rate that leaves one of six.
    let few = CNN.replace("keep = 0.9, spatial = 2", "keep = 0.2, spatial = 2");
    caught(&Place::with(&few), "keep_prob", &["layer 2 keeps 0.2 of its 6 units", "keep = 0.8"], &[]);
    // A path may be dropped more often than not.
    healthy(&Place::with(&RESIDUAL.replace("path_keep = 0.5", "path_keep = 0.2")));
    // The filters of a convolution that all begin as one.
    let zeros = CNN.replacen("activation = \"relu\" }", "activation = \"relu\", init = \"zeros\" }", 1);
    caught(&Place::with(&zeros), "weights", &["init = \"zeros\"", "he_uniform"], &[]);
    // The learning rate of a residual network.
    let fast = RESIDUAL.replace("adam = { lr = 0.01 }", "sgd = { lr = 1000.0 }");
    caught(&Place::with(&fast), "cost falls", &["learning rate 1000 is too large"], &[]);
}

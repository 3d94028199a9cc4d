//! scratch
use thinnet::gradient_check::{Numbers, cases};
#[test]
fn look() {
    let want = std::env::var("CASE").unwrap();
    for case in cases().into_iter().filter(|c| c.name == want) {
        let n = Numbers::new(&case, 1).unwrap();
        let e = n.gradients().unwrap();
        let d = n.on_device(crate::common::device()).unwrap();
        let c = n.on_device(&thinnet::Device::cpu()).unwrap();
        for (i, p) in case.network.parameters().unwrap().iter().enumerate() {
            let m = e[i].iter().fold(0f64, |a, b| a.max(b.abs()));
            let err = |x: &Vec<f64>| x.iter().zip(&e[i]).map(|(a, b)| (a - b).abs()).fold(0f64, f64::max) / m;
            println!("{:30} {:?} max {m:.3e} device {:.2e} twins {:.2e}", p.name, p.shape, err(&d[i]), err(&c[i]));
        }
    }
}

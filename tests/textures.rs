//! What a kernel reads from a texture is what its tensor holds, whoever wrote it last and however often it was read before.

use thinnet::executor::Executor;
use thinnet::network::Network;
use thinnet::work::Work;
use thinnet::{Activation, Dense};

use crate::common::device;
use crate::drive::{self, EVAL, Member, numbers_of};
use crate::gradients::SGD;

/// Evaluation and training in one program share their weights. On each adapter the new executor is the control: it has read nothing.
#[test]
fn what_was_written_since_is_what_is_read() {
    let network = Network::new(13).dense(Dense::new(31).activation(Activation::Relu)).dense(Dense::new(5));
    let data = drive::data_for(&network, 17, false, 21);
    let members = |seed| vec![Member::new(&network, seed, SGD[0])];
    let executor = || {
        let plans = drive::plans(device().caps(), &network, &data, 7, SGD[0].update(), 1);
        Executor::new(device(), plans).unwrap()
    };
    let run = |executor: &mut Executor, work: &[Work]| {
        let submission = executor.submit(work).unwrap();
        executor.wait(submission).unwrap();
    };
    let evaluate = |executor: &mut Executor, members: &[Member]| {
        run(executor, &drive::evaluation(members, 17, 7));
        let name = executor.plans().plans[EVAL].tensors.keys().find(|name| name.ends_with(".outputs")).unwrap().clone();
        numbers_of(executor, EVAL, (&name, 0), (17, 5))
    };
    let (first, second) = (members(3), members(4));
    let anew = |members: &[Member]| {
        let mut executor = executor();
        drive::upload(&executor, &data, members);
        evaluate(&mut executor, members)
    };

    let mut one = executor();
    drive::upload(&one, &data, &first);
    let before = evaluate(&mut one, &first);
    assert_eq!(before, evaluate(&mut one, &first), "nothing was written since");
    drive::upload(&one, &data, &second);
    assert_ne!(before, anew(&second), "the weights matter");
    assert_eq!(evaluate(&mut one, &second), anew(&second), "the host wrote the weights");

    drive::upload(&one, &data, &first);
    evaluate(&mut one, &first);
    run(&mut one, &drive::training(&first, 17, 7, 0..1));
    let trained = evaluate(&mut one, &first);
    let mut other = executor();
    drive::upload(&other, &data, &first);
    run(&mut other, &drive::training(&first, 17, 7, 0..1));
    assert_eq!(trained, evaluate(&mut other, &first), "kernels wrote the weights");
    assert_ne!(trained, before);
}

//! Which data sets are resident, by their numbers alone.

use super::*;

const MIB: u64 = 1 << 20;

fn caps() -> Caps {
    Caps { max_binding: 128 * MIB, max_buffer: 256 * MIB, ..Caps::baseline() }
}

fn need(rows: u32, row_bytes: u64, batch: u32) -> Need {
    Need { name: "train", rows, row_bytes, batch }
}

#[test]
fn without_a_budget_what_fits_a_binding_is_resident() {
    let place = |needs: &[Need]| windows(&caps(), None, needs).unwrap();
    assert_eq!(place(&[]), []);
    // MNIST in bytes and in f32, and a data set of exactly a binding, and of one row more.
    assert_eq!(place(&[need(60_000, 784, 128), need(60_000, 3136, 128)]), [None, Some((WINDOW / 3136) as u32)]);
    assert_eq!(place(&[need(1 << 17, 1024, 32)]), [None]);
    assert_eq!(place(&[need((1 << 17) + 1, 1024, 32)]), [Some(1 << 15)]);
    // A batch larger than the usual window has a window of its own.
    assert_eq!(place(&[need(1 << 20, 1024, 40_000)]), [Some(40_000)]);
    // Past every limit but that of 32-bit words.
    let endless = Caps { max_binding: u64::MAX, max_buffer: u64::MAX, ..caps() };
    assert_eq!(windows(&endless, None, &[need(1 << 24, 1024, 32)]).unwrap(), [Some(1 << 15)]);
    assert_eq!(windows(&endless, None, &[need((1 << 24) - 1, 1024, 32)]).unwrap(), [None]);
}

#[test]
fn a_budget_is_shared_and_never_exceeded() {
    let (train, valid) = (need(10_000, 1000, 100), need(2_000, 1000, 500));
    let place = |budget| windows(&caps(), Some(budget), &[train, valid]).unwrap();
    assert_eq!(place(12_000_000), [None, None]);
    assert_eq!(place(11_999_999), [Some(9_999), None]);
    assert_eq!(place(4_000_000), [Some(2_000), None]);
    assert_eq!(place(3_999_999), [Some(2_000), Some(1_999)]);
    assert_eq!(place(1_000_000), [Some(500), Some(500)]);
    for budget in (1_000_000..13_000_000).step_by(77_777) {
        let rows: u32 = place(budget).iter().zip([train, valid]).map(|(window, need)| window.unwrap_or(need.rows)).sum();
        assert!(u64::from(rows) * 1000 <= budget, "{budget} {rows}");
    }
}

#[test]
fn a_batch_that_does_not_fit_is_named_with_its_bytes_and_the_remedy() {
    let refused = |budget, need: Need, texts: &[&str]| {
        let error = windows(&caps(), budget, &[need]).unwrap_err().to_string();
        texts.iter().for_each(|text| assert!(error.contains(text), "{text:?} is not in {error}"));
    };
    let problem =
        ["`data_budget` = 99999", "100 rows of the train data, 100000 bytes", "share of the budget is 99999", "smaller batch"];
    refused(Some(99_999), need(10_000, 1000, 100), &problem);
    assert_eq!(windows(&caps(), Some(100_000), &[need(10_000, 1000, 100)]).unwrap(), [Some(100)]);
    // A binding is too small whatever the budget.
    for budget in [None, Some(1 << 40)] {
        let problem = ["100000 rows of the train data", "needs 200000000", "allows 134217728", "smaller batch"];
        refused(budget, need(200_000, 2000, 100_000), &problem);
    }
}

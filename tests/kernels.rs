//! Every kernel against its twin.

use thinnet::kernels::dense::{DenseForward, DenseParams};

use crate::common::{check_kernel, padded, step};

#[test]
fn dense_forward() {
    for (rows, inputs, outputs) in [(1, 1, 1), (7, 5, 3), (31, 33, 257), (64, 64, 128)] {
        let members = 2;
        let batch = rows + 3;
        check_kernel(
            &step(rows, members, &[]),
            &|plans| {
                let stride = |n: u32| u64::from(n.next_multiple_of(4));
                let mut matrix =
                    |name, rows: u32, columns| plans.tensor(name, u64::from(rows) * stride(columns), members).unwrap();
                let (x, weight) = (matrix("x", batch, inputs), matrix("weight", outputs, inputs));
                let (bias, y) = (matrix("bias", 1, outputs), matrix("y", batch, outputs));
                let params = DenseParams {
                    x_stride: x.stride,
                    weight_stride: weight.stride,
                    bias_stride: bias.stride,
                    y_stride: y.stride,
                    ..DenseParams::new(inputs, outputs)
                };
                Box::new(DenseForward { params, x, weight, bias, y })
            },
            &|memory| {
                for (buffer, (rows, columns)) in [(batch, inputs), (outputs, inputs), (1, outputs)].into_iter().enumerate() {
                    let len = rows * columns.next_multiple_of(4);
                    for member in 0..members {
                        let start = (len.next_multiple_of(64) * member) as usize;
                        let values = padded(rows, columns, u64::from(10 * member) + buffer as u64);
                        memory.buffer_mut(thinnet::memory::BufferId(buffer))[start..][..values.len()].copy_from_slice(&values);
                    }
                }
            },
        );
    }
}

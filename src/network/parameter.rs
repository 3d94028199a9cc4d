//! The parameter tensors of a network: names, shapes, initial values.

use super::{Activation, Conv2d, Dense, Dropout, Init, Layer, Network, Noise, Recurrent, Shape};
use crate::Result;

/// One parameter tensor of a network, named as in the state dict of PyTorch's `nn.Sequential` in which every dropout and
/// every activation but the identity is a module of its own. A residual block is a module with the members `branch` and `skip`.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// `0.weight`, `0.bias`, `3.weight`, `4.branch.0.running_mean` ...
    pub name: String,
    /// `[units, inputs]` of a dense weight, `[units]` of its bias.
    pub shape: Vec<u32>,
    /// The layer it belongs to, by its number in [`Network::walk`].
    pub layer: usize,
    /// How it starts; `None`: all its elements are `start`.
    pub init: Option<Init>,
    /// The value of what has no initialiser.
    pub start: f32,
    /// (fan_in, fan_out) of its layer.
    pub fans: (u32, u32),
    /// Whether it is a matrix with a row for each output: the weight of a dense layer or a convolution.
    pub matrix: bool,
    /// Whether the optimizer changes it; running statistics are followed instead.
    pub trained: bool,
    /// Gates, one below the other, each with as many rows, or as many elements of a bias: on a device each begins at a multiple of 4; 0: none.
    pub gates: u32,
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().map(|&n| n as usize).product()
    }

    /// Rows of the matrix; 1 of what is none.
    pub fn rows(&self) -> u32 {
        if self.matrix { self.shape[0] } else { 1 }
    }

    /// Elements of a row.
    pub fn columns(&self) -> u32 {
        self.shape[usize::from(self.matrix)..].iter().product()
    }

    /// Rows that it has on a device.
    pub(crate) fn device_rows(&self) -> u32 {
        if self.matrix { self.in_gates(self.rows()) } else { 1 }
    }

    /// Elements of a row on a device.
    pub(crate) fn device_columns(&self) -> u32 {
        if self.matrix { self.columns() } else { self.in_gates(self.columns()) }
    }

    fn in_gates(&self, n: u32) -> u32 {
        match self.gates {
            0 => n,
            gates => gates * (n / gates).next_multiple_of(4),
        }
    }

    /// Whether it has no element; a checked network has no such parameter.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its initial values, row-major, from the seed's key; `tensor` is its place among the network's parameters.
    pub fn initial_values(&self, tensor: u32, key: [u32; 2]) -> Vec<f32> {
        let value = |i| self.init.map_or(self.start, |init| init.value(i as u32, tensor, self.fans, key));
        (0..self.len()).map(value).collect()
    }
}

impl Network {
    /// The parameter tensors in order of declaration.
    ///
    /// # Errors
    /// As [`Network::shapes`].
    pub fn parameters(&self) -> Result<Vec<Parameter>> {
        let shapes = self.shapes()?;
        let mut parameters = Vec::new();
        for (layer, ((kind, module), before)) in self.walk().into_iter().zip(self.modules()).zip(&shapes).enumerate() {
            for tensor in tensors(kind, before) {
                parameters.push(Parameter { name: format!("{module}.{}", tensor.name), layer, ..tensor });
            }
        }
        Ok(parameters)
    }

    /// The module of every layer of [`Network::walk`] in PyTorch's names: activations of a layer are modules behind it.
    pub(crate) fn modules(&self) -> Vec<String> {
        fn of(layers: &[Layer], prefix: &str, modules: &mut Vec<String>) {
            let mut module = 0;
            for layer in layers {
                modules.push(format!("{prefix}{module}"));
                // The sites of a recurrent layer are in that module.
                for (inner, name) in layer.inner().into_iter().zip(["branch", "skip"]) {
                    of(inner, &format!("{prefix}{module}.{name}."), modules);
                }
                module += match layer {
                    Layer::Dense(Dense { activation, .. }) | Layer::Conv2d(Conv2d { activation, .. })
                        if *activation != Activation::Identity =>
                    {
                        2
                    }
                    // The mean over all pixels leaves extents of 1, which flatten takes away.
                    Layer::GlobalAveragePool => 2,
                    _ => 1,
                };
            }
        }
        let mut modules = Vec::new();
        of(&self.layers, "", &mut modules);
        modules
    }
}

/// The tensors of a layer, their names without its module.
fn tensors(layer: &Layer, before: &Shape) -> Vec<Parameter> {
    let tensor = |name: &str, shape: Vec<u32>, init| Parameter {
        name: name.into(),
        shape,
        layer: 0,
        init,
        start: 0.0,
        fans: (1, 1),
        matrix: false,
        trained: !name.starts_with("running"),
        gates: 0,
    };
    let pair = |weight, init, bias, fans| {
        vec![
            Parameter { fans, matrix: true, ..tensor("weight", weight, Some(init)) },
            Parameter { fans, ..tensor("bias", bias, None) },
        ]
    };
    match layer {
        Layer::Dense(dense) => {
            let (units, inputs) = (dense.units, before.0[0]);
            pair(vec![units, inputs], dense.init.unwrap_or(dense.activation.init()), vec![units], (inputs, units))
        }
        Layer::Conv2d(conv) => {
            let shape = conv.weight(before.0[0]);
            let field = shape[2] * shape[3];
            let fans = (shape[1] * field, conv.channels * field);
            pair(shape, conv.init.unwrap_or(conv.activation.init()), vec![conv.channels], fans)
        }
        Layer::BatchNorm(_) => {
            let of = |name, init| tensor(name, vec![before.0[0]], init);
            let ones = Some(Init::Ones);
            vec![of("weight", ones), of("bias", None), of("running_mean", None), of("running_var", ones)]
        }
        Layer::LayerNorm(_) => {
            let of = |name, init| tensor(name, before.0.clone(), init);
            vec![of("weight", Some(Init::Ones)), of("bias", None)]
        }
        Layer::Recurrent(recurrent) => of_recurrent(recurrent, before, tensor),
        Layer::Embedding(embedding) => {
            let (words, width) = (embedding.vocabulary, embedding.width);
            let weight = tensor("weight", vec![words, width], Some(Init::StandardNormal));
            vec![Parameter { fans: (words, width), matrix: true, ..weight }]
        }
        Layer::Dropout(Dropout { noise: Noise::Concrete(_), keep, .. }) => {
            // As far as a logit is used, see shaders/lib/concrete.wgsl.
            let logit = libm::log((1.0 - keep.get()) / keep.get()).max(-12.0);
            vec![Parameter { start: logit as f32, ..tensor("p_logit", vec![1], None) }]
        }
        Layer::Dropout(_)
        | Layer::Pool(_)
        | Layer::GlobalAveragePool
        | Layer::Flatten
        | Layer::Activation(_)
        | Layer::Residual(_) => Vec::new(),
    }
}

/// Weights and biases of every direction of every layer, in PyTorch's order.
fn of_recurrent(
    recurrent: &Recurrent,
    before: &Shape,
    tensor: impl Fn(&str, Vec<u32>, Option<Init>) -> Parameter,
) -> Vec<Parameter> {
    let (hidden, gates) = (recurrent.hidden, recurrent.cell.gates());
    let mut tensors = Vec::new();
    for layer in 0..recurrent.layer_count() {
        let inputs = recurrent.inputs(layer, before.0[1]);
        for direction in 0..recurrent.directions() {
            let [weight_ih, weight_hh, bias_ih, bias_hh] = Recurrent::tensor_names(layer, direction);
            for (name, shape) in [
                (weight_ih, vec![gates * hidden, inputs]),
                (weight_hh, vec![gates * hidden, hidden]),
                (bias_ih, vec![gates * hidden]),
                (bias_hh, vec![gates * hidden]),
            ] {
                let matrix = shape.len() == 2;
                let of = tensor(&name, shape, Some(Init::HiddenUniform));
                tensors.push(Parameter { fans: (inputs, hidden), matrix, gates, ..of });
            }
        }
    }
    tensors
}

//! Activation functions and the initialisers that go with them.

use serde::{Deserialize, Serialize};

use crate::rng;

/// A function applied element by element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `y = x`.
    #[default]
    Identity,
    /// `y = max(x, 0)`, with derivative 0 at 0.
    Relu,
    /// `y = tanh(x)`.
    Tanh,
    /// `y = 1 / (1 + e^-x)`.
    Sigmoid,
    /// `y = x` where x > 0, `0.01 x` elsewhere: PyTorch's slope.
    LeakyRelu,
    /// `y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`: the tanh form of Hendrycks and Gimpel 2016, PyTorch's
    /// `approximate="tanh"`; WGSL has no erf.
    Gelu,
    /// `y = lambda x` where x > 0, `lambda alpha (e^x - 1)` elsewhere (Klambauer et al., NeurIPS 2017).
    Selu,
}

impl Activation {
    /// How the weights in front of it are initialised unless the layer says otherwise: so that the variance of what passes
    /// through stays the same. He for the rectifiers, LeCun for SELU, Glorot for the rest.
    pub fn init(self) -> Init {
        match self {
            Self::Relu | Self::LeakyRelu | Self::Gelu => Init::HeUniform,
            Self::Selu => Init::LecunNormal,
            Self::Identity | Self::Tanh | Self::Sigmoid => Init::GlorotUniform,
        }
    }
}

/// How a weight tensor is initialised. The values come from stream 2 of the mask contract, are computed in f64 and
/// rounded once: bit-equal on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Init {
    /// U(-a, a), a = sqrt(6 / fan_in) (He et al., ICCV 2015).
    HeUniform,
    /// N(0, 2 / fan_in) (He et al., ICCV 2015).
    HeNormal,
    /// U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010).
    GlorotUniform,
    /// N(0, 2 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010).
    GlorotNormal,
    /// U(-a, a), a = sqrt(3 / fan_in) (LeCun et al., Efficient BackProp, 1998).
    LecunUniform,
    /// N(0, 1 / fan_in) (LeCun et al., 1998), which SELU needs.
    LecunNormal,
    /// U(-a, a), a = 1 / sqrt(fan_out): of all tensors of a recurrent layer, fan_out its hidden features, as PyTorch has it.
    HiddenUniform,
    /// N(0, 1): of an embedding, as PyTorch has it.
    StandardNormal,
    /// 0. The units of a layer then stay alike for ever; for tests, and for a last layer.
    Zeros,
    /// 1: the weights of a normalisation.
    Ones,
}

impl Init {
    /// Element `index` of the initial value of parameter tensor number `tensor`, for a layer of these fans.
    pub fn value(self, index: u32, tensor: u32, (fan_in, fan_out): (u32, u32), key: [u32; 2]) -> f32 {
        let at = rng::Coordinates { stream: rng::Stream::InitialWeights, site: tensor, pass: 0, sample: 0 };
        let (fan_in, fan_out) = (f64::from(fan_in), f64::from(fan_out));
        let variance = match self {
            Init::HeUniform | Init::HeNormal => 2.0 / fan_in,
            Init::GlorotUniform | Init::GlorotNormal => 2.0 / (fan_in + fan_out),
            Init::LecunUniform | Init::LecunNormal => 1.0 / fan_in,
            Init::HiddenUniform => 1.0 / (3.0 * fan_out),
            Init::StandardNormal => 1.0,
            Init::Zeros => return 0.0,
            Init::Ones => return 1.0,
        };
        let value = match self {
            Init::HeNormal | Init::GlorotNormal | Init::LecunNormal | Init::StandardNormal => {
                rng::normal([at.word(2 * index, key), at.word(2 * index + 1, key)]) * libm::sqrt(variance)
            }
            _ => (2.0 * rng::uniform(at.word(index, key)) - 1.0) * libm::sqrt(3.0 * variance),
        };
        value as f32
    }
}

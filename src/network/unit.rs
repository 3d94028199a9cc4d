//! What dropout keeps or drops as one: [`Unit`], and the shape of its mask.

use super::Shape;
use crate::{Error, Result};

/// What is kept or dropped as one. Feature maps are `[channel, y, x]`; the mask of a unit has the sample's shape with extent 1 on the
/// axes that share it, and `unit` of the mask contract is the row-major index in that shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Every element by itself: PyTorch's `nn.Dropout`. Mask `[C, H, W]`, unit (c H + y) W + x.
    #[default]
    Element,
    /// A whole channel of `[channel, x]` (Tompson et al., CVPR 2015): `nn.Dropout1d`. Mask `[C, 1]`, unit c.
    Spatial1d,
    /// A whole channel of `[channel, y, x]`: `nn.Dropout2d`. Mask `[C, 1, 1]`, unit c.
    Spatial2d,
    /// A whole channel of `[channel, z, y, x]`: `nn.Dropout3d`. Mask `[C, 1, 1, 1]`, unit c.
    Spatial3d,
    /// What is the same along these axes of a sample, each of which has extent 1 in the mask: Keras' `noise_shape`.
    Shared(Axes),
    /// Squares of this many pixels a side in each channel: DropBlock (Ghiasi et al., NeurIPS 2018), see [`crate::network::Blocks`].
    Block(u32),
    /// The whole sample: DropPath, stochastic depth (Huang et al., ECCV 2016). Mask `[1, 1, 1]`, unit 0. As the last layer of the
    /// branch of a residual block, the branch is computed for the samples that keep it and for no others (in plans of several members for
    /// all, so that batch norms in it see all).
    Path,
    /// The weights of the dense layer behind it: DropConnect, see [`crate::Dropout::drop_connect`]. Mask `[outputs, inputs]`, unit
    /// o inputs + i.
    Weight,
}

/// Some of the axes 0 .. 8 of a sample's shape; 0 is the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Axes(u8);

impl Axes {
    /// The axes in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |axis| self.0 >> axis & 1 == 1)
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Element => f.write_str("elements"),
            Self::Spatial1d => f.write_str("channels (spatial = 1)"),
            Self::Spatial2d => f.write_str("channels (spatial = 2)"),
            Self::Spatial3d => f.write_str("channels (spatial = 3)"),
            Self::Shared(axes) => write!(f, "a mask shared on axes {:?}", axes.iter().collect::<Vec<_>>()),
            Self::Block(size) => write!(f, "blocks of {size} x {size}"),
            Self::Path => f.write_str("paths"),
            Self::Weight => f.write_str("weights"),
        }
    }
}

impl Unit {
    /// What is the same at all steps of a sequence `[T, F]`.
    pub(crate) const STEPS: Self = Self::Shared(Axes(1));

    /// What is the same along the given axes of a sample's shape, of which 0 is the channel.
    ///
    /// # Errors
    /// No axis, one twice, or one above 7.
    pub fn shared(axes: &[u8]) -> Result<Self> {
        let mut bits = 0u8;
        for &axis in axes {
            if axis > 7 || bits >> axis & 1 == 1 {
                let problem = "axes are numbers from 0 (the channel) to 7, each given once";
                return Err(Error::Option { option: "shared_axes", value: format!("{axes:?}"), problem: problem.into() });
            }
            bits |= 1 << axis;
        }
        match bits {
            0 => Err(Error::Option {
                option: "shared_axes",
                value: "[]".into(),
                problem: "names no axis; leave it out to drop every element by itself".into(),
            }),
            _ => Ok(Self::Shared(Axes(bits))),
        }
    }

    /// Whether all elements along an axis share a unit.
    fn shares(self, axis: usize) -> bool {
        match self {
            Self::Element | Self::Block(_) | Self::Weight => false,
            Self::Spatial1d | Self::Spatial2d | Self::Spatial3d => axis > 0,
            Self::Shared(Axes(bits)) => axis < 8 && bits >> axis & 1 == 1,
            Self::Path => true,
        }
    }

    /// The shape of its mask over samples of this shape: extent 1 on the shared axes.
    pub fn mask_shape(self, shape: &Shape) -> Shape {
        Shape(shape.0.iter().enumerate().map(|(axis, &extent)| if self.shares(axis) { 1 } else { extent }).collect())
    }

    /// How far apart in its mask the units of neighbours on each axis of the sample are: 0 on the shared axes.
    pub fn strides(self, shape: &Shape) -> Vec<u32> {
        let mut stride = 1;
        let mut strides = vec![0; shape.0.len()];
        for (axis, &extent) in shape.0.iter().enumerate().rev().filter(|&(axis, _)| !self.shares(axis)) {
            strides[axis] = stride;
            stride *= extent;
        }
        strides
    }

    /// What is wrong with it over samples of this shape, if anything.
    pub(crate) fn check(self, shape: &Shape) -> std::result::Result<(), String> {
        let rank = shape.0.len();
        let channels = |axes: usize, layout: &str| match rank == axes + 1 {
            true => Ok(()),
            false => Err(format!("spatial = {axes} drops whole channels of samples {layout}, but gets shape {shape}")),
        };
        match self {
            Self::Element | Self::Path | Self::Weight => Ok(()),
            Self::Spatial1d => channels(1, "[channel, x]"),
            Self::Spatial2d => channels(2, "[channel, y, x]"),
            Self::Spatial3d => channels(3, "[channel, z, y, x]"),
            // Not for a lack of elements: a network may have but one feature.
            Self::STEPS if rank == 1 => Err(format!(
                "shares its mask along axis 0, the only one of shape {shape}, so that all would be dropped at once; variational dropout is for \
                 sequences [steps, features], and path = true drops whole samples"
            )),
            Self::Shared(axes) => match axes.iter().find(|&axis| usize::from(axis) >= rank) {
                None => Ok(()),
                Some(axis) => Err(format!("shares axis {axis}, but shape {shape} has axes 0 to {}", rank - 1)),
            },
            Self::Block(size) => match *shape.0.as_slice() {
                [_, height, width] if (1..=height.min(width)).contains(&size) => Ok(()),
                [_, height, width] => {
                    Err(format!("block = {size} must be at least 1 and fit into the map of {height} x {width}"))
                }
                _ => Err(format!("blocks are dropped from feature maps [channel, y, x], but it gets shape {shape}")),
            },
        }
    }
}

//! Convolution and pooling as data: layers over feature maps `[channel, y, x]`, and how a window slides over a map.

use serde::{Deserialize, Serialize};

use super::{Activation, Init, Shape};

/// A window that slides over feature maps: height and width of everything, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Extent of the window.
    pub kernel: [u32; 2],
    /// Pixels from one place of it to the next.
    pub stride: [u32; 2],
    /// Pixels added on each side of the map.
    pub padding: [u32; 2],
    /// Pixels from one element of the window to the next.
    pub dilation: [u32; 2],
}

impl Window {
    /// A window of these extents that visits every pixel.
    pub fn new(kernel: [u32; 2]) -> Self {
        Self { kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1] }
    }

    /// Places of the window on a map, `floor((extent + 2 padding - dilation (kernel - 1) - 1) / stride) + 1` on each axis, PyTorch's.
    ///
    /// # Errors
    /// What is wrong with the window on such a map.
    pub fn places(&self, map: [u32; 2]) -> Result<[u32; 2], String> {
        let mut places = [0; 2];
        for (axis, name) in ["height", "width"].into_iter().enumerate() {
            let (kernel, stride, dilation) = (self.kernel[axis], self.stride[axis], self.dilation[axis]);
            for (value, what) in [(kernel, "kernel"), (stride, "stride"), (dilation, "dilation")] {
                if value == 0 {
                    return Err(format!("{what} has {name} 0; every extent is at least 1"));
                }
            }
            let padded = u64::from(map[axis]) + 2 * u64::from(self.padding[axis]);
            let reach = u64::from(dilation) * u64::from(kernel - 1) + 1;
            if stride > 1 << 20 {
                return Err(format!("stride has {name} {stride}; at most 2^20 pixels are possible"));
            }
            if padded > 1 << 20 || reach > 1 << 20 {
                return Err(format!("a {name} of {padded} with padding, or a window of {reach}, is more than 2^20 pixels"));
            }
            if reach > padded {
                return Err(format!(
                    "the window has {name} {reach}, but the map of {} x {} only {padded} with its padding; use a smaller kernel or \
                     more padding",
                    map[0], map[1]
                ));
            }
            places[axis] = ((padded - reach) / u64::from(stride) + 1) as u32;
        }
        Ok(places)
    }
}

/// A convolution, `y = f(W * x + b)` (cross-correlation, as everywhere in the field).
///
/// ```text
/// y[n, o, i, j] = f(b[o] + sum over c, k, l of W[o, c, k, l] x[n, g C/G + c, i s - p + k d, j s - p + l d])
/// ```
///
/// x: `[batch, C, H, W]`, W: `[channels, C / groups, kernel height, kernel width]` (PyTorch's `nn.Conv2d` layout), b: `[channels]`; g is
/// the group that o belongs to. Outside the map x is 0.
///
/// In files `{ conv2d = 20, kernel = 5, activation = "relu" }`, with `stride`, `padding`, `dilation`, each a number or
/// `[height, width]`, and `groups`.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2d {
    /// Number of output channels.
    pub channels: u32,
    /// How the kernel slides.
    pub window: Window,
    /// Parts that the channels are divided into; outputs of one see the inputs of one. As many as input channels: depthwise.
    pub groups: u32,
    /// The function f, applied element by element.
    pub activation: Activation,
    /// How W is initialised; `None` chooses by the activation, see [`Activation::init`]. b starts at 0.
    pub init: Option<Init>,
}

impl Conv2d {
    /// A convolution to `channels` channels with a square kernel, stride 1, no padding, without activation.
    pub fn new(channels: u32, kernel: u32) -> Self {
        let window = Window::new([kernel, kernel]);
        Self { channels, window, groups: 1, activation: Activation::Identity, init: None }
    }

    /// Sets kernel, stride, padding and dilation at once, for each axis.
    pub fn window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// Sets the stride of both axes.
    pub fn stride(mut self, stride: u32) -> Self {
        self.window.stride = [stride, stride];
        self
    }

    /// Sets the padding of every side.
    pub fn padding(mut self, padding: u32) -> Self {
        self.window.padding = [padding, padding];
        self
    }

    /// Sets the dilation of both axes.
    pub fn dilation(mut self, dilation: u32) -> Self {
        self.window.dilation = [dilation, dilation];
        self
    }

    /// Sets the number of groups.
    pub fn groups(self, groups: u32) -> Self {
        Self { groups, ..self }
    }

    /// Sets the activation.
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Sets the initialiser of the weights.
    pub fn init(self, init: Init) -> Self {
        Self { init: Some(init), ..self }
    }

    /// The shape of W over so many input channels.
    pub(super) fn weight(&self, channels: u32) -> Vec<u32> {
        vec![self.channels, channels / self.groups, self.window.kernel[0], self.window.kernel[1]]
    }

    pub(super) fn output(&self, before: &Shape) -> Result<Shape, String> {
        let [channels, height, width] = map("a convolution", before)?;
        let groups = self.groups;
        if self.channels == 0 || groups == 0 {
            return Err(format!("channels = {} in {groups} groups; both are at least 1", self.channels));
        }
        if !channels.is_multiple_of(groups) || !self.channels.is_multiple_of(groups) {
            return Err(format!("groups = {groups} must divide the {channels} input channels and the {} outputs", self.channels));
        }
        let [rows, columns] = self.window.places([height, width])?;
        let weight = self.weight(channels);
        let elements = weight.iter().try_fold(1u32, |product, &n| product.checked_mul(n));
        if elements.is_none_or(|elements| elements > u32::MAX / 2) {
            return Err(format!("its weight of {weight:?} has more than the 2^31 - 1 elements that are possible"));
        }
        Ok(Shape(vec![self.channels, rows, columns]))
    }
}

/// What a pool makes of the pixels in its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// The largest, the first of several; padding is never the largest.
    Max,
    /// The mean of the whole window, padding (0) included: PyTorch's default.
    Average,
}

/// Pooling, each channel by itself. x: `[batch, C, H, W]`, y: `[batch, C, places...]`.
///
/// In files `{ max_pool = 2 }` or `{ average_pool = 2 }`, with `stride` (default: the kernel's extent) and `padding`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool2d {
    /// Largest or mean.
    pub kind: PoolKind,
    /// How the window slides; its dilation is 1.
    pub window: Window,
}

impl Pool2d {
    /// Squares that touch: the stride is their extent.
    pub fn new(kind: PoolKind, kernel: u32) -> Self {
        let window = Window { stride: [kernel, kernel], ..Window::new([kernel, kernel]) };
        Self { kind, window }
    }

    /// Sets the stride of both axes.
    pub fn stride(mut self, stride: u32) -> Self {
        self.window.stride = [stride, stride];
        self
    }

    /// Sets the padding of every side.
    pub fn padding(mut self, padding: u32) -> Self {
        self.window.padding = [padding, padding];
        self
    }

    pub(super) fn output(&self, before: &Shape) -> Result<Shape, String> {
        let [channels, height, width] = map("pooling", before)?;
        if self.window.dilation != [1, 1] {
            return Err(format!("dilation {:?}: pools have none; set it to 1", self.window.dilation));
        }
        let [rows, columns] = self.window.places([height, width])?;
        let area = u64::from(self.window.kernel[0]) * u64::from(self.window.kernel[1]);
        if self.kind == PoolKind::Max && area > 256 {
            return Err(format!("the window has {area} elements; the largest of at most 256 can be pooled"));
        }
        if (0..2).any(|axis| 2 * self.window.padding[axis] > self.window.kernel[axis]) {
            let (padding, kernel) = (self.window.padding, self.window.kernel);
            return Err(format!(
                "padding {padding:?} is more than half of the kernel {kernel:?}: a window could hold nothing but padding"
            ));
        }
        Ok(Shape(vec![channels, rows, columns]))
    }
}

fn map(what: &str, shape: &Shape) -> Result<[u32; 3], String> {
    <[u32; 3]>::try_from(shape.0.as_slice()).map_err(|_| {
        format!(
            "{what} takes feature maps [channel, y, x], but gets shape {shape}; give the network's input three axes, such as \
             [1, 28, 28], and put flatten behind the last map"
        )
    })
}

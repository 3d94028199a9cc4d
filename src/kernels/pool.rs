//! `shaders/pool.wgsl`: maximum and average pooling of feature maps, forward and backward.
//!
//! Global average pooling is an average over one window as large as the map: see [`PoolParams::global`].

use super::division::Division;
use super::sums::{Number, Sum, bounds, store};
use super::{Constants, Kernel, MAX_GROUPS, Tolerance, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::network::Window;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/pool.wgsl")
);

params! {
    /// `params` of `pool.wgsl`.
    PoolParams {
        map: [u32; 2], out: [u32; 2], kernel: [u32; 2], stride: [u32; 2], padding: [u32; 2],
        x_row: u32, y_row: u32, x_stride: u32, y_stride: u32, places_stride: u32, factor: f32,
        by_quads: Division, by_out: Division, by_out_width: Division, by_map: Division, by_width: Division,
        by_down: Division, by_right: Division, pad0: u32, pad1: u32, pad2: u32,
    }
}

impl PoolParams {
    /// A window over maps `[channels, height, width]`, rows padded to `row_words`, without strides.
    ///
    /// # Panics
    /// On a window that does not fit the map, or whose padding leaves room for one without a pixel: a checked network has
    /// neither.
    pub fn new([channels, height, width]: [u32; 3], window: Window, row_words: u32) -> Self {
        let Window { kernel, stride, padding, dilation } = window;
        let map = [height, width];
        let out = window.places(map).unwrap_or_else(|problem| panic!("a checked network has no such pool: {problem}"));
        let pixels = (0..2).all(|axis| padding[axis] < kernel[axis]) && dilation == [1, 1];
        assert!(pixels, "every window holds a pixel, and pools have no dilation: {window:?}");
        let row = channels.next_multiple_of(row_words) / 4;
        Self {
            map,
            out,
            kernel,
            stride,
            padding,
            x_row: row,
            y_row: row,
            factor: (1.0 / (f64::from(kernel[0]) * f64::from(kernel[1]))) as f32,
            by_quads: Division::by(channels.div_ceil(4)),
            by_out: Division::by(out[0] * out[1]),
            by_out_width: Division::by(out[1]),
            by_map: Division::by(height * width),
            by_width: Division::by(width),
            by_down: Division::by(stride[0]),
            by_right: Division::by(stride[1]),
            ..Self::default()
        }
    }

    /// The mean over all pixels of a map: y is `[batch, channels]`.
    pub fn global([channels, height, width]: [u32; 3], row_words: u32) -> Self {
        let map = [height, width];
        Self::new([channels, height, width], Window { stride: map, ..Window::new(map) }, row_words)
    }

    /// Whether the window has as few elements as a byte can count, as maximum pooling wants.
    fn assert_bytes(&self) {
        assert!(self.kernel[0] * self.kernel[1] <= 256, "the place in a window of {:?} is no byte", self.kernel);
    }

    fn touching(&self) -> bool {
        self.stride == self.kernel && self.padding == [0, 0]
    }

    fn constants(&self) -> Constants {
        let square = match self.kernel {
            [2, 2] => 2,
            [3, 3] => 3,
            _ => 0,
        };
        vec![("TOUCHING", self.touching().into()), ("SQUARE", square)]
    }

    /// A window, or what it is of the map with the rest behind the last one.
    fn iterations(&self) -> u64 {
        let [height, width] = [0, 1].map(|axis| u64::from(self.kernel[axis] + self.map[axis] % self.kernel[axis]));
        height * (width + 2) + 2
    }

    /// A grid over the samples that x or y, whose rows lie `row` quads apart, has room for.
    fn grid(&self, tensor: Tensor, [map_pixels, row]: [u32; 2], [pixels, quads]: [u32; 2]) -> [u32; 2] {
        let samples = tensor.len / (4 * row * map_pixels);
        linear_grid(samples * pixels * quads, MAX_GROUPS)
    }

    fn forward_grid(&self, y: Tensor) -> [u32; 2] {
        let pixels = self.by_out.divisor;
        self.grid(y, [pixels, self.y_row], [pixels, self.by_quads.divisor])
    }

    fn backward_grid(&self, dx: Tensor) -> [u32; 2] {
        let pixels = if self.touching() { self.by_out.divisor } else { self.by_map.divisor };
        self.grid(dx, [self.by_map.divisor, self.x_row], [pixels, self.by_quads.divisor])
    }

    /// Calls `f(row of y, its elements on the map: number in the window, row of x)` for every window, in order.
    fn for_each_window(&self, samples: u32, mut f: impl FnMut(usize, &[(u32, usize)])) {
        let mut taps = Vec::new();
        for window in 0..samples * self.by_out.divisor {
            let (sample, place) = (window / self.by_out.divisor, window % self.by_out.divisor);
            let corner = [place / self.out[1] * self.stride[0], place % self.out[1] * self.stride[1]];
            taps.clear();
            for tap in 0..self.kernel[0] * self.kernel[1] {
                let at = [corner[0] + tap / self.kernel[1], corner[1] + tap % self.kernel[1]];
                let at: [Option<u32>; 2] = std::array::from_fn(|axis| at[axis].checked_sub(self.padding[axis]));
                if let [Some(y), Some(x)] = at
                    && y < self.map[0]
                    && x < self.map[1]
                {
                    taps.push((tap, (sample * self.by_map.divisor + y * self.map[1] + x) as usize));
                }
            }
            f(window as usize, &taps);
        }
    }

    /// Words of a row of x, of y, and of those in use.
    fn widths(&self) -> [usize; 3] {
        [self.x_row, self.y_row, self.by_quads.divisor].map(|quads| 4 * quads as usize)
    }

    /// dx from dy; `wins(row of y, column, element of the window)` says what dy goes to.
    fn backward(
        &self,
        (memory, step, member): (&Memory, &Step, usize),
        dy: Tensor,
        wins: impl Fn(usize, usize, u32) -> bool,
    ) -> Vec<Option<Sum>> {
        let ([x_row, y_row, columns], dy) = (self.widths(), memory.f32(dy, member));
        let rows = (step.rows * self.by_map.divisor) as usize;
        let mut sums: Vec<_> = (0..rows * x_row).map(|i| (i % x_row < columns).then(Sum::default)).collect();
        self.for_each_window(step.rows, |row, taps| {
            for &(tap, pixel) in taps {
                let to = sums[pixel * x_row..][..columns].iter_mut().enumerate();
                to.filter(|&(column, _)| wins(row, column, tap)).for_each(|(column, sum)| {
                    sum.as_mut().expect("a column in use").add(f64::from(dy[row * y_row + column]));
                });
            }
        });
        sums
    }
}

fn variants() -> Vec<Constants> {
    let all = [(0, 0), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3)];
    all.map(|(touching, square)| vec![("TOUCHING", touching), ("SQUARE", square)]).to_vec()
}

kernel! {
    /// `y` = the largest of each window; `places` says which that was. The window has at most 256 elements.
    MaxPoolForward = "max_pool_forward" in "pool.wgsl", SOURCE;
    params PoolParams; sections [step];
    read [x: 2]; write [y: 3, places: 4]; variants variants
}

kernel! {
    /// `dx` = the sum of `dy` over the windows that this pixel won.
    MaxPoolBackward = "max_pool_backward" in "pool.wgsl", SOURCE;
    params PoolParams; sections [step];
    read [dy: 2, won: 4]; write [dx: 3]; variants variants
}

kernel! {
    /// `y` = the mean of each window, padding included.
    AveragePoolForward = "average_pool_forward" in "pool.wgsl", SOURCE;
    params PoolParams; sections [step];
    read [x: 2]; write [y: 3]; variants variants
}

kernel! {
    /// `dx` = the sum of `dy` over the windows that hold this pixel, by their area.
    AveragePoolBackward = "average_pool_backward" in "pool.wgsl", SOURCE;
    params PoolParams; sections [step];
    read [dy: 2]; write [dx: 3]; variants variants
}

impl Kernel for MaxPoolForward {
    fn constants(&self) -> Constants {
        self.params.constants()
    }

    fn grid(&self) -> [u32; 2] {
        self.params.assert_bytes();
        self.params.forward_grid(self.y)
    }

    fn iterations(&self) -> u64 {
        self.params.iterations()
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let ([x_row, y_row, columns], x) = (self.params.widths(), memory.f32(self.x, member));
        let (mut y, mut places) = (memory.f32_mut(self.y, member), memory.u32_mut(self.places, member));
        let places: &mut [u8] = bytemuck::cast_slice_mut(&mut places);
        self.params.for_each_window(step.rows, |row, taps| {
            for column in 0..columns {
                let value = |pixel: usize| x[pixel * x_row + column];
                let mut largest = taps[0];
                for &(tap, pixel) in taps {
                    let (v, before) = (value(pixel), value(largest.1));
                    if v.is_nan() || v > before {
                        largest = (tap, pixel);
                    }
                }
                y[row * y_row + column] = value(largest.1);
                places[row * columns + column] = largest.0 as u8;
            }
        });
    }
}

impl MaxPoolBackward {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let [_, _, columns] = self.params.widths();
        let won = memory.u32(self.won, member);
        let won: &[u8] = bytemuck::cast_slice(&won);
        let wins = |row: usize, column: usize, tap| u32::from(won[row * columns + column]) == tap;
        let sums = self.params.backward((memory, step, member), self.dy, wins);
        sums.into_iter().map(|sum| sum.and_then(|sum| sum.times(1.0, 0))).collect()
    }
}

impl AveragePoolForward {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let ([x_row, y_row, columns], x) = (self.params.widths(), memory.f32(self.x, member));
        let mut numbers = vec![None; (step.rows * self.params.by_out.divisor) as usize * y_row];
        self.params.for_each_window(step.rows, |row, taps| {
            for column in 0..columns {
                let mut sum = Sum::default();
                taps.iter().for_each(|&(_, pixel)| sum.add(f64::from(x[pixel * x_row + column])));
                numbers[row * y_row + column] = self.params.mean(sum);
            }
        });
        numbers
    }
}

impl AveragePoolBackward {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let sums = self.params.backward((memory, step, member), self.dy, |_, _, _| true);
        sums.into_iter().map(|sum| sum.and_then(|sum| self.params.mean(sum))).collect()
    }
}

impl PoolParams {
    /// A sum by the window's area; the factor is rounded, and so is the product.
    fn mean(&self, sum: Sum) -> Number {
        sum.times(1.0 / (f64::from(self.kernel[0]) * f64::from(self.kernel[1])), 2)
    }
}

macro_rules! sum_kernel {
    ($kernel:ident, $out:ident, $grid:ident) => {
        impl Kernel for $kernel {
            fn constants(&self) -> Constants {
                self.params.constants()
            }

            fn grid(&self) -> [u32; 2] {
                self.params.$grid(self.$out)
            }

            fn iterations(&self) -> u64 {
                self.params.iterations()
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let numbers = self.results(memory, step, member);
                store(memory, self.$out, member, &numbers);
            }

            fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
                vec![bounds(&self.results(memory, step, member))]
            }
        }
    };
}

sum_kernel!(MaxPoolBackward, dx, backward_grid);
sum_kernel!(AveragePoolForward, y, forward_grid);
sum_kernel!(AveragePoolBackward, dx, backward_grid);

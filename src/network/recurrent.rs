//! Layers over sequences `[T, F]`, T steps of F features: recurrent layers and embeddings, with their dropout.

use super::{Dropout, Layer, Shape, Unit};

/// What one step of a recurrent layer computes, from its input x, its last output h and, in an LSTM, its last cell state c.
/// PyTorch's formulas and order of gates; `s` is the logistic function, `*` the product element by element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cell {
    /// `h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`: `nn.RNN`.
    RnnTanh,
    /// The same with max(z, 0): `nn.RNN(nonlinearity="relu")`.
    RnnRelu,
    /// Cho et al. 2014 as in `nn.GRU`: r and z are `s(W_ih x + b_ih + W_hh h + b_hh)`, `n = tanh(W_in x + b_in + r * (W_hn h + b_hn))`,
    /// `h' = (1 - z) * n + z * h`.
    Gru,
    /// Hochreiter and Schmidhuber 1997 with forget gates, as in `nn.LSTM`: i, f, g, o of `W_ih x + b_ih + W_hh h + b_hh`, g by tanh and the
    /// others by s; `c' = f * c + i * g`, `h' = o * tanh(c')`.
    Lstm,
}

impl Cell {
    /// Every cell.
    pub const ALL: [Self; 4] = [Self::RnnTanh, Self::RnnRelu, Self::Gru, Self::Lstm];

    /// Gates, each with rows of its own in W_ih and W_hh.
    pub fn gates(self) -> u32 {
        match self {
            Self::RnnTanh | Self::RnnRelu => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    /// The kind of layer, as in files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RnnTanh | Self::RnnRelu => "rnn",
            Self::Gru => "gru",
            Self::Lstm => "lstm",
        }
    }
}

/// RNN, GRU or LSTM over sequences of at most T steps, whose lengths the data set says: `[T, F]` becomes `[D hidden]`, the last states,
/// or with [`Recurrent::sequence`] `[T, D hidden]`, D = 2 where it reads in both directions (forward states first) and 1 otherwise.
///
/// Steps behind the end of a sample give zeros, and the reverse direction begins at its last step: what PyTorch computes of packed sequences.
/// The last state of the forward direction is that behind the last step, that of the reverse direction that behind the first.
/// A layer of several `layers` feeds each the whole sequence of the one before.
///
/// Three sites for each layer and direction, in this order, also where nothing is dropped (Gal and Ghahramani, NeurIPS 2016):
///
/// ```text
/// input       of x, in front of W_ih         mask [T, F], or [1, F] shared by all steps
/// recurrent   of h, in front of W_hh         mask [T, hidden], shared [1, hidden], untied [gates, hidden]
/// output      of what comes out              mask [T, hidden], or [1, hidden]
/// ```
///
/// Shared by all steps are [`Dropout::variational`] ones, units f; those of every step by itself are units t F + f, t the step whose
/// input it is. [`Recurrent::untied`] gives each gate a recurrent mask of its own, unit g hidden + f, shared by all steps.
///
/// ```
/// use thinnet::{Dense, Dropout, Network, Recurrent};
/// let mask = Dropout::keep(0.75)?.variational();
/// let network = Network::new([29, 12]).recurrent(Recurrent::lstm(64).input(mask).recurrent(mask)).dense(Dense::new(9));
/// assert_eq!(network.parameters()?[0].name, "0.weight_ih_l0");
/// # Ok::<(), thinnet::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    /// What a step computes.
    pub cell: Cell,
    /// Features of a state.
    pub hidden: u32,
    /// Whether the whole sequence comes out, instead of the last state.
    pub sequence: bool,
    /// Whether each gate has a recurrent mask of its own.
    pub untied: bool,
    /// Truncated backpropagation: no gradient passes between the steps k n - 1 and k n, in either direction (Williams and Peng, 1990).
    /// States pass.
    pub truncate: Option<u32>,
    layers: u32,
    bidirectional: bool,
    /// Dropout of input, recurrent input and output of each direction of each layer.
    pub(super) sites: Vec<Layer>,
}

/// Where a recurrent layer drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Of x.
    Input = 0,
    /// Of h, on its way to the next step.
    Recurrent = 1,
    /// Of what comes out.
    Output = 2,
}

impl Place {
    /// What they are called in files, in their order.
    pub(super) const KEYS: [&'static str; 3] = ["input", "recurrent", "output"];
}

impl Recurrent {
    /// One layer, forward, that gives the last state and drops nothing.
    pub fn new(cell: Cell, hidden: u32) -> Self {
        let new = Self {
            cell,
            hidden,
            sequence: false,
            untied: false,
            truncate: None,
            layers: 1,
            bidirectional: false,
            sites: Vec::new(),
        };
        new.resized()
    }

    /// An LSTM.
    pub fn lstm(hidden: u32) -> Self {
        Self::new(Cell::Lstm, hidden)
    }

    /// A GRU.
    pub fn gru(hidden: u32) -> Self {
        Self::new(Cell::Gru, hidden)
    }

    /// An RNN with tanh.
    pub fn rnn(hidden: u32) -> Self {
        Self::new(Cell::RnnTanh, hidden)
    }

    /// Several layers, one over the other, each with the dropout of the first: PyTorch's `num_layers`.
    pub fn layers(self, layers: u32) -> Self {
        Self { layers, ..self }.resized()
    }

    /// Reads in both directions.
    pub fn bidirectional(self) -> Self {
        Self { bidirectional: true, ..self }.resized()
    }

    /// Gives the whole sequence.
    pub fn sequence(self) -> Self {
        Self { sequence: true, ..self }
    }

    /// Gives each gate a recurrent mask of its own, of the gates of a GRU or an LSTM; changes nothing where no recurrent input is dropped.
    pub fn untied(self) -> Self {
        Self { untied: true, ..self }
    }

    /// Lets gradients pass through at most so many steps.
    pub fn truncate(self, steps: u32) -> Self {
        Self { truncate: Some(steps), ..self }
    }

    /// Drops input, in all layers and directions.
    pub fn input(self, dropout: Dropout) -> Self {
        self.at(Place::Input, dropout)
    }

    /// Drops recurrent input, in all layers and directions.
    pub fn recurrent(self, dropout: Dropout) -> Self {
        self.at(Place::Recurrent, dropout)
    }

    /// Drops output, in all layers and directions.
    pub fn output(self, dropout: Dropout) -> Self {
        self.at(Place::Output, dropout)
    }

    fn at(mut self, place: Place, dropout: Dropout) -> Self {
        for site in self.sites.iter_mut().skip(place as usize).step_by(3) {
            *site = Layer::Dropout(dropout);
        }
        self
    }

    /// How many layers there are, one over the other.
    pub fn layer_count(&self) -> u32 {
        self.layers
    }

    /// Directions of reading: 1 or 2.
    pub fn directions(&self) -> u32 {
        1 + u32::from(self.bidirectional)
    }

    /// The dropout of a place in a direction (0: forward) of a layer.
    ///
    /// # Panics
    /// If there is no such layer or direction.
    pub fn dropout(&self, layer: u32, direction: u32, place: Place) -> &Dropout {
        let (layers, directions) = (self.layer_count(), self.directions());
        assert!(layer < layers && direction < directions, "layer {layer}, direction {direction} of {layers} and {directions}");
        let Layer::Dropout(dropout) = &self.sites[self.site(layer, direction, place)] else {
            unreachable!("the sites of a recurrent layer are dropout")
        };
        dropout
    }

    /// The number of a place among its sites.
    pub(crate) fn site(&self, layer: u32, direction: u32, place: Place) -> usize {
        (3 * (layer * self.directions() + direction)) as usize + place as usize
    }

    /// Its dropout, place after place.
    pub(crate) fn inner(&self) -> &[Layer] {
        &self.sites
    }

    /// The keys of its dropout in a file, place after place: `input`, or `input[1]` where there are several directions of layers.
    pub(super) fn site_names(&self) -> Vec<String> {
        let several = self.sites.len() > Place::KEYS.len();
        let name = |number: usize| {
            let (key, direction) = (Place::KEYS[number % 3], number / 3);
            if several { format!("{key}[{direction}]") } else { key.into() }
        };
        (0..self.sites.len()).map(name).collect()
    }

    /// The dropout of one place in every direction of every layer.
    pub(super) fn sites_of(&self, place: Place) -> impl Iterator<Item = &Layer> {
        self.sites.iter().skip(place as usize).step_by(3)
    }

    /// Whether any direction of any layer drops at a place.
    pub(crate) fn drops(&self, place: Place) -> bool {
        self.sites_of(place).any(|site| matches!(site, Layer::Dropout(dropout) if !dropout.is_none()))
    }

    /// The same with as many sites as there are layers and directions: those of the first for all.
    fn resized(mut self) -> Self {
        let none = Layer::Dropout(Dropout { unit: Unit::STEPS, ..Dropout::NONE });
        let first: Vec<Layer> = (0..3).map(|place| self.sites.get(place).cloned().unwrap_or_else(|| none.clone())).collect();
        let count = self.layers.saturating_mul(self.directions()).min(MAX_LAYERS * 2);
        self.sites = first.iter().cycle().take(3 * count as usize).cloned().collect();
        self
    }

    /// Features that go into a layer.
    pub(crate) fn inputs(&self, layer: u32, features: u32) -> u32 {
        if layer == 0 { features } else { self.directions() * self.hidden }
    }

    /// The shape in front of each of its sites, of sequences `[T, F]`.
    pub(super) fn site_shapes(&self, before: &Shape) -> Vec<Shape> {
        let (steps, features) = (before.0[0], before.0[1]);
        let of_layer = |layer: u32| {
            let recurrent = if self.untied { [self.cell.gates(), self.hidden] } else { [steps, self.hidden] };
            [[steps, self.inputs(layer, features)], recurrent, [steps, self.hidden]].map(|shape| Shape(shape.into()))
        };
        (0..self.layers).flat_map(|layer| of_layer(layer).into_iter().cycle().take(3 * self.directions() as usize)).collect()
    }

    /// The shape behind it.
    pub(super) fn shape(&self, before: &Shape) -> Result<Shape, String> {
        let [steps, features] = *before.0.as_slice() else {
            return Err(format!(
                "takes sequences [steps, features], but gets shape {before}; give the network such an input, put an embedding in front, or \
                 let the recurrent layer in front give its whole sequence, with sequence = true"
            ));
        };
        let widest = u64::from(features).max(2 * u64::from(self.hidden));
        let weights = (u64::from(self.cell.gates()) * u64::from(self.hidden)).saturating_mul(widest);
        if self.hidden == 0 || weights > u64::from(u32::MAX / 4) {
            return Err(format!("hidden = {} must be at least 1, and its weights fewer than 2^30", self.hidden));
        }
        if !(1..=MAX_LAYERS).contains(&self.layers) {
            return Err(format!("layers = {} must be 1 to {MAX_LAYERS}", self.layers));
        }
        if self.untied && self.cell.gates() == 1 {
            return Err("untied = true gives each gate a mask of its own, and an rnn has one gate; leave it out".into());
        }
        if self.truncate == Some(0) {
            return Err("truncate = 0 would stop every gradient; leave it out to pass all steps".into());
        }
        let outputs = self.directions() * self.hidden;
        Ok(Shape(if self.sequence { vec![steps, outputs] } else { vec![outputs] }))
    }

    /// What is wrong with the dropout of a site, if anything.
    pub(super) fn check_site(&self, number: usize, dropout: &Dropout) -> Result<(), String> {
        dropout.check_in_layer()?;
        match (number % 3, dropout.unit) {
            (1, unit) if self.untied && unit != Unit::STEPS && !dropout.is_none() => {
                Err("untied gates have masks that all steps share; make the recurrent dropout variational".into())
            }
            (_, Unit::Element) => Ok(()),
            (_, unit) if unit == Unit::STEPS => Ok(()),
            (_, unit) => Err(format!("drops {unit}; in a recurrent layer masks are variational, or of elements at every step")),
        }
    }

    /// The names of the weights and biases of a direction of a layer: W_ih, W_hh, b_ih, b_hh.
    pub(crate) fn tensor_names(layer: u32, direction: u32) -> [String; 4] {
        let suffix = ["", "_reverse"][direction as usize];
        ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(|name| format!("{name}_l{layer}{suffix}"))
    }
}

/// Layers at most, one over the other.
const MAX_LAYERS: u32 = 64;

/// A table of vectors (PyTorch's `nn.Embedding`): `[T]` numbers of words from 0 to V - 1 become `[T, width]`. The first layer.
///
/// Its dropout drops whole words (Gal and Ghahramani, NeurIPS 2016): one mask over the vocabulary for each sample, unit = the number of the
/// word, so that a word is dropped wherever it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// V: how many words there are.
    pub vocabulary: u32,
    /// Features of a word.
    pub width: u32,
    /// The one site.
    pub(super) sites: Vec<Layer>,
}

impl Embedding {
    /// A table without dropout.
    pub fn new(vocabulary: u32, width: u32) -> Self {
        Self { vocabulary, width, sites: vec![Layer::Dropout(Dropout::NONE)] }
    }

    /// Drops words.
    pub fn dropout(self, dropout: Dropout) -> Self {
        Self { sites: vec![Layer::Dropout(dropout)], ..self }
    }

    /// Its dropout.
    pub fn words(&self) -> &Dropout {
        let Layer::Dropout(dropout) = &self.sites[0] else { unreachable!("the site of an embedding is dropout") };
        dropout
    }

    pub(crate) fn inner(&self) -> &[Layer] {
        &self.sites
    }

    /// The shape behind it.
    pub(super) fn shape(&self, before: &Shape) -> Result<Shape, String> {
        let [steps] = *before.0.as_slice() else {
            return Err(format!("takes the numbers of words, [steps], but gets shape {before}"));
        };
        let elements = u64::from(self.vocabulary) * u64::from(self.width);
        if elements == 0 || elements > u64::from(u32::MAX / 4) || self.vocabulary > 1 << 24 {
            return Err(format!(
                "a table of {} words of {} features: both are at least 1, their product is below 2^30, and an f32 tells 2^24 words apart",
                self.vocabulary, self.width
            ));
        }
        dropout_of_words(self.words())?;
        Ok(Shape(vec![steps, self.width]))
    }
}

fn dropout_of_words(dropout: &Dropout) -> Result<(), String> {
    dropout.check_in_layer()?;
    match dropout.unit {
        Unit::Element => Ok(()),
        unit => Err(format!("drops {unit}, but an embedding drops words; leave the unit out")),
    }
}

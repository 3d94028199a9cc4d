//! NumPy's files: one array (npy), or several in a zip archive (npz).
//!
//! The header is read here and not by a crate, because the crates for it allocate what a header claims or overflow on it.
//!
//! ```text
//! bytes 0..6   0x93 NUMPY
//! bytes 6, 7   version 1.0, 2.0 or 3.0
//! then         length of the dictionary: u16 in version 1, u32 in the others, little-endian
//! then         {'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }, then the elements
//! ```

use std::io::{BufRead, BufReader, ErrorKind, Read};

use super::shown::shown;
use super::source::Spread;
use crate::Error;
use crate::data::{Inputs, Values};

/// As in NumPy, which reads no longer headers either.
const MAX_HEADER: usize = 10_000;

/// What is wrong with an array, without the place.
pub(super) type Found<T> = std::result::Result<T, String>;

/// What the header says, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    kind: char,
    size: usize,
    big_endian: bool,
    fortran: bool,
    /// Extent of every dimension; the first counts the rows.
    shape: Vec<u32>,
    columns: u32,
}

impl Header {
    pub(super) fn rows(&self) -> u32 {
        self.shape[0]
    }

    fn read(reader: &mut dyn Read) -> Found<Self> {
        let mut fixed = [0; 8];
        fill(reader, &mut fixed)?;
        if fixed[..6] != *b"\x93NUMPY" {
            return Err("is no npy array: it does not begin with \\x93NUMPY; write it with numpy.save".into());
        }
        let length = match fixed[6..] {
            [1, 0] => {
                let mut word = [0; 2];
                fill(reader, &mut word)?;
                usize::from(u16::from_le_bytes(word))
            }
            [2 | 3, 0] => {
                let mut word = [0; 4];
                fill(reader, &mut word)?;
                u32::from_le_bytes(word) as usize
            }
            _ => return Err(format!("has npy version {}.{}; write it with version 1.0, 2.0 or 3.0", fixed[6], fixed[7])),
        };
        if length > MAX_HEADER {
            return Err(format!("has a header of {length} bytes, more than {MAX_HEADER}; write a plain array of numbers"));
        }
        let mut text = vec![0; length];
        fill(reader, &mut text)?;
        let text = String::from_utf8_lossy(&text);
        parse(&text)
    }

    /// Bytes of all elements. The extents were checked when the header was read.
    fn bytes(&self) -> u64 {
        u64::from(self.rows()) * u64::from(self.columns) * self.size as u64
    }

    fn name(&self) -> String {
        format!("{}{}", self.kind, self.size)
    }

    /// Turns the elements of a column-major file to row-major order.
    fn in_order<T: Copy + Default>(&self, elements: Vec<T>) -> Vec<T> {
        if !self.fortran || self.shape.len() < 2 {
            return elements;
        }
        let (rows, columns) = (self.rows() as usize, self.columns as usize);
        let mut ordered = vec![T::default(); elements.len()];
        for (place, column) in elements.chunks_exact(rows).enumerate() {
            // In the file the second dimension is the fastest within a row, in rows the last one is.
            let (mut rest, mut target, mut stride) = (place, 0, columns);
            for &extent in &self.shape[1..] {
                stride /= extent as usize;
                target += rest % extent as usize * stride;
                rest /= extent as usize;
            }
            for (row, &value) in column.iter().enumerate() {
                ordered[row * columns + target] = value;
            }
        }
        ordered
    }
}

/// A file that ends early.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> Found<()> {
    reader.read_exact(buffer).map_err(|error| format!("is cut off within its header ({error}); copy or write it again"))
}

/// The dictionary of a header: exactly the three keys that NumPy writes.
fn parse(text: &str) -> Found<Header> {
    let broken = || format!("has a header that is none of numpy.save: {}; write it again", shown(text.trim()));
    let value = |key: &str| {
        let (_, rest) = text.split_once(&format!("'{key}':"))?;
        Some(rest.trim_start())
    };
    let descr = value("descr").ok_or_else(broken)?;
    if descr.starts_with('[') {
        return Err("has records instead of numbers (a structured dtype); save each field as an array of its own".into());
    }
    let descr = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).ok_or_else(broken)?.0;
    let fortran = match value("fortran_order").ok_or_else(broken)? {
        rest if rest.starts_with("True") => true,
        rest if rest.starts_with("False") => false,
        _ => return Err(broken()),
    };
    let shape = value("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')')).ok_or_else(broken)?.0;
    let extents: Option<Vec<u64>> =
        shape.split(',').map(str::trim).filter(|extent| !extent.is_empty()).map(|extent| extent.parse().ok()).collect();
    let (extents, shape) = (extents.ok_or_else(broken)?, shown(shape));
    let (order, kind_and_size) = descr.split_at_checked(1).ok_or_else(broken)?;
    let (kind, size) = kind_and_size.split_at_checked(1).ok_or_else(broken)?;
    let (kind, size) = match (kind, size, order) {
        ("b", "1", _) | ("u" | "i", "1", _) | ("u" | "i", "2" | "4" | "8", "<" | ">") | ("f", "4" | "8", "<" | ">") => {
            (kind.chars().next().unwrap_or('f'), size.parse().unwrap_or(1))
        }
        _ => {
            let remedy = "bool, i1 to i8, u1 to u8, f4 and f8 are read; convert it, for example with x.astype('float32')";
            return Err(format!("has elements of type `{}`; {remedy}", shown(descr)));
        }
    };
    if extents.is_empty() {
        return Err("is a single number, shape (); save an array with a row for each sample".into());
    }
    if extents.contains(&0) {
        return Err(format!("is empty, shape ({shape}); save at least one row of at least one value"));
    }
    let too_large = || format!("has shape ({shape}); rows, and values in a row, must be below 2^32: save a smaller part");
    let shape: Vec<u32> = extents.iter().map(|&e| u32::try_from(e).ok()).collect::<Option<_>>().ok_or_else(too_large)?;
    let columns = shape[1..].iter().try_fold(1u32, |columns, &extent| columns.checked_mul(extent)).ok_or_else(too_large)?;
    Ok(Header { kind, size, big_endian: order == ">", fortran, shape, columns })
}

/// An array of which only the header has been read.
pub(super) struct Array<'a> {
    header: Header,
    reader: &'a mut dyn Read,
}

impl<'a> Array<'a> {
    pub(super) fn open(reader: &'a mut dyn Read) -> Found<Self> {
        Ok(Self { header: Header::read(reader)?, reader })
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Calls `push` with every element, in the order of the file. Memory grows with what is there, not with the header.
    fn elements(self, mut push: impl FnMut(&[u8])) -> Found<Header> {
        let Self { header, reader } = self;
        let expected = header.bytes();
        // One byte more shows what trails behind, and makes a zip archive verify its checksum.
        let mut reader = BufReader::with_capacity(1 << 16, reader.take(expected.saturating_add(1)));
        let mut found = 0;
        let mut element = [0; 8];
        let element = &mut element[..header.size];
        let mut filled = 0;
        loop {
            let chunk = match reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(format!("is unreadable after {found} bytes of elements ({error}); copy or write it again"));
                }
                Ok(chunk) => chunk,
            };
            if chunk.is_empty() {
                break;
            }
            let length = chunk.len();
            for &byte in chunk {
                element[filled] = byte;
                filled += 1;
                if filled == element.len() && found < expected {
                    filled = 0;
                    push(element);
                }
                found += 1;
            }
            reader.consume(length);
        }
        if found != expected {
            let claim = format!("{} rows of {} {} ({expected} bytes)", header.rows(), header.columns, header.name());
            return Err(if found < expected {
                format!("has {found} bytes of elements, expected {claim}; it is truncated: copy or write it again")
            } else {
                format!("goes on behind its {claim}; write it again, with one array")
            });
        }
        Ok(header)
    }

    /// Numbers as f64, row-major: exact but for integers beyond 2^53.
    fn numbers<T: Copy + Default>(self, convert: impl Fn(f64) -> T) -> Found<(Header, Vec<T>)> {
        let decode = decoder(&self.header);
        let mut values = Vec::new();
        let header = self.elements(|element| values.push(convert(decode(element))))?;
        let values = header.in_order(values);
        Ok((header, values))
    }

    /// The array as inputs: bytes stay bytes with scale 1/255, booleans and words bytes with scale 1, all else becomes f32.
    ///
    /// With `lengths` rows are sequences; what stands behind the end of one may be anything, and becomes 0.
    pub(super) fn inputs(self, words: bool, lengths: Option<Vec<u32>>) -> Found<Inputs> {
        let as_text = |error: Error| error.to_string();
        let shape = match lengths {
            None => Sequences { features: self.header.columns as usize, lengths: None },
            Some(lengths) => Sequences::new(&self.header, lengths)?,
        };
        let steps = self.header.shape.get(1).copied().unwrap_or(1);
        let inputs = match (self.header.kind, self.header.size) {
            ('u' | 'b', 1) => {
                let boolean = self.header.kind == 'b';
                let mut bytes = Vec::new();
                let header = self.elements(|element| bytes.push(if boolean { u8::from(element[0] != 0) } else { element[0] }))?;
                let mut bytes = header.in_order(bytes);
                shape.clear(&mut bytes, header.columns);
                let scale = if boolean || words { 1.0 } else { 1.0 / 255.0 };
                Inputs::from_u8(header.columns, bytes, scale).map_err(as_text)?
            }
            _ => {
                let (header, values) = self.floats(&shape)?;
                let samples = (0..header.rows()).collect();
                Inputs { columns: header.columns, values: Values::F32(values).into(), samples, lengths: None, names: None }
            }
        };
        match shape.lengths {
            None => Ok(inputs),
            Some(lengths) => inputs.with_lengths(steps, lengths).map_err(as_text),
        }
    }

    /// The array as numbers to learn, with the columns of a row.
    pub(super) fn values(self) -> Found<(u32, Vec<f32>)> {
        let shape = Sequences { features: self.header.columns as usize, lengths: None };
        let (header, values) = self.floats(&shape)?;
        Ok((header.columns, values))
    }

    /// The array as f32, every value finite. Of types that f32 does not hold exactly, columns that it cannot tell apart are refused.
    fn floats(self, shape: &Sequences) -> Found<(Header, Vec<f32>)> {
        let exact = self.header.size <= 2 || (self.header.kind, self.header.size) == ('f', 4);
        let (header, values) = if exact {
            let (header, mut values) = self.numbers(|value| value as f32)?;
            shape.clear(&mut values, header.columns);
            (header, values)
        } else {
            let (header, mut values) = self.numbers(|value| value)?;
            shape.clear(&mut values, header.columns);
            let mut spreads = vec![Spread::default(); shape.features];
            for row in shape.existing(header.rows(), header.columns) {
                for (i, &value) in values[row].iter().enumerate() {
                    spreads[i % shape.features].add(value);
                }
            }
            let what = if shape.lengths.is_some() { "feature" } else { "column" };
            for (column, spread) in spreads.into_iter().enumerate() {
                spread.check().map_err(|problem| format!("{what} {column} {problem}"))?;
            }
            (header, values.into_iter().map(|value| value as f32).collect())
        };
        finite(&header, &values)?;
        Ok((header, values))
    }

    /// The array as classes: one whole number from 0 for each row.
    pub(super) fn labels(self) -> Found<Vec<u32>> {
        self.whole("labels for each row, expected one; for one-hot labels save y.argmax(axis=1)", |row, value| {
            let remedy = "labels are whole numbers from 0 to 2^31 - 1; save numpy.unique(y, return_inverse=True)[1]";
            format!("has label {value} in row {row}; {remedy}, or train with mean_squared_error")
        })
    }

    /// The array as lengths of sequences: one whole number of steps for each row.
    pub(super) fn lengths(self) -> Found<Vec<u32>> {
        self.whole("numbers for each row, expected one: how many steps the row has", |row, value| {
            format!("has {value} in row {row}, which is no length; save how many steps the row has, a whole number from 1")
        })
    }

    /// One whole number from 0 for each row; what is wrong with `several` of them, and with another number.
    fn whole(self, several: &str, wrong: impl Fn(usize, f64) -> String) -> Found<Vec<u32>> {
        if self.header.columns != 1 {
            return Err(format!("has {} {several}", self.header.columns));
        }
        let (_, values) = self.numbers(|value| value)?;
        let one = |(row, &value): (usize, &f64)| match value.fract() == 0.0 && (0.0..2_147_483_648.0).contains(&value) {
            true => Ok(value as u32),
            false => Err(wrong(row, value)),
        };
        values.iter().enumerate().map(one).collect()
    }

    /// Whether its elements may be fractions.
    pub(super) fn is_float(&self) -> bool {
        self.header.kind == 'f'
    }

    pub(super) fn columns(&self) -> u32 {
        self.header.columns
    }
}

/// What of an array's rows counts: all, or so many steps of some features of each.
struct Sequences {
    /// Features of a step, or all columns.
    features: usize,
    lengths: Option<Vec<u32>>,
}

impl Sequences {
    /// # Errors
    /// An array that is not `[rows, steps]` or `[rows, steps, features]`, lengths that are not one of its steps for each row.
    fn new(header: &Header, lengths: Vec<u32>) -> Found<Self> {
        let (steps, features) = match *header.shape.as_slice() {
            [_, steps] => (steps, 1),
            [_, steps, features] => (steps, features as usize),
            _ => {
                let shape = &header.shape;
                return Err(format!(
                    "has shape {shape:?}, but there are lengths; save it as [rows, steps, features] or [rows, steps]"
                ));
            }
        };
        if lengths.len() != header.rows() as usize {
            return Err(format!("has {} rows, but there are {} lengths; save one for each row", header.rows(), lengths.len()));
        }
        if let Some(row) = lengths.iter().position(|length| !(1..=steps).contains(length)) {
            return Err(format!("has {steps} steps, but row {row} has length {}; lengths are from 1 to that", lengths[row]));
        }
        Ok(Self { features, lengths: Some(lengths) })
    }

    /// Where the values of each row are that count.
    fn existing(&self, rows: u32, columns: u32) -> impl Iterator<Item = std::ops::Range<usize>> + use<'_> {
        let columns = columns as usize;
        let length = move |row| self.lengths.as_ref().map_or(columns, |lengths| lengths[row] as usize * self.features);
        (0..rows as usize).map(move |row| row * columns..row * columns + length(row))
    }

    /// Sets what does not count to 0.
    fn clear<T: Copy + Default>(&self, values: &mut [T], columns: u32) {
        let rows = (values.len() / columns as usize) as u32;
        for row in self.existing(rows, columns) {
            let behind = row.end..row.start + columns as usize;
            values[behind].fill(T::default());
        }
    }
}

/// How an element becomes a number.
fn decoder(header: &Header) -> impl Fn(&[u8]) -> f64 + use<> {
    let (big_endian, kind) = (header.big_endian, header.kind);
    move |element| {
        let size = element.len();
        // The most significant byte comes first in `word`, behind it zeros.
        let mut word = [0; 8];
        for (place, &byte) in element.iter().enumerate() {
            word[if big_endian { place } else { size - 1 - place }] = byte;
        }
        let upper = u64::from_be_bytes(word);
        let unused = 64 - 8 * size as u32;
        match (kind, size) {
            ('f', 8) => f64::from_bits(upper),
            ('f', _) => f64::from(f32::from_bits((upper >> 32) as u32)),
            ('i', _) => (upper as i64 >> unused) as f64,
            ('b', _) => f64::from(u8::from(upper != 0)),
            _ => (upper >> unused) as f64,
        }
    }
}

fn finite(header: &Header, values: &[f32]) -> Found<()> {
    let Some(at) = values.iter().position(|value| !value.is_finite()) else { return Ok(()) };
    let (row, column) = (at / header.columns as usize, at % header.columns as usize);
    let problem = "not finite or beyond 3.4e38; fill in a number or remove the row";
    Err(format!("has {} in row {row}, column {column}: {problem}", values[at]))
}

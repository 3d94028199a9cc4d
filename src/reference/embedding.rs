//! Embeddings: rows of a table, 0 for words that are dropped and behind the end of a sample.

use super::masks::select;

/// `y[r, t] = W[x[r, t]]`; `factors` has one for every word of the vocabulary, row after row.
pub(super) fn forward(table: &[f64], width: usize, factors: &[Option<f64>], lengths: &[usize], ids: &[f64]) -> Vec<f64> {
    let (vocabulary, steps) = (table.len() / width, ids.len() / lengths.len());
    let mut y = Vec::new();
    for (place, &id) in ids.iter().enumerate() {
        let (row, t) = (place / steps, place % steps);
        // What stands behind the end may be no word at all.
        let word = if t < lengths[row] { word(id) } else { 0 };
        let factor = factors[row * vocabulary + word].filter(|_| t < lengths[row]);
        y.extend(select(&vec![factor; width], &table[word * width..][..width]));
    }
    y
}

/// dL/dW: for every word the sum over the places where it stands.
pub(super) fn backward(words: usize, factors: &[Option<f64>], lengths: &[usize], ids: &[f64], dy: &[f64]) -> Vec<f64> {
    let (steps, width) = (ids.len() / lengths.len(), dy.len() / ids.len());
    let mut dw = vec![0.0; words * width];
    for (place, (&id, dy)) in ids.iter().zip(dy.chunks(width)).enumerate() {
        let (row, t) = (place / steps, place % steps);
        if t < lengths[row] {
            let dy = select(&vec![factors[row * words + word(id)]; width], dy);
            dw[word(id) * width..][..width].iter_mut().zip(dy).for_each(|(sum, g)| *sum += g);
        }
    }
    dw
}

/// The number of a word, which a difference may have moved a little.
pub(super) fn word(id: f64) -> usize {
    id.round() as usize
}

//! The table of words in front of a sequence.

use super::Mode;
use super::build::{Builder, Value};
use super::forward::Trace;
use crate::Result;
use crate::kernels::embedding::{EmbeddingBackward, EmbeddingForward, EmbeddingLists, EmbeddingParams};
use crate::mask_rule::SiteMask;
use crate::memory::Tensor;
use crate::network;
use crate::rng::Stream;

/// What the backward pass of an embedding reads.
#[derive(Clone, Copy)]
pub(super) struct Embedding {
    ids: Tensor,
    lengths: Tensor,
    layer: usize,
    params: EmbeddingParams,
    site: Option<SiteMask>,
    rows: u32,
}

impl Builder<'_> {
    pub(super) fn embedding(
        &mut self,
        layer: usize,
        embedding: &network::Embedding,
        x: Value,
        trace: &mut Vec<Trace>,
    ) -> Result<Value> {
        let steps = x.columns;
        let lengths = self.lengths(steps)?;
        let drops = self.plan.options.mode != Mode::Eval && self.drops(embedding.words());
        let index = if drops { Some(self.plan_site(layer + 1)?) } else { None };
        let site = index.map(|index| self.site_mask(index));
        let at = index.map_or((Stream::TrainingMask, 0), |index| (self.stream(index), self.plan.sites[index].site));
        let y = self.value(&format!("activation.{layer}"), steps, embedding.width)?;
        let weight = self.table(layer, "")?;
        let params = EmbeddingParams {
            samples_stride: self.samples.stride,
            ids_stride: x.tensor.stride,
            lengths_stride: lengths.stride,
            weight_stride: weight.stride,
            y_stride: y.tensor.stride,
            ..EmbeddingParams::new(steps, [embedding.vocabulary, embedding.width], self.plans.row_words(), at)
        };
        let (samples, ids) = (self.samples, x.tensor);
        self.push(EmbeddingForward { params, site, samples, ids, lengths, weight, y: y.tensor });
        let rows = self.plan.options.batch * steps;
        trace.push(Trace::Embedding(Embedding { ids, lengths, layer, params, site, rows }));
        Ok(Value { steps: true, ..y })
    }

    fn table(&self, layer: usize, suffix: &str) -> Result<Tensor> {
        let parameters = self.network.parameters()?;
        let table = parameters.iter().find(|parameter| parameter.layer == layer).expect("an embedding has a table");
        Ok(self.named(&format!("{}{suffix}", table.name)))
    }

    /// The gradient of the table. Gives `dy` back.
    pub(super) fn embedding_backward(&mut self, embedding: Embedding, dy: Value) -> Result<()> {
        let Embedding { ids, lengths, params, site, rows, .. } = embedding;
        let dweight = self.table(embedding.layer, ".grad")?;
        let (heads, links) = (self.tensor("words.heads", params.words.into())?, self.tensor("words.links", rows.into())?);
        let params = EmbeddingParams { heads_stride: heads.stride, links_stride: links.stride, ..params };
        let samples = self.samples;
        self.push(EmbeddingLists { params, site, samples, ids, lengths, heads, links });
        let params = EmbeddingParams { y_stride: dy.tensor.stride, weight_stride: dweight.stride, ..params };
        self.push(EmbeddingBackward { params, site, first_rows: heads, next_rows: links, dy: dy.tensor, dweight });
        self.release(dy);
        Ok(())
    }
}

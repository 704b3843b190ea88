//! Attention in candle's operations. Rows of like length run side by side, filled up to the
//! longest of them; of their scores a block of queries exists at a time, and the backward pass
//! makes them again (as in Dao et al. 2022, arXiv:2205.14135, without its kernel).

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};

use super::{AttentionRule, Heads, Segment};
use crate::ops::composed::of_three;

/// Scores that exist at a time, of all heads together.
const SCORES: usize = 1 << 26;
/// What a hidden score is lowered by: finite, so that no row of scores is without a largest.
const HIDDEN: f64 = -1e30;

/// Adjacent queries of one row, and where the keys lie that they may see, first things first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) queries: Range<usize>,
    pub(crate) keys: Vec<Range<usize>>,
    /// The place of the first query among the keys; each further query has the next one.
    pub(crate) first: usize,
}

impl Span {
    fn key_count(&self) -> usize {
        self.keys.iter().map(ExactSizeIterator::len).sum()
    }
}

impl From<Segment> for Span {
    fn from(segment: Segment) -> Self {
        let rows = segment.start..segment.start + segment.length;
        Self {
            queries: rows.clone(),
            keys: vec![rows],
            first: 0,
        }
    }
}

/// See [`super::attention`].
pub(super) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rule: AttentionRule,
    segments: &[Segment],
) -> Result<Tensor> {
    let spans: Vec<Span> = segments.iter().map(|segment| (*segment).into()).collect();
    attention_by(q, k, v, rule, &spans, SCORES)
}

/// As [`attention`], with this many scores at a time.
pub(super) fn attention_by(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rule: AttentionRule,
    spans: &[Span],
    scores: usize,
) -> Result<Tensor> {
    let plan = Plan::new(rule, spans, k.dim(0)?, scores, q.device())?;
    let values = [q.detach(), k.detach(), v.detach()];
    let out = plan.forward(&values)?;
    of_three([q, k, v], out, move |upstream| {
        plan.backward(&values, upstream).map(|of| of.map(Some))
    })
}

/// Attends over keys that lie apart from the queries' rows; nothing is recorded.
///
/// # Shapes
/// - `q`: (T, H * E), the spans' queries cover 0..T in order; `keys` and `values`: (N, K * E);
///   returns (T, H * E)
pub(crate) fn attend_over_tables(
    rule: AttentionRule,
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    spans: &[Span],
) -> Result<Tensor> {
    let plan = Plan::new(rule, spans, keys.dim(0)?, SCORES, q.device())?;
    plan.forward(&[q.detach(), keys.detach(), values.detach()])
}

/// Which rows run side by side.
struct Plan {
    rule: AttentionRule,
    groups: Vec<Group>,
    /// Where each query, and each key, lies among the rows of all groups.
    queries_back: Chosen,
    keys_back: Option<Chosen>,
}

/// Rows of like length, filled up to the longest of them.
struct Group {
    rows: usize,
    /// Queries and keys of each.
    queries: usize,
    keys: usize,
    query_rows: Chosen,
    key_rows: Chosen,
    /// The first key that each query sees, and the one behind the last: (rows or 1, queries, 1).
    seen: [Tensor; 2],
    /// Queries of each row whose scores exist at a time.
    block: usize,
}

/// Rows of a table, and behind its end a row of zeros.
struct Chosen {
    /// None for all rows in order.
    indices: Option<Tensor>,
    filled: bool,
}

impl Chosen {
    fn new(indices: Vec<u32>, table: usize, device: &Device) -> Result<Self> {
        let whole =
            indices.len() == table && indices.iter().enumerate().all(|(at, i)| at == *i as usize);
        let filled = indices.iter().any(|index| *index as usize == table);
        let indices = if whole {
            None
        } else {
            let count = indices.len();
            Some(Tensor::from_vec(indices, count, device)?)
        };
        Ok(Self { indices, filled })
    }

    /// (N, W) → (M, W)
    fn of(&self, table: &Tensor) -> Result<Tensor> {
        let Some(indices) = &self.indices else {
            return Ok(table.clone());
        };
        if self.filled {
            table.pad_with_zeros(0, 0, 1)?.index_select(indices, 0)
        } else {
            table.contiguous()?.index_select(indices, 0)
        }
    }
}

impl Plan {
    fn new(
        rule: AttentionRule,
        spans: &[Span],
        keys: usize,
        scores: usize,
        device: &Device,
    ) -> Result<Self> {
        let tokens: usize = spans.iter().map(|span| span.queries.len()).sum();
        let mut queries_back = vec![0u32; tokens];
        // Keys that rows share have no single place, and no gradient is asked for by them.
        let covered: usize = spans.iter().map(Span::key_count).sum();
        let mut keys_back = (covered == keys).then(|| vec![0u32; keys]);
        let (mut query_at, mut key_at) = (0, 0);
        let mut groups = Vec::new();
        for members in alike(spans, rule.heads, scores) {
            let members: Vec<&Span> = members.iter().map(|index| &spans[*index]).collect();
            let group = Group::new(&rule, &members, (tokens, keys), scores, device)?;
            for (row, span) in members.iter().enumerate() {
                for (at, query) in span.queries.clone().enumerate() {
                    queries_back[query] = (query_at + row * group.queries + at) as u32;
                }
                if let Some(back) = &mut keys_back {
                    for (at, key) in span.keys.iter().cloned().flatten().enumerate() {
                        back[key] = (key_at + row * group.keys + at) as u32;
                    }
                }
            }
            query_at += group.rows * group.queries;
            key_at += group.rows * group.keys;
            groups.push(group);
        }
        let keys_back = keys_back.map(|back| Chosen::new(back, key_at, device));
        Ok(Self {
            rule,
            groups,
            queries_back: Chosen::new(queries_back, query_at, device)?,
            keys_back: keys_back.transpose()?,
        })
    }

    /// (T, H * E), (N, K * E), (N, K * E) → (T, H * E)
    fn forward(&self, [q, k, v]: &[Tensor; 3]) -> Result<Tensor> {
        let mut parts = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let heads = self.rule.heads;
            let (k, v) = (group.keys_by_head(k, heads)?, group.keys_by_head(v, heads)?);
            let q = group.query_rows.of(q)?;
            let mut blocks = Vec::new();
            for block in group.blocks() {
                let q = group.queries_by_head(&q, heads, &block)?;
                let probabilities = group.probabilities(&self.rule, &q, &k, &block)?.0;
                blocks.push(group.token_major(&probabilities.matmul(&v)?, heads, block.len())?);
            }
            let rows = Tensor::cat(&blocks, 1)?; // (G, queries, H * E)
            parts.push(rows.flatten_to(1)?);
        }
        self.queries_back.of(&Tensor::cat(&parts, 0)?)
    }

    /// The gradients of queries, keys and values.
    fn backward(&self, [q, k, v]: &[Tensor; 3], upstream: &Tensor) -> Result<[Tensor; 3]> {
        let Some(keys_back) = &self.keys_back else {
            candle_core::bail!("keys that several rows share get no gradients");
        };
        let (mut of_q, mut of_k, mut of_v) = (Vec::new(), Vec::new(), Vec::new());
        for group in &self.groups {
            let [dq, dk, dv] = group.backward(&self.rule, [q, k, v], upstream)?;
            of_q.push(dq);
            of_k.push(dk);
            of_v.push(dv);
        }
        let back = |parts: Vec<Tensor>, at: &Chosen| at.of(&Tensor::cat(&parts, 0)?);
        Ok([
            back(of_q, &self.queries_back)?,
            back(of_k, keys_back)?,
            back(of_v, keys_back)?,
        ])
    }
}

/// Rows in groups: in each the shortest is at least half as long as the longest, and the scores of
/// a group with more than one row are no more than may exist at a time.
fn alike(spans: &[Span], heads: Heads, scores: usize) -> Vec<Vec<usize>> {
    let size = |index: usize| (spans[index].queries.len(), spans[index].key_count());
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(size(*index)), *index));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut most = (0, 0);
    for index in order {
        let (queries, keys) = size(index);
        if let Some(group) = groups.last_mut() {
            let wide = most.1.max(keys);
            let fits = (group.len() + 1) * heads.query * most.0 * wide <= scores;
            let near = 2 * queries >= most.0 && 2 * keys >= wide;
            if fits && near {
                group.push(index);
                most.1 = wide;
                continue;
            }
        }
        most = (queries, keys);
        groups.push(vec![index]);
    }
    for group in &mut groups {
        // In the order of the pass: rows of one length then need no other order.
        group.sort_unstable();
    }
    groups
}

impl Group {
    /// `tables` is how many queries and keys there are in all.
    fn new(
        rule: &AttentionRule,
        members: &[&Span],
        tables: (usize, usize),
        scores: usize,
        device: &Device,
    ) -> Result<Self> {
        let queries = members.iter().map(|span| span.queries.len()).max();
        let keys = members.iter().map(|span| span.key_count()).max();
        let (queries, keys) = (queries.unwrap_or(0), keys.unwrap_or(0));
        let (mut query_rows, mut key_rows) = (Vec::new(), Vec::new());
        let mut seen = [Vec::new(), Vec::new()];
        let same = members
            .iter()
            .all(|span| (span.first, span.key_count()) == (members[0].first, keys));
        for (row, span) in members.iter().enumerate() {
            let filled = |rows: Vec<usize>, count: usize, table: usize| {
                let fill = count - rows.len();
                let rows = rows.into_iter().chain(std::iter::repeat_n(table, fill));
                rows.map(|row| row as u32).collect::<Vec<u32>>()
            };
            query_rows.extend(filled(span.queries.clone().collect(), queries, tables.0));
            let own = span.keys.iter().cloned().flatten().collect();
            key_rows.extend(filled(own, keys, tables.1));
            if row > 0 && same {
                continue;
            }
            for place in span.first..span.first + queries {
                let range = rule.seen(place, span.key_count());
                seen[0].push(range.start as f32);
                seen[1].push(range.end.min(span.key_count()) as f32);
            }
        }
        let shape = (seen[0].len() / queries.max(1), queries, 1);
        let [starts, ends] = seen.map(|values| Tensor::from_vec(values, shape, device));
        let each = members.len() * rule.heads.query * keys;
        Ok(Self {
            rows: members.len(),
            queries,
            keys,
            query_rows: Chosen::new(query_rows, tables.0, device)?,
            key_rows: Chosen::new(key_rows, tables.1, device)?,
            seen: [starts?, ends?],
            block: (scores / each.max(1)).clamp(1, queries.max(1)),
        })
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let (all, block) = (self.queries, self.block);
        (0..all)
            .step_by(block)
            .map(move |start| start..(start + block).min(all))
    }

    /// (N, K * E) → (G * K, keys, E)
    fn keys_by_head(&self, table: &Tensor, heads: Heads) -> Result<Tensor> {
        let (rows, keys) = (self.rows, self.keys);
        self.key_rows
            .of(table)?
            .reshape((rows, keys, heads.key_value, heads.width))?
            .transpose(1, 2)?
            .contiguous()?
            .reshape((rows * heads.key_value, keys, heads.width))
    }

    /// (G * queries, H * E) → (G * K, heads of a group * block, E)
    fn queries_by_head(&self, q: &Tensor, heads: Heads, block: &Range<usize>) -> Result<Tensor> {
        let count = block.len();
        q.reshape((self.rows, self.queries, heads.query_row()))?
            .narrow(1, block.start, count)?
            .reshape((self.rows, count, heads.query, heads.width))?
            .transpose(1, 2)?
            .contiguous()?
            .reshape((
                self.rows * heads.key_value,
                heads.group() * count,
                heads.width,
            ))
    }

    /// (G * K, heads of a group * count, E) → (G, count, H * E)
    fn token_major(&self, x: &Tensor, heads: Heads, count: usize) -> Result<Tensor> {
        x.reshape((self.rows, heads.query, count, heads.width))?
            .transpose(1, 2)?
            .contiguous()?
            .reshape((self.rows, count, heads.query_row()))
    }

    /// What each query of a block gives each key, and, where scores are bent, the slope of the
    /// bend: (G * K, heads of a group * block, keys).
    fn probabilities(
        &self,
        rule: &AttentionRule,
        q: &Tensor,
        k: &Tensor,
        block: &Range<usize>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let mut scores = (q.matmul(&k.t()?)? * f64::from(rule.scale))?;
        let mut slope = None;
        if let Some(cap) = rule.soft_cap.map(f64::from) {
            let bent = (scores / cap)?.tanh()?;
            slope = Some(bent.sqr()?.affine(-1.0, 1.0)?);
            scores = (bent * cap)?;
        }
        let shape = scores.shape().clone();
        let places = Tensor::arange(0f32, self.keys as f32, scores.device())?;
        let places = places.reshape((1, 1, self.keys))?;
        let of_block = |x: &Tensor| x.narrow(1, block.start, block.len());
        let early = places.broadcast_lt(&of_block(&self.seen[0])?)?;
        let late = places.broadcast_ge(&of_block(&self.seen[1])?)?;
        let hidden = (early.to_dtype(DType::F32)? + late.to_dtype(DType::F32)?)?;
        let hidden = (hidden * HIDDEN)?.unsqueeze(1)?; // (G or 1, 1, block, keys)
        let by_head = (self.rows, rule.heads.query, block.len(), self.keys);
        let scores = scores.reshape(by_head)?.broadcast_add(&hidden)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "no gradient is recorded here: `backward` works it out"
        )]
        let probabilities = candle_nn::ops::softmax_last_dim(&scores)?;
        Ok((probabilities.reshape(shape)?, slope))
    }

    /// The gradients of this group's queries, keys and values, with those of what fills them up.
    fn backward(
        &self,
        rule: &AttentionRule,
        [q, k, v]: [&Tensor; 3],
        upstream: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let heads = rule.heads;
        let (k, v) = (self.keys_by_head(k, heads)?, self.keys_by_head(v, heads)?);
        let (q, upstream) = (self.query_rows.of(q)?, self.query_rows.of(upstream)?);
        let (mut of_k, mut of_v) = (k.zeros_like()?, v.zeros_like()?);
        let mut of_q = Vec::new();
        for block in self.blocks() {
            let q = self.queries_by_head(&q, heads, &block)?;
            let upstream = self.queries_by_head(&upstream, heads, &block)?;
            let (probabilities, slope) = self.probabilities(rule, &q, &k, &block)?;
            of_v = (of_v + probabilities.t()?.matmul(&upstream)?)?;
            let through = upstream.matmul(&v.t()?)?;
            let pull = (&through * &probabilities)?.sum_keepdim(D::Minus1)?;
            let mut scores = (through.broadcast_sub(&pull)? * probabilities)?;
            if let Some(slope) = slope {
                scores = (scores * slope)?;
            }
            let scores = (scores * f64::from(rule.scale))?;
            of_k = (of_k + scores.t()?.matmul(&q)?)?;
            of_q.push(self.token_major(&scores.matmul(&k)?, heads, block.len())?);
        }
        let key_major = |x: Tensor| -> Result<Tensor> {
            x.reshape((self.rows, heads.key_value, self.keys, heads.width))?
                .transpose(1, 2)?
                .contiguous()?
                .reshape((self.rows * self.keys, heads.key_row()))
        };
        let of_q = Tensor::cat(&of_q, 1)?.flatten_to(1)?;
        Ok([of_q, key_major(of_k)?, key_major(of_v)?])
    }
}

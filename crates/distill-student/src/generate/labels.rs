//! Scoring of given continuations: a prompt is run once, and of the continuations every common
//! beginning once.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::cache::RowCache;
use super::pass::{Branch, pooled, run};
use super::sampling::check_finite;
use super::{PASS_TOKENS, prefill, shared_prefix};
use crate::decoder::{Decoder, DecoderError, check_row};
use crate::ops::{elements_of, log_sum_of};

/// Rows of logits held at a time.
const LOGIT_ROWS: usize = 64;

/// Continuations by their common beginnings. To score an answer with its end, let each
/// continuation close with its stop token.
#[derive(Debug, Clone)]
pub struct LabelTrie {
    /// The first is the root, the end of the prompt; a parent comes before its children.
    nodes: Vec<Node>,
    /// The nodes of each continuation, first token first.
    paths: Vec<Vec<usize>>,
    edges: Vec<Edge>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    token: u32,
    children: Vec<usize>,
}

/// Nodes that follow one another without a fork and that other nodes follow. The last token of a
/// continuation is only ever predicted, so a leaf is on no edge.
#[derive(Debug, Clone)]
struct Edge {
    nodes: Vec<usize>,
    /// The edges between the root and this one.
    parents: Vec<usize>,
}

impl LabelTrie {
    pub fn new<'a>(continuations: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut nodes = vec![Node::default()];
        let mut paths = Vec::new();
        for continuation in continuations {
            let mut at = 0;
            let mut path = Vec::with_capacity(continuation.len());
            for &token in continuation {
                let known = nodes[at].children.iter().copied();
                let next = known.into_iter().find(|child| nodes[*child].token == token);
                at = next.unwrap_or_else(|| {
                    let new = nodes.len();
                    nodes.push(Node {
                        token,
                        children: Vec::new(),
                    });
                    nodes[at].children.push(new);
                    new
                });
                path.push(at);
            }
            paths.push(path);
        }
        let edges = edges(&nodes);
        Self {
            nodes,
            paths,
            edges,
        }
    }

    /// Continuations that it holds, empty ones among them.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Tokens that are run for each prompt beside its own.
    pub fn run_tokens(&self) -> usize {
        self.edges.iter().map(|edge| edge.nodes.len()).sum()
    }

    fn longest(&self) -> usize {
        self.paths.iter().map(Vec::len).max().unwrap_or(0)
    }

    fn shortest(&self) -> usize {
        let lengths = self.paths.iter().map(Vec::len);
        lengths.filter(|length| *length > 0).min().unwrap_or(0)
    }

    fn edge_tokens(&self, edge: &Edge) -> Vec<u32> {
        edge.nodes
            .iter()
            .map(|node| self.nodes[*node].token)
            .collect()
    }
}

/// Cuts the inner nodes into edges, parents before children.
fn edges(nodes: &[Node]) -> Vec<Edge> {
    let inner = |node: usize| -> Vec<usize> {
        let children = nodes[node].children.iter().copied();
        children
            .filter(|child| !nodes[*child].children.is_empty())
            .collect()
    };
    let mut edges: Vec<Edge> = Vec::new();
    let mut open: Vec<(usize, Vec<usize>)> = inner(0)
        .into_iter()
        .rev()
        .map(|node| (node, Vec::new()))
        .collect();
    while let Some((first, parents)) = open.pop() {
        let mut run = vec![first];
        let mut next = inner(first);
        while let [only] = next[..] {
            run.push(only);
            next = inner(only);
        }
        let mut below = parents.clone();
        below.push(edges.len());
        edges.push(Edge {
            nodes: run,
            parents,
        });
        open.extend(next.into_iter().rev().map(|node| (node, below.clone())));
    }
    edges
}

/// The log-probability of every continuation after every prompt: the sum over its tokens.
///
/// Prompts that begin alike share the run of what they have in common.
pub fn score_labels(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    labels: &LabelTrie,
) -> Result<Vec<Vec<f64>>, DecoderError> {
    let scores = score_paths(decoder, prompts, labels)?;
    let total = |of: &Vec<f32>| of.iter().map(|score| f64::from(*score)).sum();
    let of_prompt = |of: &Vec<Vec<f32>>| of.iter().map(total).collect();
    Ok(scores.iter().map(of_prompt).collect())
}

/// The log-probability of every token of each continuation of a prompt.
pub fn score_continuations(
    decoder: &Decoder,
    prompt: &[u32],
    continuations: &[Vec<u32>],
) -> Result<Vec<Vec<f32>>, DecoderError> {
    let labels = LabelTrie::new(continuations.iter().map(Vec::as_slice));
    let mut scores = score_paths(decoder, &[prompt.to_vec()], &labels)?;
    Ok(scores.swap_remove(0))
}

/// For each prompt and each continuation, the log-probability of every token.
fn score_paths(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    labels: &LabelTrie,
) -> Result<Vec<Vec<Vec<f32>>>, DecoderError> {
    check(decoder, prompts, labels)?;
    let alike = prompts.iter().all(|prompt| {
        let (shortest, longest) = (labels.shortest(), labels.longest());
        let run = |label: usize| prompt.len() + label.saturating_sub(1);
        decoder.config().turns_alike(run(shortest), run(longest))
    });
    if alike {
        let scores = score_nodes(decoder, prompts, labels)?;
        let own = |of: &Vec<f32>| {
            let paths = labels.paths.iter();
            paths
                .map(|path| path.iter().map(|node| of[*node]).collect())
                .collect()
        };
        return Ok(scores.iter().map(own).collect());
    }
    // Rows with some of the continuations turn otherwise than with others: nothing is shared.
    let mut scores = vec![Vec::with_capacity(labels.len()); prompts.len()];
    for path in &labels.paths {
        let tokens: Vec<u32> = path.iter().map(|node| labels.nodes[*node].token).collect();
        let alone = LabelTrie::new([tokens.as_slice()]);
        for (scores, own) in scores
            .iter_mut()
            .zip(score_nodes(decoder, prompts, &alone)?)
        {
            // The first node is the root.
            scores.push(own[1..].to_vec());
        }
    }
    Ok(scores)
}

/// For each prompt, the log-probability of every node after its parent.
fn score_nodes(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    labels: &LabelTrie,
) -> Result<Vec<Vec<f32>>, DecoderError> {
    let mut scores = vec![vec![0.0; labels.nodes.len()]; prompts.len()];
    if labels.nodes.len() == 1 {
        return Ok(scores);
    }
    // The last token of a continuation is not run.
    let rows = labels.longest().saturating_sub(1);
    let (prefix, row_length) = shared_prefix(decoder, prompts, rows);
    let shared = prefill(decoder, prefix, &[], row_length)?;
    let mut rest = 0..prompts.len();
    while let Some(first) = rest.next() {
        let tokens = |prompt: usize| prompts[prompt].len() - shared.length() + labels.run_tokens();
        let mut together = vec![first];
        let mut size = tokens(first);
        while !rest.is_empty() && size + tokens(rest.start) <= PASS_TOKENS {
            size += tokens(rest.start);
            together.extend(rest.next());
        }
        let tails: Vec<&[u32]> = together
            .iter()
            .map(|prompt| &prompts[*prompt][shared.length()..])
            .collect();
        let scores = &mut scores[first..first + together.len()];
        pooled(decoder, || {
            score_together(decoder, &shared, &tails, labels, scores)
        })
        .map_err(|error| among_all(error, first))?;
    }
    Ok(scores)
}

/// An error that counts prompts from `first`, as one that counts all of them.
fn among_all(error: DecoderError, first: usize) -> DecoderError {
    match error {
        DecoderError::LogitNotFinite { row, tokens } => DecoderError::LogitNotFinite {
            row: first + row,
            tokens,
        },
        other => other,
    }
}

/// A packed row whose logits say how likely the children of a node are.
struct Asked {
    /// Of those that run together.
    prompt: usize,
    packed: u32,
    node: usize,
    /// How many tokens of the prompt and of the continuation it follows.
    tokens: usize,
}

/// Scores some prompts in one pass; `tails` is what follows the shared beginning.
fn score_together(
    decoder: &Decoder,
    shared: &RowCache,
    tails: &[&[u32]],
    labels: &LabelTrie,
    scores: &mut [Vec<f32>],
) -> Result<(), DecoderError> {
    let each = 1 + labels.edges.len();
    let mut caches: Vec<RowCache> = (0..tails.len() * each)
        .map(|_| RowCache::new(decoder))
        .collect();
    let mut branches = Vec::with_capacity(caches.len());
    let mut asked: Vec<Asked> = Vec::new();
    let mut packed = 0;
    for (index, cache) in caches.iter_mut().enumerate() {
        let (prompt, root) = (index / each, index / each * each);
        let (tokens, parents) = match (index % each).checked_sub(1) {
            None => (tails[prompt].to_vec(), Vec::new()),
            Some(edge) => {
                let edge = &labels.edges[edge];
                let parents = edge.parents.iter().map(|parent| root + 1 + parent);
                let parents = std::iter::once(root).chain(parents).collect();
                let before: usize = edge
                    .parents
                    .iter()
                    .map(|p| labels.edges[*p].nodes.len())
                    .sum();
                let before = shared.length() + tails[prompt].len() + before;
                asked.extend(edge.nodes.iter().enumerate().map(|(at, node)| Asked {
                    prompt,
                    packed: (packed + at) as u32,
                    node: *node,
                    tokens: before + at + 1,
                }));
                (labels.edge_tokens(edge), parents)
            }
        };
        let row_length = shared.length() + tails[prompt].len() + labels.longest() - 1;
        packed += tokens.len();
        if index == root {
            asked.push(Asked {
                prompt,
                packed: packed as u32 - 1,
                node: 0,
                tokens: shared.length() + tails[prompt].len(),
            });
        }
        branches.push(Branch {
            tokens,
            before: vec![shared],
            parents,
            cache,
            row_length,
        });
    }
    let x = run(decoder, branches)?;
    for asked in asked.chunks(LOGIT_ROWS) {
        score_rows(decoder, &x, asked, labels, scores)?;
    }
    Ok(())
}

fn score_rows(
    decoder: &Decoder,
    x: &Tensor,
    asked: &[Asked],
    labels: &LabelTrie,
    scores: &mut [Vec<f32>],
) -> Result<(), DecoderError> {
    let rows: Vec<u32> = asked.iter().map(|asked| asked.packed).collect();
    let hidden = decoder.finish(x, &rows.into())?; // (T, D) → (rows, D)
    let logits = decoder.logits_of(&hidden)?.to_device(&Device::Cpu)?; // (rows, V)
    let logits = elements_of(&logits)?;
    let vocabulary = decoder.config().vocab_size;
    let log_sums: Vec<Result<f32, DecoderError>> = logits
        .par_chunks_exact(vocabulary)
        .zip(asked)
        .map(|(logits, asked)| {
            check_finite(logits, asked.prompt, asked.tokens)?;
            Ok(log_sum_of(logits))
        })
        .collect();
    let rows = logits.chunks_exact(vocabulary).zip(asked);
    for ((logits, asked), log_sum) in rows.zip(log_sums) {
        let log_sum = log_sum?;
        for child in &labels.nodes[asked.node].children {
            let logit = logits[labels.nodes[*child].token as usize];
            scores[asked.prompt][*child] = logit - log_sum;
        }
    }
    Ok(())
}

/// Refuses what the model cannot take, naming the row.
fn check(decoder: &Decoder, prompts: &[Vec<u32>], labels: &LabelTrie) -> Result<(), DecoderError> {
    let config = decoder.config();
    let limit = config.max_position_embeddings;
    for (row, prompt) in prompts.iter().enumerate() {
        check_row(row, prompt, config)?;
        let tokens = prompt.len() + labels.longest();
        if tokens > limit {
            return Err(DecoderError::TooLong { row, tokens, limit });
        }
    }
    let tokens: Vec<u32> = labels.nodes[1..].iter().map(|node| node.token).collect();
    for token in tokens {
        check_row(0, &[token], config)?;
    }
    Ok(())
}

//! Products with a matrix that is held in memory row by row, in f32, bf16 or NF4.
//!
//! The matrix is packed panel by panel while the product runs: that costs a few hundredths of the
//! product from some tens of rows on, it serves both directions from one copy of the weights, and
//! the copy may be the checkpoint's own. The blocking is that of Goto and van de Geijn (2008,
//! "Anatomy of High-Performance Matrix Multiplication"): a block of the left operand stays in the
//! second cache, a panel of the right one in the first, a tile of the result in registers.
//!
//! A sum's order depends on the sizes of the product alone, never on the number of threads.

use std::cell::RefCell;
use std::ffi::c_void;

use half::bf16;
use rayon::prelude::*;

use super::View;
use super::kernel::{Instructions, Kernel, Tile};
use super::pack::{Conversion, Layout, Source};
use super::thin;
use crate::ops::frozen::nf4::Nf4;

/// Rows of a matrix, adjacent in memory.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    Single(&'a [f32]),
    Half(&'a [bf16]),
    Nf4(&'a Nf4),
}

/// A matrix (O, I).
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: Rows<'a>,
    rows: usize,
    columns: usize,
}

impl<'a> Matrix<'a> {
    pub(crate) fn new(values: Rows<'a>, rows: usize, columns: usize) -> Self {
        let held = match values {
            Rows::Single(values) => values.len(),
            Rows::Half(values) => values.len(),
            Rows::Nf4(values) => values.length(),
        };
        assert_eq!(
            held,
            rows * columns,
            "elements of a {rows} x {columns} matrix"
        );
        Self {
            values,
            rows,
            columns,
        }
    }

    pub(super) fn values(&self) -> Rows<'a> {
        self.values
    }

    /// Inner and outer size of a product.
    pub(super) fn sizes(&self, direction: Direction) -> (usize, usize) {
        match direction {
            Direction::Forward => (self.columns, self.rows),
            Direction::Backward => (self.rows, self.columns),
        }
    }
}

/// Which way a product goes through a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// (T, I) → (T, O): by the transposed matrix.
    Forward,
    /// (T, O) → (T, I): by the matrix, as gradients go.
    Backward,
}

/// `scale * left @ right`, added to a product, in f32.
#[derive(Clone, Copy)]
pub(crate) struct LowRankTerm<'a> {
    /// (T, R)
    pub(crate) left: View<'a>,
    /// (R, N)
    pub(crate) right: View<'a>,
    pub(crate) scale: f32,
}

/// A product to compute.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    /// (T, K), elements of a row adjacent.
    pub(crate) left: View<'a>,
    pub(crate) matrix: Matrix<'a>,
    pub(crate) direction: Direction,
    pub(crate) term: Option<LowRankTerm<'a>>,
    pub(crate) instructions: Instructions,
}

/// Most inner elements of a block: the deeper, the fewer passes over the result.
const DEPTH: usize = 768;
/// Most rows of the left operand in a block: each block packs the matrix again.
const BLOCK_ROWS: usize = 1024;

impl Product<'_> {
    /// The product in a fresh row-major buffer, (T, N).
    pub(crate) fn run(&self) -> Vec<f32> {
        let size = self.left.rows * self.matrix.sizes(self.direction).1;
        let mut out: Vec<f32> = Vec::with_capacity(size);
        #[expect(
            unsafe_code,
            reason = "the product writes straight into fresh memory: zeroing it first costs a pass"
        )]
        // SAFETY: `out` has room for `size` elements and is not shared; `write` initialises all
        // of them.
        unsafe {
            self.write(Out(out.as_mut_ptr()));
            out.set_len(size);
        }
        out
    }

    /// Writes the product, (T, N).
    pub(crate) fn run_into(&self, out: &mut [f32]) {
        let size = self.left.rows * self.matrix.sizes(self.direction).1;
        assert_eq!(out.len(), size, "elements of the destination");
        #[expect(unsafe_code, reason = "threads write to columns of one matrix")]
        // SAFETY: the destination is exclusively borrowed and has just the elements that are
        // written.
        unsafe {
            self.write(Out(out.as_mut_ptr()));
        }
    }

    /// # Safety
    /// `out` must be valid for writes of T * N elements, and not shared.
    #[expect(unsafe_code, reason = "threads write to columns of one matrix")]
    unsafe fn write(&self, out: Out) {
        let (inner, width) = self.matrix.sizes(self.direction);
        assert_eq!(self.left.columns, inner, "inner sizes of a product differ");
        assert_eq!(self.left.column_stride, 1, "a left operand lies row by row");
        if let Some(term) = &self.term {
            let fits = term.left.rows == self.left.rows
                && term.left.columns == term.right.rows
                && term.right.columns == width;
            assert!(fits, "a term's sizes differ from the product's");
        }
        if self.left.rows * width == 0 {
            return;
        }
        // SAFETY: passed on; every element is written by one of the two.
        unsafe {
            if self.direction == Direction::Forward && self.left.rows <= thin::ROWS {
                thin::write(self, out);
            } else {
                self.write_blocked(out);
            }
        }
    }

    #[expect(unsafe_code, reason = "threads write to columns of one matrix")]
    unsafe fn write_blocked(&self, out: Out) {
        let kernel = self.instructions.kernel();
        let (inner, width) = self.matrix.sizes(self.direction);
        // No inner elements are one block of none, which writes zeros.
        let blocks = even_runs(inner, DEPTH, 32);
        for (start, rows) in even_runs(self.left.rows, BLOCK_ROWS, 1) {
            let tiles = Tiles::new(rows, kernel.rows);
            for (index, &(first, depth)) in blocks.iter().enumerate() {
                let block = Block {
                    product: self,
                    kernel,
                    tiles,
                    start,
                    first,
                    depth,
                    accumulate: index > 0,
                    term: self.term.filter(|_| index + 1 == blocks.len()),
                };
                // SAFETY: the rows of the block lie inside the destination.
                unsafe { block.write(Out(out.0.add(start * width)), width) };
            }
        }
    }
}

/// Where the threads write.
#[derive(Clone, Copy)]
pub(super) struct Out(pub(super) *mut f32);

#[expect(unsafe_code, reason = "threads write to columns of one matrix")]
// SAFETY: each thread writes to columns of its own.
unsafe impl Send for Out {}
#[expect(unsafe_code, reason = "threads write to columns of one matrix")]
// SAFETY: as above.
unsafe impl Sync for Out {}

impl Out {
    /// The place so many elements on.
    pub(super) fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// Cuts a size into runs of nearly the same length, at most `most`, all but the last a multiple of
/// `multiple`: (start, length). A size of 0 is one run of length 0.
fn even_runs(size: usize, most: usize, multiple: usize) -> Vec<(usize, usize)> {
    let count = size.div_ceil(most).max(1);
    let length = size.div_ceil(count).next_multiple_of(multiple);
    (0..count)
        .map(|index| {
            let start = (index * length).min(size);
            (start, length.min(size - start))
        })
        .collect()
}

/// Rows cut into tiles of nearly the same height.
#[derive(Clone, Copy)]
struct Tiles {
    count: usize,
    /// Of the first tiles; the others have one row less.
    height: usize,
    full: usize,
}

impl Tiles {
    fn new(rows: usize, largest: usize) -> Self {
        let count = rows.div_ceil(largest).max(1);
        let height = rows.div_ceil(count);
        Self {
            count,
            height,
            full: count - (count * height - rows),
        }
    }

    /// First row and rows of a tile.
    fn get(&self, index: usize) -> (usize, usize) {
        if index < self.full {
            (index * self.height, self.height)
        } else {
            let past = index - self.full;
            (
                self.full * self.height + past * (self.height - 1),
                self.height - 1,
            )
        }
    }
}

thread_local! {
    /// The packed left operand of the product that this thread runs.
    static LEFT: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    /// The packed panel of the right operand that this thread is at.
    static PANEL: RefCell<Panel> = const { RefCell::new(Panel { units: Vec::new(), halves: Vec::new(), edge: Vec::new() }) };
}

#[derive(Default)]
struct Panel {
    units: Vec<u32>,
    /// NF4 on its way into the panel.
    halves: Vec<bf16>,
    /// A tile that reaches past the destination.
    edge: Vec<f32>,
}

/// Lengthens a buffer; what it held is of no more use.
fn at_least<T: Copy + Default>(buffer: &mut Vec<T>, length: usize) {
    if buffer.len() < length {
        *buffer = vec![T::default(); length];
    }
}

/// Some rows of the left operand against a run of inner elements.
struct Block<'a> {
    product: &'a Product<'a>,
    kernel: &'static Kernel,
    tiles: Tiles,
    /// First row of the left operand.
    start: usize,
    /// First inner element.
    first: usize,
    /// Inner elements.
    depth: usize,
    accumulate: bool,
    term: Option<LowRankTerm<'a>>,
}

impl Block<'_> {
    /// How the operands are packed, and the units of a run.
    fn layout(&self) -> (Layout, usize) {
        let layout = match self.product.matrix.values {
            Rows::Single(_) => Layout::Single,
            _ => self.kernel.half,
        };
        (layout, layout.units(self.depth))
    }

    /// # Safety
    /// `out` must be valid for writes of the block's rows of `width` elements.
    #[expect(unsafe_code, reason = "threads write to columns of one matrix")]
    unsafe fn write(&self, out: Out, width: usize) {
        let rows = self.tiles.get(self.tiles.count - 1);
        let rows = rows.0 + rows.1;
        let (_, units) = self.layout();
        let ranks = self.term.map_or(0, |term| term.left.columns);
        // The buffer leaves its place while in use: this thread may take up other work meanwhile.
        let mut left = LEFT.take();
        at_least(&mut left, rows * (units + ranks));
        let (own, ranked) = left.split_at_mut(rows * units);
        self.pack_left(own);
        if let Some(term) = &self.term {
            self.pack_term(term, &mut ranked[..rows * ranks]);
        }
        let columns = self.kernel.columns;
        let (own, ranked) = (&*own, &*ranked);
        let panels = width.div_ceil(columns);
        let least = panels.div_ceil(4 * rayon::current_num_threads()).max(1);
        (0..panels)
            .into_par_iter()
            .with_min_len(least)
            .for_each(|panel| {
                let mut buffer = PANEL.take();
                // SAFETY: each panel writes to columns of its own.
                unsafe { self.write_panel(panel * columns, own, ranked, &mut buffer, out, width) };
                PANEL.set(buffer);
            });
        LEFT.set(left);
    }

    fn pack_left(&self, packed: &mut [u32]) {
        let left = &self.product.left;
        let (layout, units) = self.layout();
        let conversion = match (self.product.matrix.values, layout) {
            (Rows::Single(_), _) => Conversion::Single,
            (_, Layout::Single) => Conversion::Rounded,
            (_, Layout::Pair) => Conversion::RoundedPair,
        };
        let to = Units(packed.as_mut_ptr());
        (0..self.tiles.count)
            .into_par_iter()
            .with_min_len(8)
            .for_each(|tile| {
                let (first, height) = self.tiles.get(tile);
                let from = (self.start + first) * left.row_stride + self.first;
                let source = Source {
                    data: left.data[from..].as_ptr().cast(),
                    stride: left.row_stride * 4,
                    elements: self.depth,
                    conversion,
                };
                #[expect(unsafe_code, reason = "threads pack into parts of one buffer")]
                // SAFETY: the view holds these rows; each tile has units of its own.
                unsafe {
                    (self.kernel.interleave)(source, height, to.at(first * units), height);
                }
            });
    }

    /// Packs the left factor of the term, already scaled.
    fn pack_term(&self, term: &LowRankTerm<'_>, packed: &mut [u32]) {
        let view = &term.left;
        for tile in 0..self.tiles.count {
            let (first, height) = self.tiles.get(tile);
            for i in 0..height {
                let row = (self.start + first + i) * view.row_stride;
                for r in 0..view.columns {
                    let value = term.scale * view.data[row + r * view.column_stride];
                    packed[first * view.columns + r * height + i] = value.to_bits();
                }
            }
        }
    }

    /// # Safety
    /// `out` must be valid for writes of the block's rows at the panel's columns.
    #[expect(unsafe_code, reason = "the kernels take pointers")]
    unsafe fn write_panel(
        &self,
        column: usize,
        left: &[u32],
        ranked: &[u32],
        buffer: &mut Panel,
        out: Out,
        width: usize,
    ) {
        let (layout, units) = self.layout();
        let columns = self.kernel.columns;
        let taken = columns.min(width - column);
        let ranks = self.term.map_or(0, |term| term.left.columns);
        at_least(&mut buffer.units, columns * (units + ranks));
        at_least(&mut buffer.edge, self.kernel.rows * columns);
        self.pack_right(column, taken, buffer);
        if let Some(term) = &self.term {
            pack_term_panel(term, column, columns, &mut buffer.units[columns * units..]);
        }
        let run = match layout {
            Layout::Single => self.kernel.single_tile,
            Layout::Pair => self.kernel.half_tile,
        };
        for index in 0..self.tiles.count {
            let (first, rows) = self.tiles.get(index);
            let place = out.at(first * width + column);
            let whole = taken == columns;
            let edge = buffer.edge.as_mut_ptr();
            let tile = Tile {
                rows,
                depth: units,
                left: left[first * units..].as_ptr(),
                right: buffer.units.as_ptr(),
                out: if whole { place } else { edge },
                out_stride: if whole { width } else { columns },
                accumulate: whole && self.accumulate,
            };
            // SAFETY: both operands are packed for this tile; it writes inside the destination,
            // or to the edge buffer where it would reach past it.
            unsafe {
                run(tile);
                if ranks > 0 {
                    (self.kernel.single_tile)(Tile {
                        depth: ranks,
                        left: ranked[first * ranks..].as_ptr(),
                        right: buffer.units[columns * units..].as_ptr(),
                        accumulate: true,
                        ..tile
                    });
                }
                if !whole {
                    for i in 0..rows {
                        for j in 0..taken {
                            let to = place.add(i * width + j);
                            let before = if self.accumulate { *to } else { 0.0 };
                            to.write(before + *edge.add(i * columns + j));
                        }
                    }
                }
            }
        }
    }

    /// Packs the panel of the matrix at `column`, of which `taken` columns exist.
    fn pack_right(&self, column: usize, taken: usize, buffer: &mut Panel) {
        let matrix = &self.product.matrix;
        let (layout, _) = self.layout();
        let forward = self.product.direction == Direction::Forward;
        // Rows of the matrix and elements of each that make the panel.
        let (row, rows, from, elements) = if forward {
            (column, taken, self.first, self.depth)
        } else {
            (self.first, self.depth, column, taken)
        };
        let start = row * matrix.columns + from;
        let half = match layout {
            Layout::Single => Conversion::Widened,
            Layout::Pair => Conversion::Pair,
        };
        let (data, stride, conversion): (*const c_void, usize, Conversion) = match matrix.values {
            _ if rows * elements == 0 => return,
            Rows::Single(values) => (
                values[start..].as_ptr().cast(),
                4 * matrix.columns,
                Conversion::Single,
            ),
            Rows::Half(values) => (values[start..].as_ptr().cast(), 2 * matrix.columns, half),
            Rows::Nf4(values) => {
                at_least(&mut buffer.halves, rows * elements);
                for (i, out) in buffer
                    .halves
                    .chunks_exact_mut(elements)
                    .take(rows)
                    .enumerate()
                {
                    values.halves(start + i * matrix.columns, out, self.product.instructions);
                }
                (buffer.halves.as_ptr().cast(), 2 * elements, half)
            }
        };
        let source = Source {
            data,
            stride,
            elements,
            conversion,
        };
        let (units, columns) = (buffer.units.as_mut_ptr(), self.kernel.columns);
        #[expect(unsafe_code, reason = "the kernels take pointers")]
        // SAFETY: the matrix holds these rows and the buffer was made long enough for the panel.
        unsafe {
            if forward {
                (self.kernel.interleave)(source, rows, units, columns);
            } else {
                (self.kernel.stack)(source, rows, units, columns);
            }
        }
    }
}

/// Packs the panel of the term's right factor.
fn pack_term_panel(term: &LowRankTerm<'_>, column: usize, columns: usize, units: &mut [u32]) {
    let view = &term.right;
    for (r, group) in units.chunks_exact_mut(columns).take(view.rows).enumerate() {
        for (j, unit) in group.iter_mut().enumerate() {
            *unit = if column + j < view.columns {
                view.data[r * view.row_stride + (column + j) * view.column_stride].to_bits()
            } else {
                0
            };
        }
    }
}

/// Where the threads pack to.
#[derive(Clone, Copy)]
struct Units(*mut u32);

#[expect(unsafe_code, reason = "threads pack into parts of one buffer")]
// SAFETY: each thread packs tiles of its own.
unsafe impl Send for Units {}
#[expect(unsafe_code, reason = "threads pack into parts of one buffer")]
// SAFETY: as above.
unsafe impl Sync for Units {}

impl Units {
    fn at(self, offset: usize) -> *mut u32 {
        self.0.wrapping_add(offset)
    }
}

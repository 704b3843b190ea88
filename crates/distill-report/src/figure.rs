//! Figures as SVG. Marks differ in shape and lines in their dashes, not only in colour; colours come
//! from the page's styles, so that a figure follows light, dark and print.

use std::fmt::Write;

use distill_eval::Unit;

use crate::{Arm, Role, RunReport, export::html::escape, number};

mod arms;
mod axis;
mod lines;

pub(crate) use arms::{Toll, against, far_below, scores, slices};
use axis::{Linear, Log};
pub(crate) use lines::{deferral, learning, reliability};

/// In the units of a figure's view box, as every length here.
const WIDTH: f64 = 520.0;
/// What a letter takes at the figure's text size, generously.
const LETTER: f64 = 7.6;
const LINE: f64 = 15.0;

/// The part of a figure that data is drawn in.
#[derive(Clone, Copy)]
struct Plot {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Plot {
    fn of_height(height: f64) -> Self {
        Self {
            left: 46.0,
            right: WIDTH - 14.0,
            top: 30.0,
            bottom: height - 46.0,
        }
    }

    /// Grid lines, tick labels and the name of the upright axis.
    fn upright(&self, svg: &mut String, scale: &Linear, name: &str) {
        for tick in scale.ticks() {
            let y = scale.place(tick);
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{:.1}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="soft" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                self.left,
                self.right,
                self.left - 6.0,
                y + 4.0,
                scale.label(tick)
            );
        }
        let _ = write!(
            svg,
            r#"<text class="soft" x="4" y="14">↑ {}</text>"#,
            escape(&short(name, 56))
        );
    }

    /// One tick of the axis below.
    fn tick(&self, svg: &mut String, x: f64, label: &str) {
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{:.1}"/><text class="soft" x="{x:.1}" y="{:.1}" text-anchor="middle">{label}</text>"#,
            self.top,
            self.bottom,
            self.bottom + 17.0
        );
    }

    fn below(&self, svg: &mut String, name: &str) {
        let _ = write!(
            svg,
            r#"<text class="soft" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            f64::midpoint(self.left, self.right),
            self.bottom + 37.0,
            escape(name)
        );
    }

    /// A dashed line at a limit with its name at the end.
    fn level(&self, svg: &mut String, y: f64, name: &str) {
        let _ = write!(
            svg,
            r#"<line class="limit" x1="{:.1}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="soft" x="{:.1}" y="{:.1}">{}</text>"#,
            self.left,
            self.right,
            self.left + 5.0,
            y - 5.0,
            escape(name)
        );
    }

    fn plumb(&self, svg: &mut String, x: f64, name: &str) {
        let (anchor, shift) = if x > f64::midpoint(self.left, self.right) {
            ("end", -5.0)
        } else {
            ("start", 5.0)
        };
        let _ = write!(
            svg,
            r#"<line class="limit" x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{:.1}"/><text class="soft" x="{:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            self.top,
            self.bottom,
            x + shift,
            self.bottom - 6.0,
            escape(name)
        );
    }
}

fn open(height: f64, title: &str) -> String {
    let title = escape(title);
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{title}" xmlns="http://www.w3.org/2000/svg"><title>{title}</title>"#
    )
}

/// A shape for each kind of model.
fn mark(role: Role, x: f64, y: f64, main: bool) -> String {
    let accent = if main { " accent" } else { "" };
    let path = |hollow: &str, path: &str| {
        format!(r#"<path class="mark{hollow}{accent}" d="M{x:.1} {y:.1}{path}z"/>"#)
    };
    match role {
        Role::Student => {
            format!(r#"<circle class="mark{accent}" cx="{x:.1}" cy="{y:.1}" r="5.5"/>"#)
        }
        Role::Floor => path("", "m-4.5 -4.5h9v9h-9"),
        Role::Teacher => path("", "m0 -6.5l6.5 6.5l-6.5 6.5l-6.5 -6.5"),
        Role::Cascade => path("", "m0 -6.5l6.2 11h-12.4"),
        Role::CheaperApi => path("", "m0 6.5l6.2 -11h-12.4"),
        Role::Constant => path(
            "",
            "m-1.2 -6h2.4v4.8h4.8v2.4h-4.8v4.8h-2.4v-4.8h-4.8v-2.4h4.8",
        ),
        Role::Untuned => {
            format!(r#"<circle class="mark hollow{accent}" cx="{x:.1}" cy="{y:.1}" r="5"/>"#)
        }
        Role::FewShot => path(" hollow", "m0 -6l5.8 10.4h-11.6"),
        Role::Control => path(" hollow", "m-4.5 -4.5h9v9h-9"),
    }
}

/// What the shapes mean: one line of marks under the figure, broken where it is full.
fn legend(svg: &mut String, top: f64, roles: &[Role]) -> f64 {
    let (mut x, mut y) = (18.0, top);
    for role in roles {
        let width = 30.0 + 9.2 * role.label().len() as f64;
        if x + width > WIDTH {
            x = 18.0;
            y += LINE + 4.0;
        }
        let _ = write!(
            svg,
            r#"{}<text class="soft" x="{:.1}" y="{:.1}">{}</text>"#,
            mark(*role, x, y, false),
            x + 11.0,
            y + 4.0,
            role.label()
        );
        x += width;
    }
    y + 14.0
}

fn roles<'a>(arms: impl Iterator<Item = &'a Arm>) -> Vec<Role> {
    let mut roles: Vec<Role> = Vec::new();
    for arm in arms {
        if !roles.contains(&arm.role) {
            roles.push(arm.role);
        }
    }
    roles
}

fn simulated(simulated: bool) -> &'static str {
    if simulated {
        r#" <tspan class="sim-text">SIM</tspan>"#
    } else {
        ""
    }
}

/// The unit of the task's metric.
fn unit(report: &RunReport) -> Unit {
    report.unit(&report.task.metric)
}

fn short(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Boxes that labels must not cover.
#[derive(Default)]
struct Taken(Vec<(f64, f64, f64, f64)>);

impl Taken {
    fn add(&mut self, left: f64, top: f64, right: f64, bottom: f64) {
        self.0.push((left, top, right, bottom));
    }

    fn overlap(&self, left: f64, top: f64, right: f64, bottom: f64) -> f64 {
        self.0
            .iter()
            .map(|other| {
                let wide = (right.min(other.2) - left.max(other.0)).max(0.0);
                let high = (bottom.min(other.3) - top.max(other.1)).max(0.0);
                wide * high
            })
            .fold(0.0, |sum, area| sum + area)
    }
}

/// Where a label of that width stands best beside a mark: the first free place, else the least bad.
fn beside(taken: &mut Taken, plot: &Plot, x: f64, y: f64, width: f64) -> (f64, f64, &'static str) {
    let mut best: Option<(f64, (f64, f64, &'static str))> = None;
    let shifts = [
        0.0,
        -LINE,
        LINE,
        -2.0 * LINE,
        2.0 * LINE,
        -3.0 * LINE,
        3.0 * LINE,
    ];
    for shift in shifts {
        for (left, anchor) in [(x + 11.0, "start"), (x - 11.0 - width, "end")] {
            let middle = y + shift;
            let (top, bottom) = (middle - LINE / 2.0, middle + LINE / 2.0);
            let outside = (plot.left - left).max(0.0)
                + (left + width - plot.right).max(0.0)
                + (plot.top - top).max(0.0)
                + (bottom - plot.bottom).max(0.0);
            let cost = taken.overlap(left, top, left + width, bottom)
                + 100.0 * outside
                + shift.abs() / 10.0;
            if best.is_none_or(|(least, _)| cost < least) {
                let at = if anchor == "start" {
                    left
                } else {
                    left + width
                };
                best = Some((cost, (at, middle, anchor)));
            }
        }
    }
    let (at, middle, anchor) = best.map_or((x, y, "start"), |(_, place)| place);
    let left = if anchor == "start" { at } else { at - width };
    taken.add(left, middle - LINE / 2.0, left + width, middle + LINE / 2.0);
    (at, middle + 4.0, anchor)
}

//! Bars over time as inline SVG, with axes, units, and the same figures as a table.
//!
//! Widths are percentages and heights are pixels, so that a chart fills a phone and a wide screen
//! alike and its letters keep their size.

use super::{
    html::{Html, markup},
    number::Short,
};

/// One kind of bar; kinds are stacked in their order.
pub(super) struct Series<'a> {
    pub(super) name: &'static str,
    /// One value a bar.
    pub(super) values: Vec<f64>,
    /// The value as its reader sees it.
    pub(super) shown: &'a dyn Fn(f64) -> String,
}

/// A chart about to be drawn.
pub(super) struct Chart<'a> {
    /// Names it in its page.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What is counted, e.g. `US dollars an hour`.
    pub(super) unit: String,
    /// What stands under the bars; one a bar.
    pub(super) labels: Vec<String>,
    pub(super) series: Vec<Series<'a>>,
    /// Written on the axis.
    pub(super) axis: &'a dyn Fn(f64) -> String,
}

const HEIGHT: f64 = 150.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;
/// How many labels stand under the bars at most: as many as a phone has room for.
const MOST_LABELS: usize = 5;
/// Classes of the style sheet, by place.
const COLOURS: [&str; 4] = ["a", "b", "c", "d"];

impl Chart<'_> {
    /// The chart and its table.
    pub(super) fn draw(&self) -> Html {
        let mut html = Html::new();
        let count = self.labels.len();
        let totals: Vec<f64> = (0..count)
            .map(|bar| self.series.iter().map(|series| series.values[bar]).sum())
            .collect();
        let most = totals.iter().copied().fold(0.0, f64::max);
        markup!(&mut html;
            "<figure class=\"chart\"><figcaption id=\"" (self.id) "-title\"><b>" (self.title)
            "</b> <span class=\"unit\">" (&self.unit) "</span>");
        if self.series.len() > 1 {
            for (series, colour) in self.series.iter().zip(COLOURS) {
                markup!(&mut html;
                    " <span class=\"key\"><svg width=\"10\" height=\"10\" aria-hidden=\"true\"><rect class=\"bar "
                    (colour) "\" width=\"10\" height=\"10\"></rect></svg> " (series.name) "</span>");
            }
        }
        html.raw("</figcaption>");
        if most <= 0.0 {
            html.raw("<p class=\"empty\">Nothing in this period (n = 0).</p></figure>");
            return html;
        }
        let step = step_of(most);
        let top = (most / step).ceil() * step;
        self.draw_axis(&mut html, step, top);
        self.draw_bars(&mut html, step, top);
        self.draw_table(&mut html);
        html.raw("</figure>");
        html
    }

    fn draw_axis(&self, html: &mut Html, step: f64, top: f64) {
        html.raw("<div class=\"plot\"><svg class=\"axis\" width=\"64\" height=\"182\" aria-hidden=\"true\">");
        let lines = (top / step).round() as u32;
        for line in 0..=lines {
            let value = step * f64::from(line);
            markup!(html;
                "<text x=\"58\" y=\"" (pixels(height_at(value, top) + 4.0))
                "\" text-anchor=\"end\">" ((self.axis)(value)) "</text>");
        }
        html.raw("</svg>");
    }

    fn draw_bars(&self, html: &mut Html, step: f64, top: f64) {
        markup!(html;
            "<svg class=\"bars\" width=\"100%\" height=\"182\" role=\"img\" aria-labelledby=\""
            (self.id) "-title\">");
        let lines = (top / step).round() as u32;
        for line in 0..=lines {
            let y = pixels(height_at(step * f64::from(line), top));
            markup!(html; "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"" (&y) "\" y2=\"" (&y) "\"></line>");
        }
        let count = self.labels.len();
        let slot = 100.0 / count as f64;
        for (bar, label) in self.labels.iter().enumerate() {
            let mut below = 0.0;
            for (series, colour) in self.series.iter().zip(COLOURS) {
                let value = series.values[bar];
                if value <= 0.0 {
                    continue;
                }
                let (from, to) = (height_at(below, top), height_at(below + value, top));
                // A sliver shows that there was something.
                let height = (from - to).max(1.0);
                markup!(html;
                    "<rect class=\"bar " (colour) "\" x=\"" (percent(slot * (bar as f64 + 0.1)))
                    "\" width=\"" (percent(slot * 0.8)) "\" y=\"" (pixels(from - height))
                    "\" height=\"" (pixels(height)) "\"><title>" (label) ": " (series.name) " "
                    ((series.shown)(value)) "</title></rect>");
                below += value;
            }
        }
        let every = count.div_ceil(MOST_LABELS).max(1);
        for (bar, label) in self.labels.iter().enumerate().step_by(every) {
            // Centred text would leave the picture at its edges.
            let anchor = if bar == 0 { "start" } else { "middle" };
            let at = if bar == 0 {
                0.0
            } else {
                slot * (bar as f64 + 0.5)
            };
            if at > 94.0 {
                continue;
            }
            markup!(html;
                "<text x=\"" (percent(at)) "\" y=\"" (pixels(TOP + HEIGHT + BOTTOM - 6.0))
                "\" text-anchor=\"" (anchor) "\">" (label) "</text>");
        }
        html.raw("</svg></div>");
    }

    fn draw_table(&self, html: &mut Html) {
        markup!(html;
            "<details data-key=\"" (self.id) "\"><summary>The same as a table</summary><div class=\"scroll\"><table><caption>"
            (self.title) ", " (&self.unit)
            "</caption><thead><tr><th scope=\"col\">from (UTC)</th>");
        for series in &self.series {
            markup!(html; "<th scope=\"col\" class=\"number\">" (series.name) "</th>");
        }
        html.raw("</tr></thead><tbody>");
        for (bar, label) in self.labels.iter().enumerate() {
            markup!(html; "<tr><th scope=\"row\">" (label) "</th>");
            for series in &self.series {
                markup!(html; "<td class=\"number\">" ((series.shown)(series.values[bar])) "</td>");
            }
            html.raw("</tr>");
        }
        html.raw("</tbody></table></div></details>");
    }
}

/// A line across a cell: how much of the largest value this one is.
pub(super) fn share_bar(share: f64) -> Html {
    let mut html = Html::new();
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    markup!(&mut html;
        "<svg class=\"share\" width=\"100%\" height=\"6\" aria-hidden=\"true\"><rect class=\"track\" width=\"100%\" height=\"6\" rx=\"3\"></rect><rect class=\"bar a\" width=\""
        (percent(share * 100.0)) "\" height=\"6\" rx=\"3\"></rect></svg>");
    html
}

/// Axis text of plain numbers.
pub(super) fn plain(value: f64) -> String {
    Short(value).to_string()
}

fn height_at(value: f64, top: f64) -> f64 {
    TOP + HEIGHT * (1.0 - value / top)
}

fn pixels(value: f64) -> String {
    format!("{value:.1}")
}

fn percent(value: f64) -> String {
    format!("{value:.3}%")
}

/// The distance of the lines: 1, 2 or 5 times a power of ten, so that there are three to six.
fn step_of(most: f64) -> f64 {
    let rough = most / 4.0;
    let power = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|times| times * power >= rough)
        .unwrap_or(10.0);
    step * power
}

#[cfg(test)]
mod tests {
    use super::{Chart, Series, plain, step_of};

    fn chart(values: Vec<f64>) -> String {
        let labels = (0..values.len()).map(|bar| format!("{bar}:00")).collect();
        let shown = |value: f64| format!("${value}");
        Chart {
            id: "spend",
            title: "Spend",
            unit: "US dollars an hour".to_owned(),
            labels,
            series: vec![Series {
                name: "settled",
                values,
                shown: &shown,
            }],
            axis: &plain,
        }
        .draw()
        .into_string()
    }

    #[test]
    fn every_value_is_in_the_picture_and_in_the_table() {
        let drawn = chart(vec![0.0, 2.0, 4.0]);
        assert!(drawn.contains("<title>1:00: settled $2</title>"), "{drawn}");
        assert!(drawn.contains("<td class=\"number\">$4</td>"));
        assert!(drawn.contains("US dollars an hour"));
        // The highest bar fills the plot, the one half as high half of it.
        assert!(drawn.contains("y=\"10.0\" height=\"150.0\""), "{drawn}");
        assert!(drawn.contains("y=\"85.0\" height=\"75.0\""), "{drawn}");
        assert_eq!(drawn.matches("<rect class=\"bar").count(), 2);
    }

    #[test]
    fn without_values_it_says_so() {
        for values in [vec![], vec![0.0, 0.0]] {
            let drawn = chart(values);
            assert!(drawn.contains("n = 0"), "{drawn}");
            assert!(!drawn.contains("NaN"));
        }
    }

    #[test]
    fn lines_stand_at_round_values() {
        for (most, step) in [
            (4.0, 1.0),
            (7.0, 2.0),
            (0.003, 0.001),
            (90.0, 50.0),
            (1e6, 5e5),
        ] {
            let found = step_of(most);
            assert!((found / step - 1.0).abs() < 1e-9, "{most}: {found}");
            assert!((2.0..=8.0).contains(&(most / found).ceil()), "{most}");
        }
    }
}

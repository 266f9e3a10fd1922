//! Plots as SVG text: lines over a linear, logarithmic or percentile axis, and bars. Colours are CSS variables of the page.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// Different colours that the page has for lines.
const COLOURS: usize = 8;

/// Marks on a linear axis, about.
const MARKS: f64 = 5.0;

const BAR_HEIGHT: f64 = 22.0;
const BAR_STEP: f64 = 34.0;
const BAR_LABEL: f64 = 250.0;

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From 0 on.
    Linear,
    /// By powers of ten.
    Logarithmic,
    /// Shares of all: 90 %, 99 %, 99.9 % are as far from each other.
    Percentile,
}

/// One axis.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// What is on it.
    pub label: &'static str,
    /// How.
    pub scale: Scale,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.max(1e-9).log10(),
            Self::Percentile => -(1.0 - value.min(1.0 - 1e-9)).log10(),
        }
    }

    /// The places where the axis begins and ends, for these values.
    fn range(self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        let places = values.map(|value| self.place(value)).filter(|place| place.is_finite());
        let (low, high) = places.fold((f64::MAX, f64::MIN), |(low, high), place| (low.min(place), high.max(place)));
        match self {
            _ if low > high => (0.0, 1.0),
            Self::Linear => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
            Self::Logarithmic => (low.floor(), if high.ceil() > low.floor() { high.ceil() } else { low.floor() + 1.0 }),
            Self::Percentile => (0.0, high.max(1.0)),
        }
    }

    /// Values that get a mark, and what stands at it.
    fn marks(self, (low, high): (f64, f64)) -> Vec<(f64, String)> {
        match self {
            Self::Linear => {
                let step = nice((high - low) / MARKS);
                let count = ((high - low) / step) as i32;
                (0..=count).map(|mark| low + step * f64::from(mark)).map(|value| (value, human(value))).collect()
            }
            Self::Logarithmic => {
                let powers = low as i32..=high as i32;
                powers.map(|power| 10f64.powi(power)).map(|value| (value, human(value))).collect()
            }
            Self::Percentile => {
                let shares = [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")];
                let shares = shares.into_iter().chain([(0.9999, "99.99 %"), (0.99999, "99.999 %")]);
                let marks = shares.filter(|(share, _)| self.place(*share) <= high + 1e-9);
                marks.map(|(share, label)| (share, label.to_owned())).collect()
            }
        }
    }
}

fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|nice| *nice >= step).unwrap_or(power)
}

/// A number as people write it.
pub fn human(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, " G"),
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    format!("{text}{unit}")
}

/// Text that may stand in HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Lines, with a legend where there are several.
pub fn lines(title: &str, x: Axis, y: Axis, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (x_range, y_range) =
        (x.scale.range(points().map(|point| point.0)), y.scale.range(points().map(|point| point.1)));
    let across =
        |value: f64| LEFT + (x.scale.place(value) - x_range.0) / (x_range.1 - x_range.0) * (WIDTH - LEFT - RIGHT);
    let down = |value: f64| {
        HEIGHT - BOTTOM - (y.scale.place(value) - y_range.0) / (y_range.1 - y_range.0) * (HEIGHT - TOP - BOTTOM)
    };
    let mut svg = opened(title, HEIGHT);
    for (value, label) in y.scale.marks(y_range) {
        let at = down(value);
        let end = WIDTH - RIGHT;
        append(&mut svg, format_args!("<line class=grid x1={LEFT} x2={end} y1={at:.1} y2={at:.1} />"));
        let (left, base) = (LEFT - 8.0, at + 4.0);
        append(&mut svg, format_args!("<text text-anchor=end x={left} y={base:.1}>{label}</text>"));
    }
    for (value, label) in x.scale.marks(x_range) {
        let (at, bottom, base) = (across(value), HEIGHT - BOTTOM, HEIGHT - BOTTOM + 18.0);
        append(&mut svg, format_args!("<line class=grid x1={at:.1} x2={at:.1} y1={TOP} y2={bottom} />"));
        append(&mut svg, format_args!("<text text-anchor=middle x={at:.1} y={base}>{label}</text>"));
    }
    let (middle, base) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6.0);
    append(
        &mut svg,
        format_args!("<text class=axis text-anchor=middle x={middle} y={base}>{}</text>", escape(x.label)),
    );
    let (middle, left) = ((TOP + HEIGHT - BOTTOM) / 2.0, 14.0);
    append(
        &mut svg,
        format_args!(
            "<text class=axis text-anchor=middle transform=\"translate({left} {middle}) rotate(-90)\">{}</text>",
            escape(y.label)
        ),
    );
    for (number, line) in lines.iter().enumerate() {
        let places = line.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", across(x), down(y)));
        let places = places.collect::<Vec<_>>().join(" ");
        let (colour, name) = (number % COLOURS, escape(&line.name));
        append(
            &mut svg,
            format_args!("<polyline class=\"line c{colour}\" points=\"{places}\"><title>{name}</title></polyline>"),
        );
    }
    svg += "</svg>";
    figure(title, &svg, lines)
}

/// Bars beside each other's labels; `limit` draws a line that a good value reaches, or stays under.
pub fn bars(title: &str, unit: &str, bars: &[(String, f64)], limit: Option<f64>) -> String {
    let height = TOP + BAR_STEP * bars.len() as f64;
    let highest = bars.iter().map(|bar| bar.1).chain(limit).fold(0.0, f64::max).max(1e-9);
    let (left, room) = (BAR_LABEL, WIDTH - BAR_LABEL - 110.0);
    let mut svg = opened(title, height);
    for (number, (label, value)) in bars.iter().enumerate() {
        let top = TOP + BAR_STEP * number as f64;
        let (base, width) = (top + BAR_HEIGHT * 0.7, (value / highest * room).max(1.0));
        let (label, text) = (escape(label), human(*value));
        append(&mut svg, format_args!("<text text-anchor=end x={} y={base:.1}>{label}</text>", left - 10.0));
        append(
            &mut svg,
            format_args!(
                "<rect class=bar x={left} y={top:.1} width={width:.1} height={BAR_HEIGHT} rx=3><title>{label}: {text}</title></rect>"
            ),
        );
        append(&mut svg, format_args!("<text x={:.1} y={base:.1}>{text} {}</text>", left + width + 8.0, escape(unit)));
    }
    if let Some(limit) = limit {
        let at = left + limit / highest * room;
        append(&mut svg, format_args!("<line class=limit x1={at:.1} x2={at:.1} y1=0 y2={height} />"));
    }
    svg += "</svg>";
    figure(title, &svg, &[])
}

fn opened(title: &str, height: f64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=img aria-label=\"{}\">", escape(title))
}

fn append(svg: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _is_written = svg.write_fmt(arguments).is_ok();
}

fn figure(title: &str, svg: &str, lines: &[Line]) -> String {
    let entry = |(number, line): (usize, &Line)| {
        format!("<li><i class=\"b{}\"></i>{}</li>", number % COLOURS, escape(&line.name))
    };
    let told = if lines.len() > 1 { lines } else { &[] };
    let legend: String = told.iter().enumerate().map(entry).collect();
    format!("<figure><figcaption>{}</figcaption>{svg}<ul class=legend>{legend}</ul></figure>\n", escape(title))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_numbers_within_the_range() {
        let labels = |scale: Scale, range| scale.marks(range).into_iter().map(|mark| mark.1).collect::<Vec<_>>();
        assert_eq!(labels(Scale::Linear, (0.0, 105.0)), ["0", "50", "100"]);
        assert_eq!(labels(Scale::Logarithmic, (-1.0, 2.0)), ["0.1", "1", "10", "100"]);
        assert_eq!(labels(Scale::Percentile, (0.0, 3.0)), ["0", "50 %", "90 %", "99 %", "99.9 %"]);
        assert_eq!([1234.0, 12_345.0, 1e6, 0.25, 0.0].map(human), ["1234", "12.3 k", "1 M", "0.25", "0"]);
    }

    #[test]
    fn nothing_and_equal_values_are_drawn_too() {
        let axis = |scale| Axis { label: "<ms>", scale };
        let line = |points: &[(f64, f64)]| Line { name: "a & b".into(), points: points.to_vec() };
        for points in [&[][..], &[(0.0, 0.0)], &[(0.5, 3.0), (1.0, 3.0)]] {
            let svg = lines("t", axis(Scale::Percentile), axis(Scale::Logarithmic), &[line(points)]);
            assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.contains("&lt;ms&gt;"), "{svg}");
        }
        let svg = bars("t", "B", &[("one".into(), 0.0), ("two".into(), 5.0)], Some(1.0));
        assert!(!svg.contains("NaN") && svg.contains("two: 5"), "{svg}");
    }
}

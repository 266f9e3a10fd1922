//! How metrics get their names, labels and help texts: once, in the module `metrics` of each crate, by
//! [`metric_names!`](crate::metric_names). Read when a service starts.
//!
//! Always holds: a counter whose labels are known beforehand is there from the start, with 0, so that nothing misses its first count.

use metrics::counter;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It shows the present.
    Gauge,
    /// It shows how values are distributed.
    Histogram,
}

/// A metric as `/metrics` describes it.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// What tells its series apart.
    pub labels: Labels,
}

/// The labels of a metric.
#[derive(Debug, Clone, Copy)]
pub enum Labels {
    /// One label with so many values, or none.
    Known(Option<(&'static str, &'static [&'static str])>),
    /// Values that show as the service runs.
    Open(&'static [&'static str]),
}

/// Has `/metrics` say what each of them is, and begin to count.
pub fn describe(descriptions: &'static [Description]) {
    for description in descriptions {
        let (name, help) = (description.name, description.help.trim());
        match description.kind {
            Kind::Counter => {
                metrics::describe_counter!(name, help);
                begin(name, description.labels);
            }
            Kind::Gauge => metrics::describe_gauge!(name, help),
            Kind::Histogram => metrics::describe_histogram!(name, help),
        }
    }
}

fn begin(name: &'static str, labels: Labels) {
    match labels {
        Labels::Known(None) => counter!(name).increment(0),
        Labels::Known(Some((label, values))) => {
            values.iter().for_each(|value| counter!(name, label => *value).increment(0));
        }
        Labels::Open(_) => {}
    }
}

/// Names the metrics of a crate, as in `/// What it counts.` and below it `Counter ROWS = "logic_rows_total";`: makes a constant
/// of each, and `DESCRIPTIONS` of all of them. The comment is the help text. A label follows with the values that it has
/// (`by bound ["all", "user"]`), and labels whose values show later without (`of app, logic`).
#[macro_export]
macro_rules! metric_names {
    (@labels) => { $crate::metric_names::Labels::Known(None) };
    (@labels by $label:ident [$($value:literal),+]) => {
        $crate::metric_names::Labels::Known(Some((stringify!($label), &[$($value),+])))
    };
    (@labels of $($open:ident),+) => { $crate::metric_names::Labels::Open(&[$(stringify!($open)),+]) };
    ($(
        $(#[doc = $help:literal])+
        $kind:ident $constant:ident = $name:literal $(by $label:ident [$($value:literal),+])? $(of $($open:ident),+)?;
    )+) => {
        $(
            $(#[doc = $help])+
            pub const $constant: &str = $name;
        )+

        /// All of them, as `/metrics` describes them.
        pub const DESCRIPTIONS: &[$crate::metric_names::Description] = &[$(
            $crate::metric_names::Description {
                kind: $crate::metric_names::Kind::$kind,
                name: $name,
                help: concat!($($help),+),
                labels: $crate::metric_names!(@labels $(by $label [$($value),+])? $(of $($open),+)?),
            },
        )+];
    };
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    mod names {
        crate::metric_names! {
            /// Requests that were refused, by what was full.
            Counter REFUSED = "x_refused_total" by bound ["all", "user"];
            /// Rows.
            Counter ROWS = "x_rows_total";
            /// Links that broke.
            Counter BROKEN = "x_broken_total" of app, logic;
            /// Requests that wait.
            Gauge WAITING = "x_waiting";
        }
    }

    #[test]
    fn counters_whose_labels_are_known_are_there_before_anything_was_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || super::describe(names::DESCRIPTIONS));
        let page = recorder.handle().render();
        let mut series: Vec<&str> = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        series.sort_unstable();
        let expected = ["x_refused_total{bound=\"all\"} 0", "x_refused_total{bound=\"user\"} 0", "x_rows_total 0"];
        assert_eq!(series, expected);
        assert!(page.contains("# HELP x_rows_total Rows."), "{page}");
        let constants = [names::REFUSED, names::ROWS, names::BROKEN, names::WAITING];
        assert_eq!(constants, ["x_refused_total", "x_rows_total", "x_broken_total", "x_waiting"]);
    }
}

//! How metrics get their names and help texts: once, in the module `metrics` of each crate, by [`metric_names!`](crate::metric_names).
//! Read when a service starts.

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
}

/// Has `/metrics` say what each of them is.
pub fn describe(descriptions: &'static [Description]) {
    for Description { kind, name, help } in descriptions {
        let help = help.trim();
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, help),
            Kind::Gauge => metrics::describe_gauge!(*name, help),
            Kind::Histogram => metrics::describe_histogram!(*name, help),
        }
    }
}

/// Names the metrics of a crate, as in `/// What it counts.` and below it `Counter ROWS = "logic_rows_total";`: makes a constant
/// of each, and `DESCRIPTIONS` of all of them. The comment is the help text.
#[macro_export]
macro_rules! metric_names {
    ($($(#[doc = $help:literal])+ $kind:ident $constant:ident = $name:literal;)+) => {
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
            },
        )+];
    };
}

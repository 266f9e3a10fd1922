//! Requests that went to logic, by their command: how they ended, and how long that took from the bridge on. Owned by the task of one link.
//!
//! Always holds: labels are of closed lists, whatever clients send.

use std::time::Duration;

use foldhash::HashMap;
use gim_proto::{BUSINESS_COMMAND_MIN, ResultCode, connect::PacketCommand};
use metrics::{Counter, Histogram, counter, histogram};

use crate::metrics as names;

/// What goes to logic.
const COMMANDS: [PacketCommand; 7] = [
    PacketCommand::PcSignIn,
    PacketCommand::PcSubscribeRoom,
    PacketCommand::PcSync,
    PacketCommand::PcMessageAck,
    PacketCommand::PcSend,
    PacketCommand::PcCall,
    PacketCommand::PcRead,
];

/// Begins to count what is done, and what an outage leaves undone: a series that is born in a short one hides it, as its rate is 0.
pub(super) fn begin() {
    let business = name_of(BUSINESS_COMMAND_MIN);
    for command in COMMANDS.map(|command| command.as_str_name()).into_iter().chain([business]) {
        for code in [0, ResultCode::TryAgainLater.number()] {
            counter!(names::REQUESTS, "command" => command, "code" => ResultCode::label(code)).increment(0);
        }
    }
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct RequestMetrics {
    by_command_and_code: HashMap<(&'static str, Option<ResultCode>), (Counter, Histogram)>,
}

impl std::fmt::Debug for RequestMetrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RequestMetrics").finish_non_exhaustive()
    }
}

impl RequestMetrics {
    /// Counts one that ended.
    pub(super) fn note(&mut self, command: i32, code: i32, took: Duration) {
        let command = name_of(command);
        let of_these = self.by_command_and_code.entry((command, ResultCode::from_number(code)));
        let (ended, seconds) = of_these.or_insert_with(|| {
            let ended = counter!(names::REQUESTS, "command" => command, "code" => ResultCode::label(code));
            (ended, histogram!(names::REQUEST_SECONDS, "command" => command))
        });
        ended.increment(1);
        seconds.record(took.as_secs_f64());
    }
}

/// Of a command, as it stands in metrics and traces.
pub(super) fn name_of(command: i32) -> &'static str {
    match PacketCommand::try_from(command) {
        Ok(command) => command.as_str_name(),
        Err(_) if command >= BUSINESS_COMMAND_MIN => "PC_OF_BUSINESS",
        Err(_) => "PC_UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn an_outage_is_counted_from_its_first_request_on() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, begin);
        let page = recorder.handle().render();
        for command in ["PC_SIGN_IN", "PC_SEND", "PC_SYNC", "PC_OF_BUSINESS"] {
            for code in ["0", "10004"] {
                let line = format!("conn_requests_total{{command=\"{command}\",code=\"{code}\"}} 0\n");
                assert!(page.contains(&line), "{line} is not there: {page}");
            }
        }
    }

    #[test]
    fn requests_are_counted_by_command_and_code_and_no_number_makes_a_label() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let mut metrics = RequestMetrics::default();
            for (command, code) in
                [(PacketCommand::PcSend as i32, 0), (PacketCommand::PcSend as i32, 10004), (4711, 77), (4712, 78)]
            {
                metrics.note(command, code, Duration::from_millis(3));
            }
        });
        let page = recorder.handle().render();
        for line in [
            "conn_requests_total{command=\"PC_SEND\",code=\"0\"} 1",
            "conn_requests_total{command=\"PC_SEND\",code=\"10004\"} 1",
            "conn_requests_total{command=\"PC_OF_BUSINESS\",code=\"business\"} 2",
            "conn_request_seconds_count{command=\"PC_SEND\"} 2",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        assert_eq!((name_of(PacketCommand::PcCall as i32), name_of(-1)), ("PC_CALL", "PC_UNKNOWN"));
    }
}

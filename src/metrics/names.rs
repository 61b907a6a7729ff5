//! What is told of, in words for exporters.

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

macro_rules! names {
    ($($describe:ident $name:ident = $text:literal, $unit:ident, $what:literal;)*) => {
        $(pub(super) const $name: &str = concat!("tower_quota_", $text);)*

        /// Tells the recorder what each of them is.
        pub(super) fn describe() {
            $($describe!($name, Unit::$unit, $what);)*
        }
    };
}

names! {
    describe_counter REQUESTS = "requests_total", Count, "Attempts of requests";
    describe_counter ERRORS = "errors_total", Count, "Error responses, and what was rate limited";
    describe_counter RATE_LIMITED = "rate_limited_total", Count, "Requests that were rate limited";
    describe_counter RECOVERIES = "recoveries_total", Count, "First answers after requests that were rate limited";
    describe_counter REPEATS = "repeats_total", Count, "Requests that were sent again";
    describe_counter DENIED = "denied_total", Count, "Requests that might not wait for quota any longer";
    describe_counter WOULD_WAIT = "would_wait_total", Count, "Requests that would have been held up";
    describe_counter PAUSES = "pauses_total", Count, "Pauses";
    describe_counter DAILY_EXHAUSTED = "daily_exhausted_total", Count, "Daily pools that were used up";
    describe_counter CONCURRENCY_CHANGES = "concurrency_changes_total", Count, "Changes of the concurrency of a token";
    describe_counter TRIMMED = "trimmed_total", Count, "Requests that were asked for in pieces";
    describe_counter BATCHED_CALLS = "batched_calls_total", Count, "Calls that left together with others";
    describe_counter BATCH_REQUESTS = "batch_requests_total", Count, "Requests that were sent for calls that left together";
    describe_counter STORE_FAILURES = "store_failures_total", Count, "Failed calls to the shared store";
    describe_histogram WAIT_SECONDS = "wait_seconds", Seconds, "How long an attempt was held up before it was sent";
    describe_histogram REQUEST_SECONDS = "request_seconds", Seconds, "From the send to the head of the response";
    describe_gauge HEADROOM = "headroom", Count, "Requests left under the fullest key of a limit";
    describe_gauge HEADROOM_RATIO = "headroom_ratio", Count, "What is left under the fullest key, as a share of the quota";
    describe_gauge WAITING = "waiting", Count, "Requests that wait for quota";
    describe_gauge ERROR_RATIO = "error_ratio", Count, "Error responses among the requests of today";
    describe_gauge DAILY_LEFT = "daily_left", Count, "Requests left in the emptiest daily pool";
    describe_gauge DAILY_PER_HOUR = "daily_per_hour", Count, "How fast the emptiest daily pool will be used in the next hour";
    describe_gauge DAILY_RUNS_OUT = "daily_runs_out_seconds", Seconds, "Until the emptiest daily pool is used up; infinite if it is filled before";
}

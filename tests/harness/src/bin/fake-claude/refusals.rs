//! What the API answers in place of a message: errors that are retried, errors that are not, and usage limits.

use crate::report::Verdict;
use crate::session::new_uuid;
use crate::templates::{replace, text_block};
use crate::{Claude, Stop, log};
use harness::script::Failure;
use serde_json::json;
use std::time::Duration;

const MAX_RETRIES: u32 = 10;

impl Claude {
    /// The answers that come in place of the message, as far as they are retried.
    pub fn fail_first(&mut self, failures: &[Failure]) -> Result<(), Stop> {
        let mut attempt = 0;
        let mut resends = 0;
        for failure in failures {
            let status = failure.status;
            if let Some(resets_at) = used_up_until(failure) {
                return Err(Stop::Verdict(self.hit_limit(resets_at)));
            }
            let is_retried = matches!(status, 401 | 408 | 409 | 429) || status >= 500;
            for _ in 0..failure.times {
                log::event("refused", json!({ "status": status }));
                attempt += 1;
                if is_retried && attempt <= MAX_RETRIES {
                    self.announce_retry(status, attempt, failure.times)?;
                } else if !is_retried && resends < self.generation.quiet_resends(status) {
                    resends += 1;
                } else {
                    let text = self.generation.api_error_text(status);
                    return Err(Stop::Verdict(Verdict::ApiError { status, text }));
                }
            }
        }
        Ok(())
    }

    fn announce_retry(&mut self, status: u16, attempt: u32, times: u32) -> Result<(), Stop> {
        let announced_ms = (500_u64 << (attempt - 1)).min(32_000) + u64::from(std::process::id() % 250);
        if let Some(mut line) = self.templates.api_retry() {
            line["attempt"] = attempt.into();
            line["max_retries"] = MAX_RETRIES.into();
            line["retry_delay_ms"] = announced_ms.into();
            line["error_status"] = status.into();
            line["error"] = error_kind(status).into();
            self.emit(line);
        }
        // A script that will be let through is not to hold up its test; one that will not is to be waited for.
        let fixed = std::env::var("FAKE_CLAUDE_RETRY_MS").ok().and_then(|ms| ms.parse().ok());
        let ms = fixed.unwrap_or(if times > MAX_RETRIES { announced_ms } else { 50 });
        self.pause(Duration::from_millis(ms))
    }

    /// The `assistant` line that tells of the API's refusal.
    pub fn print_api_error(&mut self, text: &str, status: Option<u16>) {
        self.message_count += 1;
        let mut line = self.templates.api_error();
        line["message"]["id"] = new_uuid().into();
        line["message"]["content"] = text_block(text);
        replace(&mut line, "error", status.map_or("unknown", error_kind));
        replace(&mut line, "api_error_status", status);
        replace(&mut line, "api_error_type", status.map_or("api_error", api_error_type));
        self.emit(line);
    }

    pub fn print_limit_error(&mut self, text: &str, resets_at: u64) {
        let mut line = self.templates.limit_error().unwrap_or_else(|| self.templates.api_error());
        line["message"]["id"] = new_uuid().into();
        line["message"]["content"] = text_block(text);
        replace(&mut line, "error", "rate_limit");
        if let Some(info) = line["api_error_params"].get_mut("rate_limit_info") {
            info["resetsAt"] = resets_at.into();
        }
        self.emit(line);
    }

    /// A used-up plan.
    pub fn hit_limit(&mut self, resets_at: u64) -> Verdict {
        self.print_rate_limit("rejected", "rejected", 1.0, resets_at);
        let (hour, minute) = (resets_at / 3600 % 24, resets_at / 60 % 60);
        let (half, hour) = (if hour < 12 { "am" } else { "pm" }, if hour % 12 == 0 { 12 } else { hour % 12 });
        let minutes = if minute == 0 { String::new() } else { format!(":{minute:02}") };
        let text = self.generation.limit_text(&format!("{hour}{minutes}{half}"));
        Verdict::UsageLimit { resets_at, text }
    }

    /// What the headers of a message say of the plan.
    pub fn tell_rate_limit(&mut self, headers: &[(String, String)]) {
        let Some(window) = header(headers, "status") else {
            return;
        };
        let utilization = header(headers, "5h-utilization").and_then(|value| value.parse().ok()).unwrap_or(0.0);
        let resets_at = header(headers, "reset").and_then(|value| value.parse().ok()).unwrap_or(0);
        self.print_rate_limit("allowed", window, utilization, resets_at);
    }

    /// Tells how full the plan is, where the generation does: the state and the window's own state.
    pub fn print_rate_limit(&mut self, status: &str, window: &str, utilization: f64, resets_at: u64) {
        let Some(mut line) = self.templates.rate_limit_event() else {
            return;
        };
        let info = &mut line["rate_limit_info"];
        info["status"] = status.into();
        info["resetsAt"] = resets_at.into();
        info["unifiedWindows"]["five_hour"] =
            json!({ "utilization": utilization, "resetsAt": resets_at, "status": window });
        self.emit(line);
    }
}

/// The headers of a used-up plan, as a subscription gets them.
fn used_up_until(failure: &Failure) -> Option<u64> {
    let is_rejected = header(&failure.headers, "status") == Some("rejected");
    (failure.status == 429 && is_rejected).then(|| header(&failure.headers, "reset")?.parse().ok()).flatten()
}

/// The value of `anthropic-ratelimit-unified-NAME`.
fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let is_it = |(known, _): &&(String, String)| {
        known.to_ascii_lowercase().strip_prefix("anthropic-ratelimit-unified-") == Some(name)
    };
    headers.iter().find(is_it).map(|(_, value)| value.as_str())
}

/// What the CLI calls an error of the API.
fn error_kind(status: u16) -> &'static str {
    match status {
        401 | 403 => "authentication_failed",
        404 => "model_not_found",
        413 => "invalid_request",
        429 => "rate_limit",
        529 => "overloaded",
        500.. => "server_error",
        _ => "unknown",
    }
}

/// What the API calls it.
pub fn api_error_type(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}

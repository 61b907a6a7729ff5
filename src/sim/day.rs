//! The daily pool: a number of requests between two midnights of the account's time zone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// The account's time zone.
#[derive(Clone, Debug)]
pub(super) struct Zone(TimeZone);

impl Zone {
    pub(super) fn named(name: &str) -> Result<Self, String> {
        TimeZone::get(name)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    pub(super) fn fixed(seconds_east: i32) -> Result<Self, String> {
        if seconds_east.unsigned_abs() > 14 * 60 * 60 {
            return Err("is more than 14 hours from UTC".to_owned());
        }
        let offset = Offset::from_seconds(seconds_east).map_err(|error| error.to_string())?;
        Ok(Self(TimeZone::fixed(offset)))
    }

    /// The first midnight after `wall`.
    pub(super) fn midnight_after(&self, wall: SystemTime) -> SystemTime {
        let date = self.0.to_datetime(timestamp(wall)).date();
        let next = date
            .tomorrow()
            .ok()
            .and_then(|date| date.to_zoned(self.0.clone()).ok());
        match next {
            Some(midnight) => midnight.timestamp().into(),
            // Only at the end of jiff's calendar, in the year 9999.
            None => wall + Duration::from_secs(24 * 60 * 60),
        }
    }

    /// Name (or offset), and the seconds east of UTC at `wall`.
    pub(super) fn describe(&self, wall: SystemTime) -> (String, i32) {
        let offset = self.0.to_offset(timestamp(wall));
        let name = self
            .0
            .iana_name()
            .map_or_else(|| offset_name(offset.seconds()), str::to_owned);
        (name, offset.seconds())
    }
}

/// `-04:00`.
pub(super) fn offset_name(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn timestamp(wall: SystemTime) -> Timestamp {
    Timestamp::try_from(wall).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `2024-08-15T17:09:13.648Z`.
pub(super) fn iso(wall: SystemTime) -> String {
    let millis = wall
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64);
    let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

/// How many requests are left today.
#[derive(Debug)]
pub(super) struct Pool {
    quota: u64,
    used: u64,
    zone: Zone,
    ends: SystemTime,
}

impl Pool {
    pub(super) fn new(quota: u64, zone: Zone, wall: SystemTime) -> Self {
        let ends = zone.midnight_after(wall);
        Self {
            quota,
            used: 0,
            zone,
            ends,
        }
    }

    fn roll(&mut self, wall: SystemTime) {
        if wall >= self.ends {
            self.used = 0;
            self.ends = self.zone.midnight_after(wall);
        }
    }

    pub(super) fn spend(&mut self, wall: SystemTime) -> bool {
        self.roll(wall);
        let left = self.used < self.quota;
        self.used += u64::from(left);
        left
    }

    /// Another quota from now on. What was used stays used.
    pub(super) fn set_quota(&mut self, quota: u64) {
        self.quota = quota;
    }

    pub(super) fn quota(&self) -> u64 {
        self.quota
    }

    pub(super) fn used(&mut self, wall: SystemTime) -> u64 {
        self.roll(wall);
        self.used
    }

    pub(super) fn ends(&mut self, wall: SystemTime) -> SystemTime {
        self.roll(wall);
        self.ends
    }
}

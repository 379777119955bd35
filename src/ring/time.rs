//! Points in time and periods, by the calendar.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::value::error::{Error, Result};

/// A point in time, in microseconds, as inventories store it. RFC 3339 in UTC as text.
///
/// ```
/// use waxseal::ring::Time;
///
/// let time: Time = "2026-11-27T08:00:00+01:00".parse()?;
/// assert_eq!(time.to_string(), "2026-11-27T07:00:00Z");
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(i64);

impl Time {
    /// Returns the point that is so many microseconds after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// `InvalidArgument` for a year beyond -9999..=9999.
    pub fn from_microseconds(microseconds: i64) -> Result<Self> {
        Timestamp::from_microsecond(microseconds)
            .map(|_| Self(microseconds))
            .map_err(|_| Error::argument("a time lies beyond the year 9999"))
    }

    /// Returns how many microseconds it is after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_microseconds(self) -> i64 {
        self.0
    }

    fn timestamp(self) -> Timestamp {
        // Only made from what is in range.
        Timestamp::from_microsecond(self.0).unwrap_or(Timestamp::MAX)
    }

    /// Returns the point `by` later; the last there is instead of an overflow.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(by).min(Timestamp::MAX.as_microsecond()))
    }

    /// Returns the point `by` earlier; the first there is instead of an overflow.
    #[must_use]
    pub fn saturating_sub(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(by).max(Timestamp::MIN.as_microsecond()))
    }

    /// Returns how long after `earlier` it is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl TryFrom<String> for Time {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}

impl TryFrom<SystemTime> for Time {
    type Error = Error;

    fn try_from(time: SystemTime) -> Result<Self> {
        let timestamp =
            Timestamp::try_from(time).map_err(|_| Error::argument("a time lies beyond the year 9999"))?;
        Self::from_microseconds(timestamp.as_microsecond())
    }
}

impl From<Time> for SystemTime {
    fn from(time: Time) -> Self {
        let from_epoch = Duration::from_micros(time.0.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let moved = if time.0 < 0 {
            epoch.checked_sub(from_epoch)
        } else {
            epoch.checked_add(from_epoch)
        };
        moved.unwrap_or(epoch)
    }
}

impl FromStr for Time {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let timestamp: Timestamp = text.parse().map_err(|_| {
            Error::argument("a time is written as in RFC 3339, for example 2026-11-27T08:00:00Z")
        })?;
        Self::from_microseconds(timestamp.as_microsecond())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().fmt(f)
    }
}

/// A period by the calendar (ISO 8601: `P90D`, `P1Y`, `PT24H`, `PT30S`). Never negative.
///
/// A year or month goes by the calendar, in UTC: a month after 31 January is 28 or 29 February.
///
/// ```
/// use waxseal::ring::{Period, Time};
///
/// let start: Time = "2026-01-31T12:00:00Z".parse()?;
/// assert_eq!("P1M".parse::<Period>()?.after(start)?.to_string(), "2026-02-28T12:00:00Z");
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(Span);

impl Period {
    /// Returns no time at all.
    #[must_use]
    pub fn zero() -> Self {
        Self(Span::new())
    }

    /// Returns a period of so many seconds.
    ///
    /// # Errors
    /// `InvalidArgument` for more than 1,000 years.
    pub fn from_seconds(seconds: u32) -> Result<Self> {
        Span::new()
            .try_seconds(i64::from(seconds))
            .map(Self)
            .map_err(|_| too_long())
    }

    /// Returns a period that is at least as long, in whole seconds.
    pub(crate) fn at_least(length: Duration) -> Result<Self> {
        let seconds = length
            .as_secs()
            .saturating_add(u64::from(length.subsec_nanos() > 0));
        Self::from_seconds(u32::try_from(seconds).map_err(|_| too_long())?)
    }

    /// Returns the point that is this period after `start`.
    ///
    /// # Errors
    /// `InvalidArgument` if that lies beyond the year 9999.
    pub fn after(self, start: Time) -> Result<Time> {
        let end = start
            .timestamp()
            .to_zoned_datetime(TimeZone::UTC)
            .checked_add(self.0)
            .map_err(|_| too_long())?
            .timestamp();
        Time::from_microseconds(end.as_microsecond())
    }

    /// Returns its length from `start` on.
    ///
    /// # Errors
    /// `InvalidArgument` if its end lies beyond the year 9999.
    pub fn from(self, start: Time) -> Result<Duration> {
        Ok(self.after(start)?.since(start))
    }

    /// Returns whether it is no time at all.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Returns its length, with 24 hours for a day, 366 days for a year and 31 for a month: never less than it is.
    #[must_use]
    pub fn at_most(self) -> Duration {
        let days = i64::from(self.0.get_years()) * 366
            + i64::from(self.0.get_months()) * 31
            + i64::from(self.0.get_weeks()) * 7
            + i64::from(self.0.get_days());
        let seconds = days
            .saturating_mul(86_400)
            .saturating_add(i64::from(self.0.get_hours()).saturating_mul(3600))
            .saturating_add(self.0.get_minutes().saturating_mul(60))
            .saturating_add(self.0.get_seconds());
        let micros = self
            .0
            .get_milliseconds()
            .saturating_mul(1000)
            .saturating_add(self.0.get_microseconds());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
            + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

fn too_long() -> Error {
    Error::argument("a period ends beyond the year 9999")
}

impl PartialEq for Period {
    fn eq(&self, other: &Self) -> bool {
        self.0.fieldwise() == other.0.fieldwise()
    }
}

impl Eq for Period {}

impl FromStr for Period {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::argument("a period is written as in ISO 8601, for example P90D, P1Y or PT24H");
        // Also "3 months" and "-P1D" parse as a span.
        if !text.starts_with('P') {
            return Err(wrong());
        }
        let span: Span = text.parse().map_err(|_| wrong())?;
        if span.is_negative() || span.get_nanoseconds() != 0 {
            return Err(wrong());
        }
        let period = Self(span);
        if period.at_most() > Duration::from_secs(1000 * 366 * 86_400) {
            return Err(Error::argument("a period is at most 1,000 years"));
        }
        Ok(period)
    }
}

impl TryFrom<String> for Period {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_periods_of_iso_8601_that_are_not_negative_are_taken() {
        for good in ["P90D", "P1Y", "PT24H", "PT30S", "P1Y2M3DT4H5M6S", "PT0S", "P2W"] {
            assert_eq!(good.parse::<Period>().unwrap().to_string(), good);
        }
        for bad in [
            "", "P", "90D", "-P90D", "P-90D", "3 months", "1 year", "P90", "PT", "P1001Y", "p90d ",
        ] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }

    #[test]
    fn months_clamp_and_leap_days_count() {
        let time = |text: &str| text.parse::<Time>().unwrap();
        let after = |period: &str, start: &str| {
            period
                .parse::<Period>()
                .unwrap()
                .after(time(start))
                .unwrap()
                .to_string()
        };
        assert_eq!(after("P3M", "2026-11-30T00:00:00Z"), "2027-02-28T00:00:00Z");
        assert_eq!(after("P1Y", "2028-02-29T06:00:00Z"), "2029-02-28T06:00:00Z");
        assert_eq!(
            after("P90D", "2026-11-27T00:00:00.25Z"),
            "2027-02-25T00:00:00.25Z"
        );
        assert!(
            "P1000Y"
                .parse::<Period>()
                .unwrap()
                .after(time("9800-01-01T00:00:00Z"))
                .is_err()
        );
    }

    #[test]
    fn a_time_has_microseconds_and_is_written_in_utc() {
        let time: Time = "2026-11-27T08:00:00.123456789+01:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-27T07:00:00.123456Z");
        assert_eq!(Time::from_microseconds(time.as_microseconds()).unwrap(), time);
        assert!(Time::from_microseconds(i64::MAX).is_err());
        let json = serde_json::to_string(&time).unwrap();
        assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), time);
    }
}

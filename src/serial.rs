//! How times look in JSON: durations and moments as seconds, so that every tool can read them.

/// A duration, in seconds.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        length: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(length.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
    }
}

/// A duration that may be unknown, in seconds.
pub(crate) mod maybe_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        length: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        length
            .map(|length| length.as_secs_f64())
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(deserializer)?;
        let length = seconds.map(Duration::try_from_secs_f64).transpose();
        length.map_err(serde::de::Error::custom)
    }
}

/// A moment, in seconds since 1970.
pub(crate) mod since_1970 {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        moment: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        serializer.serialize_f64(since.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SystemTime, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let since = Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)?;
        // A double tells microseconds apart until the year 2255; what it says of nanoseconds is noise.
        let micros = (since.as_nanos() + 500) / 1_000;
        let since = u64::try_from(micros).map(Duration::from_micros);
        let since = since.map_err(serde::de::Error::custom)?;
        UNIX_EPOCH
            .checked_add(since)
            .ok_or_else(|| serde::de::Error::custom("later than time goes"))
    }
}

/// A moment that may be unknown, in seconds since 1970.
pub(crate) mod maybe_since_1970 {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Moment(#[serde(with = "super::since_1970")] SystemTime);

    pub(crate) fn serialize<S: Serializer>(
        moment: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        moment.map(Moment).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let moment = Option::<Moment>::deserialize(deserializer)?;
        Ok(moment.map(|Moment(moment)| moment))
    }
}

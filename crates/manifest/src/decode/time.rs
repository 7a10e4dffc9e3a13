//! Points in time as Go's `time.Time` reads them from JSON: RFC 3339, with the liberties its parser takes (an hour of
//! one digit, a comma before the fraction). The text stands between the quotes as it is; escapes are not resolved.

use jiff::civil::DateTime;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Go's zero time, `0001-01-01T00:00:00Z`, which counts as "not set".
const ZERO: i64 = -62_135_596_800;

/// Seconds since the Unix epoch; the fraction, which certificates cannot hold, is cut off. `Ok(None)`: the zero time.
pub(super) fn parse(quoted: &[u8]) -> Result<Option<i64>, String> {
    let [b'"', inner @ .., b'"'] = quoted else {
        return Err("Time.UnmarshalJSON: input is not a JSON string".to_owned());
    };
    let seconds = std::str::from_utf8(inner).ok().and_then(rfc3339);
    match seconds {
        Some((ZERO, false)) => Ok(None),
        Some((seconds, _)) => Ok(Some(seconds)),
        None => {
            let text = String::from_utf8_lossy(inner);
            Err(format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": not a time of this form"))
        }
    }
}

/// Seconds, and whether there is a fraction beyond them.
fn rfc3339(text: &str) -> Option<(i64, bool)> {
    let (date, rest) = text.split_at_checked(11)?;
    let (year, month, day) = (number(date.get(0..4)?)?, number(date.get(5..7)?)?, number(date.get(8..10)?)?);
    if date.get(4..5)? != "-" || date.get(7..8)? != "-" || !date.ends_with('T') {
        return None;
    }
    let (hour, rest) = rest.split_once(':')?;
    let (minute, rest) = rest.split_once(':')?;
    let (second, rest) = rest.split_at_checked(2)?;
    if !matches!(hour.len(), 1 | 2) || minute.len() != 2 {
        return None;
    }
    let (has_fraction, zone) = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            let (digits, zone) = fraction.split_at_checked(digits)?;
            // Go keeps nanoseconds and drops what is finer.
            let is_nonzero = digits.bytes().take(9).any(|digit| digit != b'0');
            (!digits.is_empty()).then_some((is_nonzero, zone))?
        }
        None => (false, rest),
    };
    let offset = zone_offset(zone)?;
    let [month, day, hour, minute, second] =
        [month, day, number(hour)?, number(minute)?, number(second)?].map(|n| i8::try_from(n).unwrap_or(-1));
    let local = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    if second > 59 {
        return None;
    }
    // Not by way of a timestamp: jiff's end a day before the year does.
    let seconds = local.duration_since(EPOCH).as_secs();
    Some((seconds - offset, has_fraction))
}

/// Offset east of UTC in seconds.
fn zone_offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = match zone.get(0..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (i64::from(number(hours)?), i64::from(number(minutes)?));
    (hours <= 24 && minutes <= 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn number(digits: &str) -> Option<i16> {
    // No sign: `parse` alone would take one.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_are_read_as_go_reads_them() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2040-01-02T03:04:05Z", Some(2_209_086_245)),
            ("2040-01-02T03:04:05+01:00", Some(2_209_082_645)),
            ("2040-01-02T03:04:05.999Z", Some(2_209_086_245)),
            ("2040-01-02T03:04:05,5Z", Some(2_209_086_245)),
            ("2040-01-02T3:04:05Z", Some(2_209_086_245)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
            ("0000-02-29T00:00:00Z", Some(-62_162_121_600)),
            ("0001-01-01T00:00:00Z", None),
            ("0001-01-01T01:00:00+01:00", None),
            ("0001-01-01T00:00:00.5Z", Some(-62_135_596_800)),
        ] {
            assert_eq!(parse(format!("\"{text}\"").as_bytes()), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "2040-01-02",
            "2040-01-02 03:04:05Z",
            "2040-01-02t03:04:05Z",
            "2040-01-02T03:04:05z",
            "2040-01-02T03:04:05",
            "2040-02-30T03:04:05Z",
            "2040-01-02T24:00:00Z",
            "2040-01-02T03:04:60Z",
            "2040-01-02T03:04:05.Z",
            "2040-01-02T03:04:05+25:00",
            "2040-01-02T03:04:05+0100",
            "10000-01-02T03:04:05Z",
            "2040-01-02T03:04:05Z ",
            "2040-01-02T03:04:05\\u005a",
        ] {
            assert!(parse(format!("\"{text}\"").as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"7").unwrap_err().contains("not a JSON string"));
    }
}

//! Floating-point numbers as Go prints them. They come from constants only, so they are finite.

use super::format::Printer;

/// Writes a number in a form (`e f g b x` and upper-case variants); `verb` is what the format said.
pub(super) fn print(printer: &mut Printer<'_>, number: f64, form: char, precision: Option<usize>, verb: char) {
    let flags = printer.flags;
    let mut text = unsigned(number.abs(), form, precision);
    let sign = match number.is_sign_negative() {
        true => "-",
        false if flags.plus => "+",
        false if flags.space => " ",
        false => "",
    };
    if flags.sharp && verb != 'b' {
        text = with_point(text, form, precision);
    }
    if !sign.is_empty() && flags.zero && !flags.minus {
        // The sign goes before the zeros.
        printer.out.extend(sign.as_bytes());
        printer.padding(flags.width.unwrap_or(0).saturating_sub(sign.len() + text.len()));
        printer.out.extend(text.as_bytes());
    } else {
        printer.padded(format!("{sign}{text}").as_bytes());
    }
}

/// The `#` flag: always a decimal point, and trailing zeros are kept.
fn with_point(text: String, form: char, precision: Option<usize>) -> String {
    let mut digits = match form {
        'g' | 'G' | 'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let exponent = text.find(|c| matches!(c, 'p' | 'P') || (matches!(c, 'e' | 'E') && !matches!(form, 'x' | 'X')));
    let (number, tail) = text.split_at_checked(exponent.unwrap_or(text.len())).unwrap_or((&text, ""));
    let mut significant = false;
    for c in number.chars().filter(|c| *c != '.') {
        significant |= c != '0';
        if significant {
            digits = digits.saturating_sub(1);
        }
    }
    let mut out = number.to_owned();
    if !number.contains('.') {
        if number == "0" {
            digits = digits.saturating_sub(1);
        }
        out.push('.');
    }
    out.extend(std::iter::repeat_n('0', digits));
    out + tail
}

fn unsigned(number: f64, form: char, precision: Option<usize>) -> String {
    match form {
        'b' => binary(number),
        'x' => hexadecimal(number, precision),
        'X' => hexadecimal(number, precision).to_ascii_uppercase(),
        'e' => scientific(number, precision),
        'E' => scientific(number, precision).to_ascii_uppercase(),
        'G' => general(number, precision).to_ascii_uppercase(),
        'g' => general(number, precision),
        _ => fixed(number, precision.unwrap_or(6)),
    }
}

/// No float has more digits than this after the point, nor more significant ones; further ones are zeros.
const MAX_DIGITS: usize = 1100;

fn fixed(number: f64, precision: usize) -> String {
    let mut text = format!("{number:.*}", precision.min(MAX_DIGITS));
    text.extend(std::iter::repeat_n('0', precision.saturating_sub(MAX_DIGITS)));
    text
}

/// The significant digits without trailing zeros, and the decimal exponent of the first.
fn digits(number: f64, precision: Option<usize>) -> (String, i32) {
    let text = match precision {
        Some(precision) => format!("{number:.*e}", precision.min(MAX_DIGITS)),
        None => shortest(number),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    (digits.trim_end_matches('0').to_owned(), exponent.parse().unwrap_or(0))
}

/// The fewest digits that read back as the number. Where two such are equally near, Go takes the even one.
fn shortest(number: f64) -> String {
    let text = format!("{number:e}");
    let length = text.bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count();
    let exact = format!("{number:.*e}", MAX_DIGITS);
    let (mantissa, exponent) = exact.split_once('e').unwrap_or((&exact, "0"));
    let trimmed = mantissa.trim_end_matches('0');
    // One digit more than the shortest form, and that a 5: the number lies midway between two of its length.
    let Some(lower) =
        trimmed.strip_suffix('5').filter(|_| trimmed.bytes().filter(u8::is_ascii_digit).count() == length + 1)
    else {
        return text;
    };
    let even = lower.bytes().last().is_some_and(|b| b.is_ascii_digit() && b % 2 == 0);
    let lower = format!("{lower}e{exponent}");
    if even && lower.parse() == Ok(number) { lower } else { text }
}

fn scientific(number: f64, precision: Option<usize>) -> String {
    let (digits, exponent) = digits(number, precision);
    join_scientific(&digits, exponent, precision.unwrap_or(digits.len().saturating_sub(1)))
}

fn join_scientific(digits: &str, exponent: i32, precision: usize) -> String {
    let (first, rest) = digits.split_at_checked(1).unwrap_or(("0", ""));
    let mut out = first.to_owned();
    if precision > 0 {
        out.push('.');
        out.push_str(rest.get(..precision).unwrap_or(rest));
        out.extend(std::iter::repeat_n('0', precision.saturating_sub(rest.len())));
    }
    out + &format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

fn general(number: f64, precision: Option<usize>) -> String {
    let precision = precision.map(|precision| precision.max(1));
    let (digits, exponent) = digits(number, precision.map(|precision| precision - 1));
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let point = if digits.is_empty() { 0 } else { exponent + 1 };
    let threshold = match precision {
        None => 6,
        Some(precision) => {
            let precision = i32::try_from(precision).unwrap_or(i32::MAX);
            if precision > length && length >= point { length } else { precision }
        }
    };
    if point - 1 < -4 || point > threshold {
        return join_scientific(&digits, exponent, digits.len().saturating_sub(1));
    }
    plain(&digits, point)
}

/// Digits with a point after the first `point` of them.
fn plain(digits: &str, point: i32) -> String {
    let Ok(whole) = usize::try_from(point) else {
        return format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize));
    };
    if whole == 0 {
        return if digits.is_empty() { "0".to_owned() } else { format!("0.{digits}") };
    }
    match digits.split_at_checked(whole) {
        Some((whole, "")) => whole.to_owned(),
        Some((whole, fraction)) => format!("{whole}.{fraction}"),
        None => format!("{digits}{}", "0".repeat(whole - digits.len())),
    }
}

const MANTISSA_BITS: u32 = 52;

/// The mantissa as an integer and the binary exponent of its lowest bit.
fn parts(number: f64) -> (u64, i32) {
    let bits = number.to_bits();
    let exponent = i32::try_from((bits >> MANTISSA_BITS) & 0x7ff).unwrap_or(0);
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    if exponent == 0 { (mantissa, -1074) } else { (mantissa | (1 << MANTISSA_BITS), exponent - 1075) }
}

fn binary(number: f64) -> String {
    let (mantissa, exponent) = parts(number);
    format!("{mantissa}p{exponent:+}")
}

fn hexadecimal(number: f64, precision: Option<usize>) -> String {
    let (mut mantissa, lowest) = parts(number);
    let mut exponent = if mantissa == 0 { 0 } else { lowest + 52 };
    // The leading one goes to bit 60.
    mantissa <<= 8;
    while mantissa != 0 && mantissa & (1 << 60) == 0 {
        mantissa <<= 1;
        exponent -= 1;
    }
    if let Some(precision) = precision.filter(|precision| *precision < 15) {
        let shift = 60 - 4 * precision;
        let dropped = mantissa & ((1 << shift) - 1);
        mantissa >>= shift;
        // Half to even.
        if dropped | (mantissa & 1) > 1 << (shift - 1) {
            mantissa += 1;
        }
        mantissa <<= shift;
        if mantissa & (1 << 61) != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let fraction = format!("{:015x}", mantissa & ((1 << 60) - 1));
    let fraction = match precision {
        None => fraction.trim_end_matches('0').to_owned(),
        Some(precision) => format!("{fraction:0<precision$.precision$}"),
    };
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x{}{point}{fraction}p{sign}{:02}", mantissa >> 60, exponent.unsigned_abs())
}

//! Floating-point numbers as PostgreSQL writes them since release 12: the shortest decimal that lies between the middles to
//! both neighbours, and of several such the one nearest to the number, the even one of two that are equally near.
//!
//! The way is that of Raffaello Giulietti, "The Schubfach way to render doubles" (2020). PostgreSQL never takes a decimal that
//! lies on such a middle itself, which others do where a mantissa is even; so 1e23 is 9.999999999999999e+22 here too.

use super::digits::Digits;

/// Decimal digits from which on a number is written with an exponent, as `printf` does by default.
const FLOAT4_DIGITS: i32 = 6;
const FLOAT8_DIGITS: i32 = 15;

/// Appends a `real`, by its bits.
pub fn append_float4(bits: u32, to: &mut Vec<u8>) {
    let (exponent, mantissa) = (bits >> 23 & 0xFF, u64::from(bits & 0x7F_FFFF));
    let parts = Parts { is_negative: bits >> 31 == 1, is_special: exponent == 0xFF, exponent: exponent as i32, mantissa };
    parts.append(24, 149, FLOAT4_DIGITS, to);
}

/// Appends a `double precision`, by its bits.
pub fn append_float8(bits: u64, to: &mut Vec<u8>) {
    let (exponent, mantissa) = (bits >> 52 & 0x7FF, bits & 0xF_FFFF_FFFF_FFFF);
    let parts = Parts { is_negative: bits >> 63 == 1, is_special: exponent == 0x7FF, exponent: exponent as i32, mantissa };
    parts.append(53, 1074, FLOAT8_DIGITS, to);
}

/// What the bits say.
struct Parts {
    is_negative: bool,
    /// Not a number, or infinite.
    is_special: bool,
    exponent: i32,
    mantissa: u64,
}

impl Parts {
    /// Appends the number; `precision` is that of its mantissa, and the smallest number is 2^-`least`.
    fn append(&self, precision: u32, least: i32, digits: i32, to: &mut Vec<u8>) {
        if self.is_special && self.mantissa != 0 {
            to.extend_from_slice(b"NaN");
            return;
        }
        if self.is_negative {
            to.push(b'-');
        }
        if self.is_special {
            to.extend_from_slice(b"Infinity");
            return;
        }
        let (mantissa, power) = match self.exponent {
            0 => (self.mantissa, -least),
            exponent => (self.mantissa | 1 << (precision - 1), exponent - 1 - least),
        };
        if mantissa == 0 {
            to.push(b'0');
            return;
        }
        // Below a power of two the neighbour is nearer than above it.
        let is_lopsided = self.mantissa == 0 && self.exponent > 1;
        let decimal = whole(mantissa, power, precision).unwrap_or_else(|| shortest(mantissa, power, is_lopsided));
        decimal.append(digits, to);
    }
}

/// A number of the form `digits` * 10^`exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    digits: u64,
    exponent: i32,
}

impl Decimal {
    fn append(self, limit: i32, to: &mut Vec<u8>) {
        let Decimal { digits, exponent } = self.without_zeroes();
        let text = Digits::of(digits);
        let text = text.as_bytes();
        // Where the point stands, counted from the first digit.
        let point = exponent + text.len() as i32;
        if !(-4..limit).contains(&(point - 1)) {
            append_scientific(text, point - 1, to);
        } else if point <= 0 {
            to.extend_from_slice(&b"0.0000"[..2 + point.unsigned_abs() as usize]);
            to.extend_from_slice(text);
        } else if exponent < 0 {
            let (whole, fraction) = text.split_at(point as usize);
            to.extend_from_slice(whole);
            to.push(b'.');
            to.extend_from_slice(fraction);
        } else {
            to.extend_from_slice(text);
            to.resize(to.len() + exponent as usize, b'0');
        }
    }

    fn without_zeroes(self) -> Decimal {
        let Decimal { mut digits, mut exponent } = self;
        for (step, power) in [(8, 100_000_000), (4, 10_000), (2, 100), (1, 10)] {
            while digits % power == 0 {
                digits /= power;
                exponent += step;
            }
        }
        Decimal { digits, exponent }
    }
}

fn append_scientific(digits: &[u8], exponent: i32, to: &mut Vec<u8>) {
    to.push(digits[0]);
    if digits.len() > 1 {
        to.push(b'.');
        to.extend_from_slice(&digits[1..]);
    }
    to.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent.abs() < 10 {
        to.push(b'0');
    }
    to.extend_from_slice(Digits::of(exponent.unsigned_abs().into()).as_bytes());
}

/// The number where it is a whole one without rounding, which is its own shortest form.
fn whole(mantissa: u64, power: i32, precision: u32) -> Option<Decimal> {
    let shift = u32::try_from(-power).ok().filter(|shift| *shift < precision)?;
    let digits = mantissa >> shift;
    (digits << shift == mantissa).then_some(Decimal { digits, exponent: 0 })
}

/// The shortest decimal for `mantissa` * 2^`power`, perhaps with zeroes at its end.
fn shortest(mantissa: u64, power: i32, is_lopsided: bool) -> Decimal {
    // Four times the number and the middles to its neighbours, so that these are whole.
    let number = mantissa << 2;
    let (below, above) = (number - if is_lopsided { 1 } else { 2 }, number + 2);
    // 10^exponent is not above the distance of the middles, and ten times it is.
    let exponent = if is_lopsided { log10_of_three_quarters(power) } else { log10(power) };
    let shift = power + log2_of_ten(-exponent) + 2;
    let scale = POWERS[(-exponent - LEAST_POWER) as usize];
    let scaled = |number: u64| scaled(scale, number << shift);
    let (number, below, above) = (scaled(number), scaled(below), scaled(above));
    let is_between = |digits: u64| below < digits << 2 && digits << 2 < above;

    let digits = number >> 2;
    // At most one multiple of ten is between the middles: that is the shortest then.
    let tens = digits / 10 * 10;
    if let Some(digits) = [tens, tens + 10].into_iter().find(|tens| is_between(*tens)) {
        return Decimal { digits, exponent };
    }
    let next = digits + 1;
    let up = match (is_between(digits), is_between(next)) {
        (true, false) => false,
        (false, true) => true,
        _ => {
            let middle = (digits + next) << 1;
            number > middle || number == middle && digits % 2 == 1
        }
    };
    Decimal { digits: if up { next } else { digits }, exponent }
}

/// `scale` * `number` / 2^127 rounded down, but to an odd number where it is not whole: so it compares with whole even numbers
/// as the exact product does. What `scale` is too large by does not reach the bits that are looked at.
fn scaled(scale: u128, number: u64) -> u64 {
    let low = (scale & u128::from(u64::MAX)) * u128::from(number);
    let high = (scale >> 64) * u128::from(number) + (low >> 64);
    (high >> 63) as u64 | u64::from(high & (u128::MAX >> 65) != 0)
}

/// The whole part of log10(2^power); held against exact numbers for all powers that occur, as the two below.
fn log10(power: i32) -> i32 {
    ((i64::from(power) * 661_971_961_083) >> 41) as i32
}

/// The whole part of log10(3/4 * 2^power).
fn log10_of_three_quarters(power: i32) -> i32 {
    ((i64::from(power) * 661_971_961_083 - 274_743_187_321) >> 41) as i32
}

/// The whole part of log2(10^power).
const fn log2_of_ten(power: i32) -> i32 {
    ((power as i64 * 913_124_641_741) >> 38) as i32
}

/// The powers of ten that are needed: from that of the largest double to that of the smallest.
const LEAST_POWER: i32 = -292;
const GREATEST_POWER: i32 = 324;
const COUNT: usize = (GREATEST_POWER - LEAST_POWER + 1) as usize;

/// Each power of ten as its first 126 bits, plus one: with its 2^n left out, less than 2^-125 of it too large.
static POWERS: [u128; COUNT] = powers();

/// Holds 5^324, and 2^804 for the powers below one.
const LIMBS: usize = 13;

/// A whole number of many bits, least significant limb first.
type Large = [u64; LIMBS];

const fn powers() -> [u128; COUNT] {
    let mut powers = [0; COUNT];
    let (mut five, mut power) = (single(1), 0);
    while power <= GREATEST_POWER {
        powers[(power - LEAST_POWER) as usize] = first_bits(&five, bits_of_five(power)) + 1;
        five = times_five(five);
        power += 1;
    }
    // 2^ONE / 5^n, rounded down, has the first bits of 10^-n.
    let (mut part, mut power) = (single(1), 0);
    part[0] = 0;
    part[(ONE / 64) as usize] = 1 << (ONE % 64);
    while power > LEAST_POWER {
        part = by_five(part);
        power -= 1;
        powers[(power - LEAST_POWER) as usize] = first_bits(&part, ONE + 1 - bits_of_five(-power)) + 1;
    }
    powers
}

/// As many bits as 5^292 and 125 more need.
const ONE: i32 = 804;

/// How many bits 5^power has.
const fn bits_of_five(power: i32) -> i32 {
    log2_of_ten(power) - power + 1
}

const fn single(limb: u64) -> Large {
    let mut large = [0; LIMBS];
    large[0] = limb;
    large
}

const fn times_five(mut large: Large) -> Large {
    let (mut limb, mut carry) = (0, 0);
    while limb < LIMBS {
        let product = large[limb] as u128 * 5 + carry;
        large[limb] = product as u64;
        carry = product >> 64;
        limb += 1;
    }
    large
}

const fn by_five(mut large: Large) -> Large {
    let (mut limb, mut rest) = (LIMBS, 0);
    while limb > 0 {
        limb -= 1;
        let part = (rest << 64) | large[limb] as u128;
        large[limb] = (part / 5) as u64;
        rest = part % 5;
    }
    large
}

/// The first 126 of the `bits` that a number has; zeroes behind them where it has fewer.
const fn first_bits(large: &Large, bits: i32) -> u128 {
    let (mut found, mut bit) = (0, 0);
    while bit < 126 {
        let place = bits - 1 - bit;
        found <<= 1;
        if place >= 0 {
            found |= (large[(place / 64) as usize] >> (place % 64) & 1) as u128;
        }
        bit += 1;
    }
    found
}

/// The number that is nearest to the decimal of a text, as PostgreSQL's own is; which is not a number, or infinite, is said in `special`,
/// the negative one last.
pub fn parse<F: std::str::FromStr + Copy + Into<f64>>(field: &[u8], special: [F; 3]) -> Option<F> {
    let [nan, infinity, negative] = special;
    match field {
        b"NaN" => Some(nan),
        b"Infinity" => Some(infinity),
        b"-Infinity" => Some(negative),
        _ => decimal(field)?.parse().ok().filter(|number: &F| is_in_range((*number).into(), field)),
    }
}

/// A field without names of numbers, which Rust would understand, too.
fn decimal(field: &[u8]) -> Option<&str> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e');
    std::str::from_utf8(field).ok().filter(|_| field.iter().all(is_part))
}

/// Whether the server takes a decimal for this number: it refuses what is too large, and what is too small and not zero.
fn is_in_range(number: f64, field: &[u8]) -> bool {
    let is_zero = || field.iter().take_while(|byte| **byte != b'e').all(|byte| !matches!(byte, b'1'..=b'9'));
    number.is_finite() && (number != 0.0 || is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float8(value: f64) -> String {
        let mut text = Vec::new();
        append_float8(value.to_bits(), &mut text);
        String::from_utf8(text).unwrap()
    }

    fn float4(value: f32) -> String {
        let mut text = Vec::new();
        append_float4(value.to_bits(), &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn numbers_are_written_as_postgresql_writes_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (-f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (0.1, "0.1"),
            (1e15 - 1.0, "999999999999999"),
            (1e15, "1e+15"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (100.25, "100.25"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            // On the middle to the next one.
            (1e23, "9.999999999999999e+22"),
            (9_007_199_254_740_992.0, "9.007199254740992e+15"),
            // Two are equally near: the even one.
            (2_f64.powi(50) + 0.25, "1.1258999068426242e+15"),
            (2_f64.powi(50) + 0.75, "1.1258999068426248e+15"),
        ] {
            assert_eq!(float8(value), expected);
        }
        for (value, expected) in [
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (16_777_216.0, "1.6777216e+07"),
            (0.1, "0.1"),
            (1e-45, "1e-45"),
            (f32::MAX, "3.4028235e+38"),
            (8_388_608.5, "8.388608e+06"),
            (33_554_432.0, "3.3554432e+07"),
        ] {
            assert_eq!(float4(value), expected);
        }
    }

    #[test]
    fn every_number_is_read_back_from_its_text() {
        for power in -1074..1024 {
            for step in 0..40_u64 {
                let value = f64::from_bits(2_f64.powi(power).to_bits().wrapping_add(step * step * step).wrapping_sub(9));
                assert!(value.is_nan() || float8(value).parse::<f64>().unwrap() == value, "{value}");
            }
        }
    }

    #[test]
    fn logarithms_are_those_of_exact_numbers() {
        // Of 5^n, how many bits it has, counted.
        let mut five = single(1);
        for power in 0..=GREATEST_POWER {
            let bits = (0..LIMBS * 64).rev().find(|bit| five[bit / 64] >> (bit % 64) & 1 == 1).unwrap() as i32 + 1;
            assert_eq!(bits_of_five(power), bits, "5^{power}");
            // 2^n has as many decimal digits as the least power of ten above it says.
            assert_eq!((log10(bits + power - 1), log10(bits + power)), if power == 0 { (0, 0) } else { (power - 1, power) });
            five = times_five(five);
        }
    }
}

//! Whole numbers in decimal, two digits at a time.

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

/// The most digits that a `u64` has.
const MAX: usize = 20;

/// The digits of a number, without leading zeroes.
pub struct Digits {
    buffer: [u8; MAX],
    start: usize,
}

impl Digits {
    pub fn of(mut number: u64) -> Digits {
        let mut digits = Digits { buffer: [0; MAX], start: MAX };
        while number >= 100 {
            digits.put(pair((number % 100) as u32));
            number /= 100;
        }
        digits.put(pair(number as u32));
        if number < 10 {
            digits.start += 1;
        }
        digits
    }

    fn put(&mut self, pair: [u8; 2]) {
        self.start -= 2;
        self.buffer[self.start..self.start + 2].copy_from_slice(&pair);
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

/// The two digits of a number below 100.
pub fn pair(number: u32) -> [u8; 2] {
    PAIRS[number as usize]
}

/// The four digits of a number below 10,000.
pub fn four(number: u32) -> [u8; 4] {
    let ([a, b], [c, d]) = (pair(number / 100), pair(number % 100));
    [a, b, c, d]
}

pub fn unsigned(number: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(Digits::of(number).as_bytes());
}

pub fn signed(number: i64, to: &mut Vec<u8>) {
    if number < 0 {
        to.push(b'-');
    }
    unsigned(number.unsigned_abs(), to);
}

/// The number that a text is, without leading zeroes.
pub fn parse_signed(field: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match field {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let leads_with_zero = digits.first() == Some(&b'0') && (digits.len() > 1 || is_negative);
    if digits.is_empty() || leads_with_zero {
        return None;
    }
    // Downwards, where there is one number more.
    let number = digits.iter().try_fold(0_i64, |number, digit| {
        let digit = i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        number.checked_mul(10)?.checked_sub(digit)
    })?;
    if is_negative { Some(number) } else { number.checked_neg() }
}

/// The number that a few digits are, nine at most, whatever they begin with.
pub fn parse_few(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_rust_writes_them() {
        let mut numbers = vec![0, u64::MAX, i64::MAX as u64, i64::MIN as u64];
        for power in 0..20 {
            let ten = 10_u64.pow(power);
            numbers.extend([ten - 1, ten, ten + 1, ten.wrapping_mul(7), ten.wrapping_neg()]);
        }
        for number in numbers {
            let mut text = Vec::new();
            unsigned(number, &mut text);
            text.push(b' ');
            signed(number as i64, &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), format!("{number} {}", number as i64));
        }
    }
}
